"""The support desk over REST: what another help desk sees and does."""

import asyncio
from typing import Any

import pytest

from service.content.localisation import Localisation, locales_folder
from service.db.database import Database
from service.desk_settings import SupportSettings
from service.sender_settings import TelegramSettings
from service.senders.telegram import TelegramSender
from service.support.desk import Desk
from service.support.values import Incoming, Person
from tests.api.conftest import Call, problem_of
from tests.conftest import StartService
from tests.fakes.telegram import TOKEN
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_blocking

DESK = "-1001234567890"


@pytest.fixture
def desk_service(start_service: StartService, telegram: TelegramProcess) -> Service:
    telegram.control("POST", "chats", id=int(DESK), topics={1: "open"})
    return start_service({**telegram.env, "TG_SUPPORT_CHAT_ID": DESK})


def _open(database_url: str, chat: str, text: str, **values: Any) -> int:
    """A person with that chat opens a ticket, as the bot would do it."""

    async def act() -> int:
        database = Database(database_url)
        await database.open()
        desk = Desk(
            DESK,
            database,
            TelegramSender(TelegramSettings(bot_token=TOKEN)),
            settings=SupportSettings(),
            localisation=Localisation(locales_folder()),
            transports=[],
        )
        async with database.transaction() as connection:
            opened = await desk.tickets.open_ticket(connection, Person(chat, f"Person {chat}"), **values)
            assert opened is not None
            await desk.conversation.person_wrote(connection, Incoming(chat, 5, text))
        await database.close()
        return opened.ticket

    return asyncio.run(act())


def test_reading_answering_and_closing(
    desk_service: Service, telegram: TelegramProcess, database_url: str
) -> None:
    ticket = _open(database_url, "7", "It does not work", category="payment")
    other = _open(database_url, "8", "Neither does mine")
    call = desk_service.call

    listed = call("GET", "/v1/tickets?status=open&unclaimed=true").json()
    assert [item["id"] for item in listed["items"]] == [other, ticket]
    assert [item["id"] for item in call("GET", "/v1/tickets?limit=1").json()["items"]] == [other]
    assert [item["id"] for item in call("GET", "/v1/tickets?category=payment").json()["items"]] == [ticket]
    assert [item["id"] for item in call("GET", "/v1/tickets?address=8").json()["items"]] == [other]
    assert call("GET", "/v1/tickets?recipient=nobody").json()["items"] == []

    one = call("GET", f"/v1/tickets/{ticket}").json()
    assert (one["name"], one["category"], one["operator"]) == ("Person 7", "payment", None)
    assert [message["parts"][0]["text"] for message in one["messages"] if message["origin"] == "person"] == [
        "It does not work"
    ]

    agent = {"id": "agent-3", "name": "Vera"}
    sent = call("POST", f"/v1/tickets/{ticket}/replies", {"text": "It is solved now", "operator": agent})
    assert sent.status == 202, sent.body
    wait_blocking(lambda: "It is solved now" in telegram.texts(), message="the person got the answer")
    assert not any("Vera" in text for text in _texts(telegram, 7))
    one = call("GET", f"/v1/tickets/{ticket}").json()
    assert one["operator"] == agent
    assert one["first_reply_at"] is not None

    oleg = {"id": "agent-4", "name": "Oleg"}
    assert call("POST", f"/v1/tickets/{ticket}/assign", {"operator": oleg}).json()["operator"] == oleg
    assert call("POST", f"/v1/tickets/{ticket}/assign", {"operator": None}).json()["operator"] is None
    closed = call("POST", f"/v1/tickets/{ticket}/close")
    assert (closed.status, closed.json()["status"], closed.json()["closed_by"]) == (200, "closed", "api")
    problem_of(call("POST", f"/v1/tickets/{ticket}/close"), 409, "ticket_closed")
    problem_of(call("POST", f"/v1/tickets/{ticket}/replies", {"text": "more"}), 409, "ticket_closed")
    assert call("POST", f"/v1/tickets/{ticket}/reopen").json()["status"] == "open"

    messages = call("GET", f"/v1/tickets/{ticket}/messages?limit=2").json()
    assert len(messages["items"]) == 2
    assert messages["next"] is not None
    transcript = call("GET", f"/v1/tickets/{ticket}/transcript")
    assert transcript.headers["content-type"].startswith("text/plain")
    assert "Vera: It is solved now" in transcript.body.decode()
    audited = [entry["action"] for entry in call("GET", "/v1/audit?limit=20").json()["items"]]
    assert {"ticket.reply", "ticket.assign", "ticket.close", "ticket.reopen"} <= set(audited)


def test_an_answer_is_as_long_as_one_message(
    desk_service: Service, telegram: TelegramProcess, database_url: str
) -> None:
    """Telegram counts units of UTF-16: a smiley is two."""
    ticket = _open(database_url, "7", "It does not work")
    replies = f"/v1/tickets/{ticket}/replies"
    for text, length in (("👍" * 2_049, "has 4098 units"), ("a" * 4_097, "too long")):
        problem = problem_of(desk_service.call("POST", replies, {"text": text}), 422, "invalid_request")
        (told,) = problem["problems"]
        assert told["field"] == "text"
        assert length in told["problem"]
        assert "at most 4096" in told["problem"]
    longest = "👍" * 2_047 + "ab"
    assert desk_service.call("POST", replies, {"text": longest}).status == 202
    wait_blocking(lambda: longest in _texts(telegram, 7), message="the person got the answer")


def test_figures(desk_service: Service, database_url: str) -> None:
    ticket = _open(database_url, "7", "It does not work")
    _open(database_url, "8", "Neither does mine")
    call = desk_service.call
    agent = {"id": "agent-3", "name": "Vera"}
    call("POST", f"/v1/tickets/{ticket}/replies", {"text": "Now it does", "operator": agent})
    call("POST", f"/v1/tickets/{ticket}/close")
    figures = call("GET", "/v1/tickets/statistics").json()
    assert (figures["total"]["tickets"], figures["total"]["open"], figures["total"]["closed"]) == (2, 1, 1)
    assert figures["total"]["first_reply_median"] >= 0
    (vera,) = figures["operators"]
    assert (vera["operator"], vera["tickets"], vera["resolution_median"] >= 0) == (agent, 1, True)
    before = call("GET", "/v1/tickets/statistics?days=1&until=2020-01-01T00:00:00Z").json()
    assert (before["since"], before["total"]["tickets"]) == ("2019-12-31T00:00:00Z", 0)
    problem_of(call("GET", "/v1/tickets/statistics?days=400"), 422, "invalid_request")


def test_without_a_desk_there_is_only_reading(call: Call) -> None:
    assert call("GET", "/v1/tickets").json()["items"] is not None
    problem_of(call("POST", "/v1/tickets/1/close"), 409, "support_off")
    problem_of(call("GET", "/v1/tickets/999999"), 404, "not_found")
    problem_of(call("GET", "/v1/tickets/999999/transcript"), 404, "not_found")


def test_its_own_scope(call: Call) -> None:
    reader = call("POST", "/v1/keys", {"name": "reader", "scopes": ["read", "manage"]}).json()["key"]
    problem_of(call("GET", "/v1/tickets", key=reader), 403, "missing_scope")
    helper = call("POST", "/v1/keys", {"name": "helper", "scopes": ["support"]}).json()["key"]
    assert call("GET", "/v1/tickets", key=helper).status == 200


def _texts(telegram: TelegramProcess, chat: int) -> list[str]:
    journal = telegram.control("GET", "journal")["items"]
    return [message["text"] for message in journal if message["chat"] == chat]


def test_a_persons_conversations_are_exported_and_erased(desk_service: Service, database_url: str) -> None:
    call = desk_service.call
    contact = {"sender": "TG", "address": "77"}
    assert call("PUT", "/v1/recipients/writer", {"contacts": [contact]}).status == 201
    ticket, others = _open(database_url, "77", "My secret"), _open(database_url, "78", "Not mine")
    (exported,) = call("GET", "/v1/recipients/writer/export").json()["tickets"]
    assert (exported["id"], "My secret" in exported["transcript"]) == (ticket, True)
    assert call("DELETE", "/v1/recipients/writer").json()["tickets"] == 1
    assert call("GET", f"/v1/tickets/{ticket}").status == 404
    assert call("GET", f"/v1/tickets/{others}").status == 200
