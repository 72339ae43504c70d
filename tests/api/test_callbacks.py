"""What VK and MAX tell of people: consent, and chats that are linked by a token."""

import time
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import orjson
import pytest

from tests.api.conftest import MAX_SECRET, VK_CONFIRMATION, VK_SECRET, Call, Get, problem_of
from tests.fakes.max import update
from tests.support.service import Answer, Service

USERS = iter(range(int(time.time()) * 1_000, 2**53))


@pytest.fixture
def user() -> int:
    """An id that nobody had before."""
    return next(USERS)


def _person(call: Call, *contacts: tuple[str, str]) -> str:
    path = f"/v1/recipients/{quote(f'u {uuid4()}')}"
    listed = [{"sender": sender, "address": address} for sender, address in contacts]
    assert call("PUT", path, {"contacts": listed}).status == 201
    return path


def _vk(service: Service, event: Any, secret: str | None = VK_SECRET) -> Answer:
    body = event if secret is None else {**event, "group_id": 77, "secret": secret}
    return service.call("POST", "/callbacks/vk", body, key=None)


def _max(service: Service, event: Any, secret: str = MAX_SECRET) -> Answer:
    return service.call("POST", "/callbacks/max", event, key=None, headers={"X-Max-Bot-Api-Secret": secret})


def test_an_account_has_its_own_secret_and_contacts(
    service: Service, call: Call, get: Get, user: int
) -> None:
    path = _person(
        call, ("VK", str(user)), ("VK:news", str(user)), ("MAX", str(user)), ("MAX:news", str(user))
    )
    denied = {"type": "message_deny", "object": {"user_id": user}, "secret": f"{VK_SECRET}-of-news"}
    assert service.call("POST", "/callbacks/vk", denied, key=None).status == 403
    assert service.call("POST", "/callbacks/vk/news", denied, key=None).body == b"ok"
    stopped = update("bot_stopped", user, user)
    headers = {"X-Max-Bot-Api-Secret": f"{MAX_SECRET}-of-news"}
    assert service.call("POST", "/callbacks/max", stopped, key=None, headers=headers).status == 403
    assert service.call("POST", "/callbacks/max/news", stopped, key=None, headers=headers).status == 200
    active = {contact["sender"]: contact["active"] for contact in get(path)["contacts"]}
    assert active == {"VK": True, "VK:news": False, "MAX": True, "MAX:news": False}
    for nobody in ("/callbacks/max/other", "/callbacks/max/quiet", "/callbacks/vk/quiet"):
        problem_of(service.call("POST", nobody, stopped, key=None, headers=headers), 404, "not_found")
    link = call("POST", f"{path}/links", {"sender": "MAX:quiet"}).json()["url"]
    assert link.startswith("https://max.ru/quiet_bot?start=")


def _active(get: Get, path: str) -> dict[str, bool]:
    return {contact["address"]: contact["active"] for contact in get(path)["contacts"]}


def _start_token(call: Call, path: str) -> str:
    answer = call("POST", f"{path}/links", {"sender": "MAX"})
    assert answer.status == 201, answer.body
    link = urlsplit(answer.json()["url"])
    assert (link.netloc, link.path) == ("max.ru", "/our_bot")
    (token,) = parse_qs(link.query)["start"]
    assert len(token) <= 128
    return token


def test_vk_confirms_the_address_and_knows_its_answers(service: Service) -> None:
    confirmed = _vk(service, {"type": "confirmation"})
    assert (confirmed.status, confirmed.body) == (200, VK_CONFIRMATION.encode())
    for event in (
        {"type": "message_new", "object": {}},
        {"type": "message_deny", "object": {"user_id": "x"}},
        {},
    ):
        answer = _vk(service, event)
        assert (answer.status, answer.body) == (200, b"ok")


def test_vk_denied_and_allowed_again(service: Service, call: Call, get: Get, user: int) -> None:
    path = _person(call, ("VK", str(user)), ("MAX", str(user)))
    other = _person(call, ("VK", str(user + 1)))
    for _ in range(2):
        assert _vk(service, {"type": "message_deny", "object": {"user_id": user}}).body == b"ok"
        vk, elsewhere = get(path)["contacts"]
        assert (vk["active"], elsewhere["active"]) == (False, True)
        assert "denied" in vk["inactive_reason"]
    assert _active(get, other) == {str(user + 1): True}
    for _ in range(2):
        assert _vk(service, {"type": "message_allow", "object": {"user_id": user, "key": "x"}}).body == b"ok"
        assert _active(get, path) == {str(user): True}


@pytest.mark.parametrize("secret", ["wrong", "", None, "é"])
def test_vk_is_not_believed_without_its_secret(
    service: Service, call: Call, get: Get, user: int, secret: str | None
) -> None:
    path = _person(call, ("VK", str(user)))
    event = {"type": "message_deny", "object": {"user_id": user}}
    assert _vk(service, event, secret).status == 403
    assert _vk(service, {"type": "confirmation"}, secret).status == 403
    assert _active(get, path) == {str(user): True}


@pytest.mark.parametrize("kind", ["bot_stopped", "dialog_removed"])
def test_max_stopped_and_started_again(service: Service, call: Call, get: Get, user: int, kind: str) -> None:
    chat = 7 * user
    path = _person(call, ("MAX", str(user)), ("MAX", f"chat:{chat}"), ("VK", str(user)))
    for _ in range(2):
        assert _max(service, update(kind, user, chat)).status == 200
        assert [contact["active"] for contact in get(path)["contacts"]] == [False, False, True]
    assert "stopped" in get(path)["contacts"][0]["inactive_reason"]
    assert _max(service, update("bot_started", user, chat, payload=None)).status == 200
    assert [contact["active"] for contact in get(path)["contacts"]] == [True, True, True]


def test_max_without_a_token_links_nobody(service: Service, get: Get, user: int) -> None:
    for payload in ({}, {"payload": None}, {"payload": "utm"}, {"payload": 5}, {"payload": "x" * 128}):
        assert _max(service, update("bot_started", user, user, **payload)).status == 200
    assert get(f"/v1/recipients?sender=MAX&address={user}")["items"] == []


def test_max_links_the_chat_to_whom_the_token_names(
    service: Service, call: Call, get: Get, user: int
) -> None:
    path = _person(call, ("VK", str(user)))
    started = update("bot_started", user, user, payload=_start_token(call, path))
    for _ in range(2):
        assert _max(service, started).status == 200
        contacts = get(path)["contacts"]
        assert [(contact["sender"], contact["address"]) for contact in contacts] == [
            ("VK", str(user)),
            ("MAX", str(user)),
        ]
    _max(service, update("bot_stopped", user, user))
    _max(service, started)
    assert all(contact["active"] for contact in get(path)["contacts"])
    assert call("DELETE", path).status == 200
    assert _max(service, started).status == 200


def test_max_is_not_believed_without_its_secret(service: Service, call: Call, get: Get, user: int) -> None:
    path = _person(call, ("MAX", str(user)))
    assert _max(service, update("bot_stopped", user, user), "wrong").status == 403
    answer = service.call("POST", "/callbacks/max", update("bot_stopped", user, user), key=None)
    assert answer.status == 403
    assert _active(get, path) == {str(user): True}


def test_calls_that_nobody_can_read(service: Service) -> None:
    for path, headers in (("/callbacks/vk", {}), ("/callbacks/max", {"X-Max-Bot-Api-Secret": MAX_SECRET})):
        for raw, status, code in (
            (b"{", 400, "bad_request"),
            (b"[1]", 400, "bad_request"),
            (b"", 400, "bad_request"),
            (b'{"a": "' + b"x" * 300_000 + b'"}', 413, "body_too_large"),
        ):
            answer = service.call("POST", path, raw, key=None, headers=headers)
            problem_of(answer, status, code)


def test_a_number_that_no_contact_has_changes_nothing(service: Service) -> None:
    event = orjson.loads(orjson.dumps(update("bot_stopped", 2**63, -(2**63))))
    assert _max(service, event).status == 200


def test_a_start_link_needs_a_bot_and_a_person(call: Call) -> None:
    path = _person(call)
    problem_of(call("POST", f"{path}/links", {"sender": "CONSOLE"}), 409, "no_way_to_join")
    problem_of(call("POST", f"{path}/links", {"sender": "NONE"}), 409, "no_way_to_join")
    problem_of(call("POST", "/v1/recipients/nobody-at-all/links", {"sender": "MAX"}), 404, "not_found")
    _start_token(call, path)
    entry = call("GET", "/v1/audit?limit=1").json()["items"][0]
    assert entry["action"] == "recipient.link"
