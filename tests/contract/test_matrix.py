"""`MATRIX` against a real homeserver: Synapse, started by the test."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from service.sender_settings import MatrixSettings
from service.senders.base import Attachment, Button, Gone, Halted, Sent, Throttled
from service.senders.matrix import MatrixSender
from tests.contract.rigs.matrix import MatrixRig
from tests.contract.sender_suite import HOSTILE, UNICODE, message
from tests.support.synapse import MESSAGES_AT_ONCE, Person, Synapse

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def homeserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    server = Synapse(tmp_path_factory.mktemp("synapse"))
    server.start()
    yield server
    server.stop()


@dataclass
class Room:
    """A room with a reader and the account that sends."""

    id: str
    reader: Person
    bot: Person
    server: Synapse

    def sender(self, **values: Any) -> MatrixSender:
        given = {"url": self.server.url, "token": self.bot.token, **values}
        return MatrixSender(MatrixSettings.model_validate(given))


_numbers = iter(range(1_000))


@pytest.fixture
async def room(homeserver: Synapse) -> Room:
    number = next(_numbers)
    reader = await Person.register(homeserver, f"reader{number}")
    bot = await Person.register(homeserver, f"bot{number}")
    return Room(await reader.create_room(bot), reader, bot, homeserver)


@pytest.fixture
async def sender(room: Room) -> AsyncIterator[MatrixSender]:
    sender = room.sender()
    yield sender
    await sender.close()


async def test_a_message_reaches_the_room(room: Room, sender: MatrixSender) -> None:
    msg = message(
        room.id,
        body="**Paid** <b>",
        format="markdown",
        buttons=[Button("Open", "https://example.com/1")],
        attachments=[Attachment("document", "https://example.com/bill.pdf")],
    )
    outcome = await sender.send(msg)
    (event,) = await room.reader.messages(room.id)
    assert outcome == Sent((event["event_id"],))
    assert event["sender"] == room.bot.id
    content = event["content"]
    assert content["msgtype"] == "m.text"
    assert content["body"].startswith(f"{msg.title}\nPaid <b>\n\nOpen (https://example.com/1)\n")
    assert "<b>Paid</b> &lt;b&gt;" in content["formatted_body"]
    assert '<a href="https://example.com/bill.pdf">bill.pdf</a>' in content["formatted_body"]


async def test_a_repeat_is_dropped_by_the_homeserver(room: Room, sender: MatrixSender) -> None:
    msg = message(room.id)
    first, again = await sender.send(msg), await sender.send(replace(msg, attempt=2))
    assert first == again
    assert len(await room.reader.messages(room.id)) == 1
    assert await sender.send(replace(msg, delivery_id=msg.delivery_id + 1_000_000)) != first
    assert len(await room.reader.messages(room.id)) == 2


async def test_a_long_text_comes_in_parts_that_a_homeserver_takes(room: Room, sender: MatrixSender) -> None:
    body = "<&\"'\\\u0001я👍" * 6_000
    outcome = await sender.send(message(room.id, body=body))
    assert isinstance(outcome, Sent), outcome
    events = await room.reader.messages(room.id)
    assert [event["event_id"] for event in events] == list(outcome.parts)
    assert len(events) > 1
    assert "".join(event["content"]["body"] for event in events).count("👍") == 6_000


async def test_texts_arrive_as_they_are(room: Room, sender: MatrixSender) -> None:
    texts = [*UNICODE.values(), *HOSTILE.values()]
    for text in texts:
        assert isinstance(await sender.send(message(room.id, title="", body=text)), Sent)
    assert [event["content"]["body"] for event in await room.reader.messages(room.id)] == texts


async def test_nobody_is_mentioned(room: Room, sender: MatrixSender) -> None:
    for text in (f"{room.reader.id} @room", f"reader {room.reader.id.partition(':')[0]}", "@room"):
        await sender.send(message(room.id, title=text, body=text, format="markdown"))
    assert len(await room.reader.messages(room.id)) == 3
    assert await room.reader.notified(room.id) == []


async def test_notices(room: Room) -> None:
    sender = room.sender(notices=True)
    await sender.send(message(room.id))
    await sender.close()
    assert [event["content"]["msgtype"] for event in await room.reader.messages(room.id)] == ["m.notice"]


async def test_a_room_that_was_left(room: Room, sender: MatrixSender) -> None:
    await room.bot.leave(room.id)
    outcome = await sender.send(message(room.id))
    assert isinstance(outcome, Gone)
    assert outcome.code == "M_FORBIDDEN"


async def test_a_room_that_never_was(room: Room, sender: MatrixSender) -> None:
    assert isinstance(await sender.send(message("!nowhere:matrix.test")), Gone)


async def test_a_token_that_was_revoked(room: Room, sender: MatrixSender) -> None:
    await room.bot.log_out()
    outcome = await sender.send(message(room.id))
    assert isinstance(outcome, Halted)
    assert outcome.code == "M_UNKNOWN_TOKEN"
    assert room.bot.token not in repr(outcome)


async def test_too_fast(room: Room, sender: MatrixSender) -> None:
    for _ in range(10 * MESSAGES_AT_ONCE):
        outcome = await sender.send(message(room.id))
        if not isinstance(outcome, Sent):
            break
    assert isinstance(outcome, Throttled), outcome
    assert outcome.code == "M_LIMIT_EXCEEDED"
    assert outcome.retry_after is not None
    assert 0 <= outcome.retry_after < 10, outcome


async def test_the_transaction_names_delivery_and_part() -> None:
    async with MatrixRig() as rig:
        sender = rig.sender()
        msg = message(rig.address)
        assert isinstance(await sender.send(msg), Sent)
        await sender.close()
        transaction = f"{msg.notification_id}.{msg.delivery_id}.0"
        assert rig.server.journal[0]["path"].endswith(
            f"/%21room1%3Amatrix.example.org/send/m.room.message/{transaction}"
        )
