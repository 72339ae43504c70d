"""A support desk in this process: the engine, the Telegram sender and the fake Bot API over HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from service.content.localisation import Localisation, locales_folder
from service.db.database import Connection, Database
from service.delivery.events import Channel, OutgoingEvent
from service.desk_settings import SupportSettings
from service.sender_settings import TelegramSettings
from service.senders.telegram import TelegramSender
from service.settings import DeliverySettings
from service.support.desk import Desk
from service.support.values import Answered, Incoming, Media, Opened, Operator, Wrote
from service.support.values import Person as Writer
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.fakes.telegram_people import Person
from tests.fakes.telegram_world import Accepted, kind_of, text_of
from tests.support.engines import make_engine
from tests.support.waiting import wait_until

DESK = -1001234567890
VERA, OLEG = Operator("20", "Vera"), Operator("21", "Oleg")
FAST = {"poll_seconds": 0.2, "housekeeping_seconds": 0.2, "retry_delays_seconds": (0.05, 0.1)}


class Events:
    """A broker in memory."""

    name = "rabbit"
    ready = True

    def __init__(self) -> None:
        self.published: list[tuple[Channel, OutgoingEvent]] = []

    async def publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        self.published += [(channel, event) for event in events]

    def of_tickets(self) -> list[str]:
        return [event.type for channel, event in self.published if channel == "tickets"]


class DeskBench:
    """What people and specialists write at the fake is handed to the desk, as the bot would."""

    def __init__(self, tg: FakeTelegram, database: Database, desk: Desk, events: Events) -> None:
        self.tg, self.database, self.desk, self.events = tg, database, desk, events

    async def opens(self, person: Person, answered: Answered | None = None, **values: Any) -> Opened:
        user = person.user
        writer = Writer(
            str(person.chat), user["first_name"], user.get("username"), user.get("language_code", "en")
        )
        async with self.database.transaction() as connection:
            opened = await self.desk.tickets.open_ticket(connection, writer, answered=answered, **values)
        assert opened is not None
        return opened

    async def topic(self, ticket: int) -> int:
        """The ticket's topic, when it is there."""
        return int(await wait_until(lambda: self.column(ticket, "thread"), message="the topic is there"))

    async def column(self, ticket: int, name: str) -> Any:
        return await self.database.pool.fetchval(f"SELECT {name} FROM ticket WHERE id = $1", ticket)

    async def wrote(self, who: Person, message_id: int, operator: Operator | None = None) -> Wrote:
        """The bot gets that message of the fake."""
        async with self.database.transaction() as connection:
            return await self._wrote(connection, self.incoming(who, message_id), operator)

    async def edited(self, who: Person, message_id: int, *, by_operator: bool = False) -> bool:
        conversation = self.desk.conversation
        edit = conversation.operator_edited if by_operator else conversation.person_edited
        async with self.database.transaction() as connection:
            return await edit(connection, self.incoming(who, message_id))

    async def _wrote(self, connection: Connection, written: Incoming, operator: Operator | None) -> Wrote:
        if operator is None:
            return await self.desk.conversation.person_wrote(connection, written)
        return await self.desk.conversation.operator_wrote(connection, written, operator)

    def incoming(self, who: Person, message_id: int) -> Incoming:
        message = self.tg.chat(who.chat).messages[message_id]
        kind = kind_of(message)
        held = message.get(kind) if kind != "text" else None
        file = held[-1] if isinstance(held, list) else held
        return Incoming(
            chat=str(who.chat),
            message=message_id,
            text=text_of(message),
            entities=tuple(message.get("entities") or message.get("caption_entities") or ()),
            kind=kind,
            media=Media(kind, file["file_id"], file["file_unique_id"])
            if file and "file_id" in file
            else None,
            album=message.get("media_group_id"),
            reply_to=message.get("reply_to_message", {}).get("message_id"),
            thread=who.thread,
        )

    async def sees(self, who: Person, text: str) -> Accepted:
        """The bot's message with that text, when it has come."""

        def found() -> Accepted | None:
            return next((sent for sent in who.sees() if text in sent.text), None)

        return await wait_until(found, message=f"{text!r} is seen among {who.reads()}")


@asynccontextmanager
async def desk_bench(
    database_url: str, tg: FakeTelegram, *, chat: int = DESK, topics: bool = True, **settings: Any
) -> AsyncIterator[DeskBench]:
    """`settings` are those of the support desk; no limit of Telegram's is kept."""
    tg.chat(chat).topics = {} if topics else None
    database = Database(database_url)
    await database.open()
    sender = TelegramSender(
        TelegramSettings(bot_token=TOKEN, api_url=tg.url, rate=0, chat_rate=0, group_rate=0)
    )
    desk = Desk(
        str(chat),
        database,
        sender,
        settings=SupportSettings(**{"topic_rate": 0, "album_seconds": 0.2, **settings}),
        localisation=Localisation(locales_folder()),
        transports=["rabbit"],
    )
    engine = make_engine(database, {"TG": sender}, DeliverySettings(**FAST), desk=desk)
    events = Events()
    await engine.start([events])
    await engine.opened()
    desk.clock.start()
    try:
        yield DeskBench(tg, database, desk, events)
    finally:
        await desk.clock.close()
        await engine.stop()
        await database.close()
