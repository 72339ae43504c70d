"""A person reports a problem: `/support`, a button, or an answer to a notification opens a ticket.

At most two questions come first, what it is about and what has happened; the first message is the
description. While a ticket is open, whatever the person writes goes to it.
"""

from typing import Any
from uuid import UUID

import orjson
from aiogram import F, Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, InaccessibleMessage, Message, User

from service.bot.incoming import incoming, is_written
from service.bot.menus import REPORT, key_of, main_rows, title_of
from service.bot.replies import undress
from service.bot.turn import SENDER, Turn, chat_of
from service.db.database import Connection
from service.delivery.answering import delivery_of
from service.desk_settings import BotSettings
from service.senders.base import PROBLEM
from service.support.desk import Desk
from service.support.tickets import RATE
from service.support.values import Answered, Button, Person, Rated

CANCEL = f"{REPORT}:cancel"
ABOUT = f"{REPORT}:about:"
TEXT_KEPT_CHARS = 4_000

_BEGIN = """
INSERT INTO bot_report (chat, category, answered, at) VALUES ($1, $2, $3::jsonb, now())
ON CONFLICT (chat) DO UPDATE SET category = excluded.category, answered = excluded.answered, at = now()
"""
_CATEGORY = "UPDATE bot_report SET category = $2, at = now() WHERE chat = $1 RETURNING chat"
_TAKE = """
DELETE FROM bot_report WHERE chat = $1 RETURNING category, answered, at > now() - $2 * interval '1 hour' AS fresh
"""
_FORGET = """
DELETE FROM bot_report WHERE chat IN (
    SELECT chat FROM bot_report WHERE at < now() - $1 * interval '1 hour' LIMIT $2)
"""


class Reporting:
    """The person's side of the desk."""

    def __init__(self, settings: BotSettings, desk: Desk | None) -> None:
        self._settings = settings
        self._desk = desk

    def router(self) -> Router:
        router = Router(name="reporting")
        router.message.register(self.support, Command("support"))
        router.message.register(self.wrote, is_written)
        router.edited_message.register(self.edited)
        router.callback_query.register(self.pressed, F.data == REPORT)
        router.callback_query.register(self.problem, F.data == PROBLEM)
        router.callback_query.register(self.cancel, F.data == CANCEL)
        router.callback_query.register(self.about, F.data.startswith(ABOUT))
        router.callback_query.register(self.rate, F.data.startswith(f"{RATE}:"))
        return router

    async def support(self, message: Message, turn: Turn) -> None:
        await self._begin(chat_of(message), message.from_user, turn)

    async def pressed(self, query: CallbackQuery, turn: Turn) -> None:
        """The button of the menu."""
        turn.toast(query)
        await self._begin(chat_of(query), query.from_user, turn)

    async def problem(self, query: CallbackQuery, turn: Turn) -> None:
        """The button under a notification."""
        chat = chat_of(query)
        turn.toast(query)
        found = None if query.message is None else await _notification(turn.connection, query.message)
        category, answered = found or (None, None)
        await self._begin(chat, query.from_user, turn, category=category, answered=answered)

    async def elsewhere(self, query: CallbackQuery, turn: Turn) -> None:
        """Any button in a group: nobody there speaks for the group's recipient."""
        words = await turn.words(chat_of(query), query.from_user)
        turn.toast(query, words.gettext("Please write to me directly."))

    async def about(self, query: CallbackQuery, turn: Turn) -> None:
        """What the report is about was chosen."""
        chat = chat_of(query)
        words = await turn.words(chat, query.from_user)
        key = (query.data or "").removeprefix(ABOUT)
        category = next((name for name in self._settings.report_categories if key_of(name) == key), None)
        turn.toast(query)
        if category is not None and await turn.connection.fetchval(_CATEGORY, chat, category):
            turn.redraw(query, _describe(words), [_cancel(words)])

    async def cancel(self, query: CallbackQuery, turn: Turn) -> None:
        chat = chat_of(query)
        words = await turn.words(chat, query.from_user)
        await turn.connection.execute(_TAKE, chat, 0.0)
        turn.toast(query)
        turn.redraw(query, words.gettext("Nothing was reported."), self._menu(words))

    async def rate(self, query: CallbackQuery, turn: Turn) -> None:
        """Stars for a closed ticket. Those of one that is open again stay for later."""
        chat = chat_of(query)
        words = await turn.words(chat, query.from_user)
        _, _, rest = (query.data or "").partition(":")
        ticket, _, stars = rest.partition(":")
        rated: Rated = "refused"
        if self._desk is not None and ticket.isdecimal() and stars.isdecimal() and len(ticket + stars) < 19:  # noqa: PLR2004
            rated = await self._desk.tickets.rate(turn.connection, int(ticket), chat, int(stars))
        match rated:
            case "open":
                again = words.gettext("Request {number} is open: rate it when it is closed.")
                turn.toast(query, again.format(number=ticket))
                return
            case "rated":
                turn.toast(query, words.gettext("Thank you!"))
            case "refused":
                turn.toast(query)
        if query.message is not None:
            turn.replies.append(undress(chat, query.message.message_id))

    async def wrote(self, message: Message, turn: Turn) -> None:
        """Anything that is no command."""
        if self._desk is None:
            await self._hint(message, turn)
            return
        conversation, written = self._desk.conversation, incoming(message)
        found = await _answered_by(turn.connection, message)
        # Every part of an album answers what the album answers.
        if found is not None and not await conversation.has_part_of(turn.connection, written):
            await self._open(message, turn, *found)
            return
        wrote = await conversation.person_wrote(turn.connection, written)
        if wrote == "banned":
            await self._refuse(written.chat, message.from_user, turn)
        elif wrote == "no_ticket":
            await self._described(message, turn)

    async def edited(self, message: Message, turn: Turn) -> None:
        if self._desk is not None:
            await self._desk.conversation.person_edited(turn.connection, incoming(message))

    async def _begin(
        self,
        chat: str,
        user: User | None,
        turn: Turn,
        *,
        category: str | None = None,
        answered: Answered | None = None,
    ) -> None:
        """Ask what it is about, unless that is known, then what has happened."""
        words = await turn.words(chat, user)
        if self._desk is None:
            turn.say(chat, words.gettext("There is no support desk here."))
            return
        if await self._desk.tickets.is_banned(turn.connection, chat):
            await self._refuse(chat, user, turn)
            return
        if (ticket := await self._desk.tickets.open_of(turn.connection, chat)) is not None:
            if answered is not None:
                person = await self._person(chat, user, turn)
                await self._desk.tickets.open_ticket(turn.connection, person, answered=answered)
            text = words.gettext("Your request {number} is open: just write here.")
            turn.say(chat, text.format(number=ticket))
            return
        about = None if answered is None else _kept(answered)
        await turn.connection.execute(_BEGIN, chat, category, about)
        if answered is None and self._settings.report_categories:
            turn.say(chat, words.gettext("What is it about?"), await self._choices(chat, user, turn))
        else:
            turn.say(chat, _describe(words), [_cancel(words)])

    async def _choices(self, chat: str, user: User | None, turn: Turn) -> list[list[Button]]:
        language = turn.localisation.language(await turn.locale(chat, user))
        titles = self._settings.report_categories
        rows = [[Button(title_of(titles, name, language), ABOUT + key_of(name))] for name in titles]
        return [*rows, _cancel(await turn.words(chat, user))]

    async def _described(self, message: Message, turn: Turn) -> None:
        """The first message of a report, or a word out of the blue."""
        begun = await turn.connection.fetchrow(_TAKE, chat_of(message), self._settings.report_hours)
        if begun is None or not begun["fresh"]:
            await self._hint(message, turn)
        else:
            await self._open(message, turn, begun["category"], _read(begun["answered"]))

    async def _open(
        self, message: Message, turn: Turn, category: str | None, answered: Answered | None
    ) -> None:
        assert self._desk is not None  # noqa: S101 - asked before
        chat = chat_of(message)
        person = await self._person(chat, message.from_user, turn)
        opened = await self._desk.tickets.open_ticket(
            turn.connection, person, category=category, answered=answered
        )
        if opened is None:
            await self._refuse(chat, message.from_user, turn)
        else:
            await self._desk.conversation.person_wrote(turn.connection, incoming(message))

    async def _person(self, chat: str, user: User | None, turn: Turn) -> Person:
        locale = await turn.locale(chat, user)
        name = chat if user is None else user.full_name
        return Person(chat, name, None if user is None else user.username, locale)

    async def _refuse(self, chat: str, user: User | None, turn: Turn) -> None:
        words = await turn.words(chat, user)
        turn.say(chat, words.gettext("You cannot write to the support desk."))

    async def _hint(self, message: Message, turn: Turn) -> None:
        words = await turn.words(chat_of(message), message.from_user)
        turn.say(chat_of(message), words.gettext("What would you like to do?"), self._menu(words))

    def _menu(self, words: Any) -> list[list[Button]]:
        return main_rows(words, supported=self._desk is not None)


async def forget_reports(connection: Connection, hours: float, most: int) -> None:
    """Remove what nobody went on with."""
    await connection.execute(_FORGET, hours, most)


def _describe(words: Any) -> str:
    text: str = words.gettext("Please describe what has happened. Photos and files are welcome, too.")
    return text


def _cancel(words: Any) -> list[Button]:
    return [Button(words.gettext("Cancel"), CANCEL)]


async def _answered_by(connection: Connection, message: Message) -> tuple[str | None, Answered] | None:
    """The notification that a message replies to, and its category."""
    replied = message.reply_to_message
    return None if replied is None else await _notification(connection, replied)


async def _notification(
    connection: Connection, message: Message | InaccessibleMessage
) -> tuple[str | None, Answered] | None:
    """The notification that a message of the bot's is, and its category. An old one may come without its text."""
    found = await delivery_of(connection, SENDER, str(message.chat.id), str(message.message_id))
    if found is None:
        return None
    text = (message.text or message.caption or "") if isinstance(message, Message) else ""
    return found.category, Answered(found.notification_id, found.delivery_id, text[:TEXT_KEPT_CHARS])


def _kept(answered: Answered) -> str:
    return orjson.dumps([str(answered.notification), answered.delivery, answered.text]).decode()


def _read(kept: str | None) -> Answered | None:
    if kept is None:
        return None
    notification, delivery, text = orjson.loads(kept)
    return Answered(UUID(notification), delivery, text)
