"""`/start`, `/stop`, and the blocking and unblocking of the bot: whose a chat is, and whether it is written to."""

from gettext import NullTranslations

from aiogram import F, Router
from aiogram.filters import Command, CommandObject, CommandStart
from aiogram.types import CallbackQuery, ChatMemberUpdated, Message

from service.access.links import LinkError, Links
from service.audience.facts import revive
from service.audience.linking import LINK_PURPOSE, ask, end, use_link, welcome
from service.audience.profile import Profile
from service.audience.upserting import upsert
from service.bot.menus import RESUME, main_rows
from service.bot.turn import SENDER, Turn, chat_of, guest_of
from service.desk_settings import BotSettings
from service.support.values import Button

BLOCKED = "the person blocked the bot"


class Joining:
    """`supported`: there is a support desk to write to."""

    def __init__(self, settings: BotSettings, links: Links, *, supported: bool) -> None:
        self._settings = settings
        self._links = links
        self._supported = supported

    def router(self) -> Router:
        router = Router(name="joining")
        router.message.register(self.start, CommandStart())
        router.message.register(self.stop, Command("stop"))
        router.callback_query.register(self.resume, F.data == RESUME)
        router.my_chat_member.register(self.member, F.chat.type == "private")
        return router

    async def start(self, message: Message, command: CommandObject, turn: Turn) -> None:
        """By a link, again, or for the first time."""
        if command.args:
            await self._follow(message, command.args, turn)
        elif await turn.person(chat_of(message)) is not None:
            await self._return(message, turn)
        else:
            await self._arrive(message, turn)

    async def stop(self, message: Message, turn: Turn) -> None:
        """Mute everything but what is critical."""
        chat = chat_of(message)
        person = await turn.person(chat)
        words = await turn.words(chat, message.from_user)
        if person is None:
            turn.say(chat, words.gettext("You get no notifications here."))
            return
        await upsert(turn.connection, {person["external_id"]: Profile(muted=True)})
        turn.changed.add(person["id"])
        button = Button(words.gettext("Turn on again"), RESUME)
        turn.say(chat, words.gettext("Notifications are off, except important ones."), [[button]])

    async def resume(self, query: CallbackQuery, turn: Turn) -> None:
        """Take `/stop` back."""
        chat = chat_of(query)
        person = await turn.person(chat)
        words = await turn.words(chat, query.from_user)
        turn.toast(query)
        if person is not None:
            await upsert(turn.connection, {person["external_id"]: Profile(muted=False)})
            turn.redraw(query, words.gettext("Notifications are on."), self._menu(words))

    async def member(self, event: ChatMemberUpdated, turn: Turn) -> None:
        """Telegram reports both in private chats, and nothing else there."""
        chat = str(event.chat.id)
        if event.new_chat_member.status == "kicked":
            await end(turn.connection, SENDER, chat, BLOCKED)
        else:
            await revive(turn.connection, SENDER, chat)

    async def _follow(self, message: Message, token: str, turn: Turn) -> None:
        chat = chat_of(message)
        guest = guest_of(chat, message.from_user)
        words = await turn.words(chat, message.from_user)
        try:
            link = int(self._links.read(LINK_PURPOSE, token))
        except LinkError as error:
            expired = words.gettext("This link has expired. Please ask for a new one.")
            turn.say(chat, expired if error.expired else words.gettext("This link does not work."))
            return
        match await use_link(turn.connection, link, guest):
            case "linked":
                turn.forget(chat)
                words = await turn.words(chat, message.from_user)
                done = words.gettext("Done! Your notifications will come here.")
                turn.say(chat, done, self._menu(words))
            case "again":
                await self._return(message, turn)
            case "spent":
                turn.say(chat, words.gettext("This link was used before. Please ask for a new one."))
            case "taken":
                taken = words.gettext("This link was used in another chat. Please ask for a new one.")
                turn.say(chat, taken)
            case "gone":
                turn.say(chat, words.gettext("This link does not work."))

    async def _return(self, message: Message, turn: Turn) -> None:
        chat = chat_of(message)
        person = await turn.person(chat)
        await revive(turn.connection, SENDER, chat)
        if person["muted"]:
            await upsert(turn.connection, {person["external_id"]: Profile(muted=False)})
        words = await turn.words(chat, message.from_user)
        turn.say(chat, words.gettext("Your notifications come here."), self._menu(words))

    async def _arrive(self, message: Message, turn: Turn) -> None:
        chat = chat_of(message)
        guest = guest_of(chat, message.from_user)
        words = await turn.words(chat, message.from_user)
        match self._settings.start:
            case "open":
                await welcome(turn.connection, guest)
                done = words.gettext("Welcome! Your notifications will come here.")
                turn.say(chat, done, self._menu(words))
            case "approval":
                await ask(turn.connection, guest)
                turn.say(
                    chat, words.gettext("Thank you. You will hear from us once your request is approved.")
                )
            case "closed":
                turn.say(
                    chat,
                    words.gettext("Hello! To get notifications here, please use the link in your account."),
                )

    def _menu(self, words: NullTranslations) -> list[list[Button]]:
        return main_rows(words, supported=self._supported)
