"""One update being handled: the transaction, who it is from, and what is said when that is committed."""

from dataclasses import dataclass, field
from gettext import NullTranslations
from typing import Any

from aiogram.types import CallbackQuery, Message, User

from service.audience.linking import Guest, owner
from service.audience.places import canonical_locale
from service.audience.profile import NAME_MAX_CHARS
from service.bot.replies import Reply, Rows, redraw, say, toast
from service.content.localisation import Localisation
from service.db.database import Connection

SENDER = "TG"


@dataclass(slots=True)
class Turn:
    """Handed to every handler. `changed` are recipients whose wishes are others now.

    `person` is a row of `audience.linking.owner`, asked for once; None: the chat is nobody's.
    """

    connection: Connection
    localisation: Localisation
    default_locale: str
    replies: list[Reply] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)
    _people: dict[str, Any] = field(default_factory=dict)

    async def person(self, chat: str) -> Any:
        if chat not in self._people:
            self._people[chat] = await owner(self.connection, SENDER, chat)
        return self._people[chat]

    def forget(self, chat: str) -> None:
        """What is known of a chat's person has changed."""
        self._people.pop(chat, None)

    async def locale(self, chat: str, user: User | None) -> str:
        """The person's own language, or that of their Telegram, or the settings'."""
        person = await self.person(chat)
        known = None if person is None else person["locale"]
        return known or language_of(user) or self.default_locale

    async def words(self, chat: str, user: User | None) -> NullTranslations:
        """The person's language."""
        return self.localisation.translator(await self.locale(chat, user))

    def say(self, chat: str, text: str, rows: Rows = ()) -> None:
        self.replies.append(say(chat, text, rows))

    def redraw(self, query: CallbackQuery, text: str, rows: Rows = ()) -> None:
        """The message whose button was pressed becomes this."""
        if query.message is not None:
            self.replies.append(redraw(chat_of(query), query.message.message_id, text, rows))

    def toast(self, query: CallbackQuery, text: str = "") -> None:
        """First of all, so that the button stops waiting."""
        self.replies.insert(0, toast(query.id, text))


def chat_of(update: Message | CallbackQuery) -> str:
    """The chat as an address of the sender."""
    if isinstance(update, Message):
        return str(update.chat.id)
    return str(update.from_user.id if update.message is None else update.message.chat.id)


def language_of(user: User | None) -> str | None:
    """What Telegram says of the language of somebody's app, as BCP 47."""
    code = None if user is None else user.language_code
    return canonical_locale(code) if code else None


def guest_of(chat: str, user: User | None) -> Guest:
    """Somebody at the other end of a private chat."""
    name = None if user is None else " ".join(user.full_name.split())[:NAME_MAX_CHARS]
    return Guest(SENDER, chat, name or None, language_of(user))
