"""The desk's side of the bot: what specialists write and press in the desk's chat.

Every method works in the caller's transaction; the update's repeat is the caller's to recognise.
"""

from aiogram.types import CallbackQuery, Message, User

from service.bot.incoming import incoming, is_written
from service.content.localisation import Localisation
from service.db.database import Connection
from service.support.card import ACTION
from service.support.desk import Desk
from service.support.values import Operator

ID_MAX_DIGITS = 18


class DeskUpdates:
    """Updates of one desk. `locale` is the language of what buttons answer."""

    def __init__(self, desk: Desk, localisation: Localisation, locale: str) -> None:
        self._tickets = desk.tickets
        self._conversation = desk.conversation
        self._words = localisation.translator(locale)

    async def is_desk(self, connection: Connection, chat_id: int) -> bool:
        """Whether that chat is the desk, as it was set or as it is after a move."""
        return str(chat_id) in (self._tickets.desk, await self._tickets.desk_chat(connection))

    async def message(self, connection: Connection, message: Message) -> None:
        """A message in the desk's chat, or Telegram's own word about the chat."""
        if message.migrate_to_chat_id is not None:
            moved = str(message.migrate_to_chat_id)
            await self._tickets.desk_moved(connection, str(message.chat.id), moved)
            return
        operator = self._operator(message)
        if operator is None:
            return
        if message.forum_topic_closed or message.forum_topic_reopened:
            await self._topic_turned(connection, message, operator)
        elif is_written(message):
            await self._conversation.operator_wrote(connection, incoming(message), operator)

    async def edited(self, connection: Connection, message: Message) -> None:
        """A message in the desk's chat has a new form."""
        if self._operator(message) is not None:
            await self._conversation.operator_edited(connection, incoming(message))

    async def pressed(self, connection: Connection, query: CallbackQuery) -> str:
        """A button of a card; what to answer to whoever pressed it, possibly nothing."""
        operator = _operator_of(query.from_user)
        if not self._tickets.may_answer(operator.id):
            return self._words.gettext("You are not among the specialists")
        action, ticket, verb, argument = _parse(query.data or "")
        if action != ACTION:
            return ""
        if verb == "claim":
            return await self._claim(connection, ticket, operator)
        done = await self._act(connection, ticket, verb, argument, operator)
        return "" if done else self._words.gettext("That is not possible any more")

    async def _claim(self, connection: Connection, ticket: int, operator: Operator) -> str:
        claimed = await self._tickets.claim(connection, ticket, operator)
        if claimed is None:
            return self._words.gettext("That is not possible any more")
        if claimed.mine:
            return ""
        other = await self._tickets.operator(connection, claimed.operator)
        name = claimed.operator if other is None else other.name
        return self._words.gettext("{name} has it already").format(name=name)

    async def _act(  # noqa: PLR0911 - one for each button
        self, connection: Connection, ticket: int, verb: str, argument: str, operator: Operator
    ) -> bool:
        tickets = self._tickets
        match verb:
            case "release":
                return await tickets.release(connection, ticket, operator)
            case "close":
                return await tickets.close(connection, ticket, "operator", operator)
            case "reopen":
                return await tickets.reopen(connection, ticket, operator)
            case "ban":
                return await tickets.ban(connection, ticket, operator)
            case "unban":
                return await tickets.unban(connection, ticket)
            case "pick" | "back":
                return await tickets.pick(connection, ticket, picking=verb == "pick")
            case "give":
                to = await tickets.operator(connection, argument)
                return to is not None and await tickets.hand_over(connection, ticket, to, operator.id)
        return False

    async def _topic_turned(self, connection: Connection, message: Message, operator: Operator) -> None:
        """Somebody closed or opened the topic itself: its ticket follows."""
        thread = message.message_thread_id or 0
        ticket = await self._tickets.of_thread(connection, str(message.chat.id), thread)
        if ticket is None:
            return
        if message.forum_topic_closed:
            await self._tickets.close(connection, ticket, "operator", operator)
        else:
            await self._tickets.reopen(connection, ticket, operator)

    def _operator(self, message: Message) -> Operator | None:
        """Who wrote it, if they may answer. An anonymous administrator writes as the chat itself."""
        if message.sender_chat is not None:
            operator = Operator(str(message.sender_chat.id), message.sender_chat.title or "")
        elif message.from_user is None or message.from_user.is_bot:
            return None
        else:
            operator = _operator_of(message.from_user)
        return operator if self._tickets.may_answer(operator.id) else None


def _operator_of(user: User) -> Operator:
    return Operator(str(user.id), user.full_name)


def _parse(data: str) -> tuple[str, int, str, str]:
    """`ticket:17:give:42` as its parts; what is no action of ours has an empty first one."""
    action, _, rest = data.partition(":")
    number, _, rest = rest.partition(":")
    verb, _, argument = rest.partition(":")
    known = number.isdecimal() and len(number) <= ID_MAX_DIGITS
    return (action, int(number), verb, argument) if known else ("", 0, "", "")
