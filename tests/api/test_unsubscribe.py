"""The page behind a signed link, as a browser and as a mail program use it."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import pytest

from service.access.links import LinkError, Links
from service.audience.unsubscribing import LINK_PURPOSE, Unsubscribing
from service.db.database import Database
from service.senders.email import unsubscribe_headers
from tests.api.conftest import Call, Get
from tests.support.postgres import run_apart
from tests.support.service import Answer, Service

LATER = timedelta(days=365)
MakeLink = Callable[..., str]


@pytest.fixture
def person(call: Call) -> str:
    """The path of a person who reads Russian."""
    path = f"/v1/recipients/{quote(f'u {uuid4()}')}"
    assert call("PUT", path, {"locale": "ru"}).status == 201
    return path


@pytest.fixture
def link(service: Service, api_database: str, person: str) -> MakeLink:
    """`link("news", "TG")`: the path of a link of that person's."""

    async def make(category: str | None, sender: str | None, expires_in: timedelta) -> str:
        database = Database(api_database)
        await database.open()
        try:
            links = Links(None, "https://example.com")
            await links.open(database)
            recipient_id = await database.pool.fetchval("SELECT max(id) FROM recipient")
            data = Unsubscribing(recipient_id, category, sender).to_link()
            return links.url(LINK_PURPOSE, data, datetime.now(UTC) + expires_in)
        finally:
            await database.close()

    def path(category: str | None = None, sender: str | None = None, expires_in: timedelta = LATER) -> str:
        return run_apart(make(category, sender, expires_in)).removeprefix("https://example.com")

    return path


def _visit(service: Service, path: str, method: str = "GET", **headers: str) -> Answer:
    return service.call(method, path, key=None, headers={k.replace("_", "-"): v for k, v in headers.items()})


def _heading(answer: Answer) -> str:
    found = re.search("<h1>(.*)</h1>", answer.body.decode())
    assert found is not None
    return found[1]


def _action(answer: Answer) -> str:
    found = re.search('<form method="post" action="([^"]*)">', answer.body.decode())
    assert found is not None
    return found[1]


QUESTION = "Отписаться от этих уведомлений?"
DONE = "Вы отписаны"


def test_reading_the_page_changes_nothing(service: Service, get: Get, person: str, link: MakeLink) -> None:
    path, before = link("news"), get(person)
    answer = _visit(service, path)
    assert (answer.status, _heading(answer)) == (200, QUESTION)
    assert "news" in answer.body.decode()
    assert get(person) == before


@pytest.mark.parametrize(
    ("category", "sender", "muted", "mutes"),
    [
        (None, None, True, []),
        ("news", None, False, [{"category": "news", "sender": None}]),
        (None, "TG", False, [{"category": None, "sender": "TG"}]),
        ("news", "TG", False, [{"category": "news", "sender": "TG"}]),
    ],
)
def test_the_form_unsubscribes_and_takes_it_back(
    service: Service,
    get: Get,
    person: str,
    link: MakeLink,
    category: str | None,
    sender: str | None,
    muted: bool,
    mutes: list[Any],
) -> None:
    path = link(category, sender)
    page = _visit(service, path)
    for _ in range(2):
        left = _visit(service, path + _action(page), "POST")
        assert (left.status, _heading(left)) == (200, DONE)
        view = get(person)
        assert (view["muted"], view["mutes"]) == (muted, mutes)
    assert _heading(_visit(service, path)) == DONE
    back = _visit(service, path + _action(left), "POST")
    assert (back.status, _heading(back)) == (200, "Вы снова подписаны")
    view = get(person)
    assert (view["muted"], view["mutes"]) == (False, [])
    assert _action(back) == _action(page)


def test_a_mail_program_unsubscribes_without_the_page(
    service: Service, get: Get, person: str, link: MakeLink
) -> None:
    path = link("news")
    headers = dict(unsubscribe_headers(f"https://example.com{path}"))
    assert headers["List-Unsubscribe"] == f"<https://example.com{path}>"
    body = headers["List-Unsubscribe-Post"].encode()
    answer = service.call(
        "POST", path, body, key=None, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status == 200
    assert get(person)["mutes"] == [{"category": "news", "sender": None}]


def test_taking_it_back_leaves_other_choices_be(
    service: Service, call: Call, get: Get, person: str, link: MakeLink
) -> None:
    call("PUT", f"{person}/preferences", {"muted": True, "mutes": [{"category": "offers"}]})
    path = link("news")
    _visit(service, path, "POST")
    _visit(service, f"{path}?undo", "POST")
    view = get(person)
    assert (view["muted"], view["mutes"]) == (True, [{"category": "offers", "sender": None}])


def test_the_page_is_in_the_persons_language_and_else_in_the_readers(
    service: Service, call: Call, person: str, link: MakeLink
) -> None:
    path = link()
    assert _visit(service, path, accept_language="en").headers["content-language"] == "ru"
    call("PUT", person, {"locale": "ga"})
    assert _visit(service, path, accept_language="ru, en;q=0.5").headers["content-language"] == "ru"
    assert _heading(_visit(service, path)) == "Unsubscribe from these notifications?"
    call("PUT", person, {"locale": None})
    assert _visit(service, path, accept_language="ru").headers["content-language"] == "en"


def test_what_a_link_names_is_shown_as_text(service: Service, link: MakeLink) -> None:
    text = _visit(service, link("<script>alert(1)</script>")).body.decode()
    assert "&lt;script&gt;" in text
    assert "<script" not in text


def test_the_page_loads_nothing_and_runs_nothing(service: Service, link: MakeLink) -> None:
    answer = _visit(service, link("news"))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:|<script|\bon\w+=", answer.body.decode())
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_links_that_lead_nowhere(
    service: Service, call: Call, get: Get, person: str, link: MakeLink, method: str
) -> None:
    path, expired = link("news"), link("news", expires_in=timedelta(seconds=-1))
    forged = path[:-1] + ("A" if path[-1] != "A" else "B")
    answers = [_visit(service, wrong, method, accept_language="ru") for wrong in (forged, "/unsubscribe/x")]
    assert [(answer.status, _heading(answer)) for answer in answers] == [(404, "Ссылка не работает")] * 2
    gone = _visit(service, expired, method)
    assert (gone.status, _heading(gone)) == (410, "This link has expired")
    assert get(person)["mutes"] == []
    call("DELETE", person)
    assert _visit(service, path, method).status == 404


async def test_the_secret_is_made_once_by_however_many_processes(database_url: str) -> None:
    database = Database(database_url)
    await database.open()
    try:
        made = [Links(None, "http://localhost") for _ in range(5)]
        await asyncio.gather(*(links.open(database) for links in made))
    finally:
        await database.close()
    later = datetime.now(UTC) + LATER
    assert len({links.sign("test", "data", later) for links in made}) == 1
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT length(value) FROM service_secret") == 32
    await connection.close()


def test_a_token_is_good_for_its_purpose_its_secret_and_its_time() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    links = Links("x" * 32, "https://example.com")
    token = links.sign("one", "data: é", now)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert links.read("one", token, now - timedelta(seconds=1)) == "data: é"
    for other, purpose, at, expired in (
        (links, "one", now, True),
        (links, "two", now - LATER, False),
        (Links("y" * 32, ""), "one", now - LATER, False),
    ):
        with pytest.raises(LinkError) as caught:
            other.read(purpose, token, at)
        assert caught.value.expired is expired
    for nonsense in ("", "x", "é", "=", token + "A" * 2_000, token[:20], token[1:]):
        with pytest.raises(LinkError):
            links.read("one", nonsense, now - LATER)


def test_a_token_with_an_id_fits_into_a_bots_deep_link() -> None:
    token = Links("x" * 32, "").sign("start", "9" * 19, datetime(2030, 1, 1, tzinfo=UTC))
    assert len(token) <= 64
