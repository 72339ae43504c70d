"""Updates to handlers: aiogram's dispatcher over the routers, and the desk's chat before them."""

import logging
from typing import Any

from aiogram import BaseMiddleware, Bot, Dispatcher, F, Router
from aiogram.dispatcher.event.bases import SkipHandler
from aiogram.types import CallbackQuery, Message, Update
from pydantic import ValidationError

from service.access.links import Links
from service.bot.desk import DeskUpdates
from service.bot.joining import Joining
from service.bot.menus import Menus
from service.bot.reading import read_json
from service.bot.reporting import Reporting
from service.bot.turn import Turn
from service.content.localisation import Localisation
from service.desk_settings import BotSettings
from service.settings import AudienceSettings
from service.support.desk import Desk

ALLOWED_UPDATES = ("message", "edited_message", "callback_query", "my_chat_member")
"""What the bot asks Telegram for: all that the handlers handle."""


class Handling:
    """Everything that the bot does about an update, without Telegram."""

    def __init__(
        self,
        bot: Bot,
        *,
        settings: BotSettings,
        audience: AudienceSettings,
        links: Links,
        localisation: Localisation,
        desk: Desk | None,
        desk_locale: str,
    ) -> None:
        # It writes a line for every update.
        logging.getLogger("aiogram.event").setLevel(logging.WARNING)
        self._bot = bot
        self._dispatcher = Dispatcher(disable_fsm=True)
        if desk is not None:
            self._dispatcher.include_router(_desk_router(DeskUpdates(desk, localisation, desk_locale)))
        reporting = Reporting(settings, desk)
        groups = Router(name="groups")
        groups.callback_query.register(reporting.elsewhere, F.message.chat.type != "private")
        self._dispatcher.include_router(groups)
        people = Router(name="people")
        people.message.filter(F.chat.type == "private")
        people.edited_message.filter(F.chat.type == "private")
        people.include_routers(
            Joining(settings, links, supported=desk is not None).router(),
            Menus(settings, audience).router(),
            reporting.router(),
        )
        self._dispatcher.include_router(people)

    async def handle(self, body: bytes, turn: Turn) -> None:
        """Handle an update as Telegram sent it. Raises ValueError for what is none."""
        update = self._read(read_json(body))
        await self._dispatcher.feed_update(self._bot, update, turn=turn)

    def _read(self, given: object) -> Update:
        try:
            return Update.model_validate(given, context={"bot": self._bot})
        except ValidationError as error:
            # Its own text has what people wrote in it, which no log has to know.
            wrong = error.errors(include_url=False, include_input=False, include_context=False)
            where = [".".join(map(str, problem["loc"])) + ": " + problem["msg"] for problem in wrong[:3]]
            raise ValueError(f"no update: {'; '.join(where)}") from None


class _OfDesk(BaseMiddleware):
    """Lets through what happens in the desk's chat."""

    def __init__(self, desk: DeskUpdates) -> None:
        self._desk = desk

    async def __call__(self, handler: Any, event: Any, data: dict[str, Any]) -> Any:
        message = event.message if isinstance(event, CallbackQuery) else event
        if message is None or not await self._desk.is_desk(data["turn"].connection, message.chat.id):
            raise SkipHandler
        return await handler(event, data)


def _desk_router(desk: DeskUpdates) -> Router:
    """A desk that is one specialist's own chat is a person's, too: what is no answer there goes on."""
    router = Router(name="desk")

    @router.message()
    async def wrote(message: Message, turn: Turn) -> None:
        if message.chat.type == "private" and message.reply_to_message is None:
            raise SkipHandler
        await desk.message(turn.connection, message)

    @router.edited_message()
    async def edited(message: Message, turn: Turn) -> None:
        await desk.edited(turn.connection, message)

    @router.callback_query(F.data.startswith("ticket:"))
    async def pressed(query: CallbackQuery, turn: Turn) -> None:
        turn.toast(query, await desk.pressed(turn.connection, query))

    for observer in (router.message, router.edited_message, router.callback_query):
        observer.middleware(_OfDesk(desk))
    return router
