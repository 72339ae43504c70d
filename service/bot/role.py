"""The role `bot` of one process: started and stopped by the application, its parts made once aiogram is there."""

import asyncio
import hmac
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.access.links import Links
from service.audience.linking import set_account
from service.bot.inbox import Inbox
from service.bot.polling import Polling, unknown_token
from service.bot.reading import is_update, read_json
from service.content.localisation import Localisation
from service.db.database import TRANSIENT, Database
from service.health import PartHealth
from service.settings import Settings
from service.support.desk import Desk
from service.tasks import end

if TYPE_CHECKING:
    from aiogram import Bot

    from service.bot.worker import Worker

log = logging.getLogger(__name__)

WEBHOOK_PATH = "/callbacks/telegram"
SECRET_PURPOSE = "telegram-webhook"  # noqa: S105 - a name
SENDER = "TG"
CALL_SECONDS = 15.0
PAUSES_SECONDS = (1.0, 2.0, 5.0, 15.0)
_FOR_EVER = datetime(2100, 1, 1, tzinfo=UTC)
STARTING = PartHealth("degraded", "it is starting")


class Webhook:
    """Takes the updates that Telegram posts, in any process; with a worker they are handled here as well."""

    def __init__(self, database: Database, inbox: Inbox, settings: Settings, links: Links) -> None:
        self._database = database
        self._inbox = inbox
        self._given = settings.bot.webhook_secret
        self._links = links
        self.on_stored: Callable[[Iterable[str]], None] = lambda _: None

    @property
    def secret(self) -> str:
        """The same in every process. The links have to be open."""
        if self._given is not None:
            return self._given.get_secret_value()
        return self._links.sign(SECRET_PURPOSE, "", _FOR_EVER)

    def knows(self, secret: str) -> bool:
        """Whether a call is Telegram's."""
        return hmac.compare_digest(secret.encode(), self.secret.encode())

    async def take(self, body: bytes) -> bool:
        """Store an update. False: it is no JSON. Raises one of `OUTAGE`: Telegram posts it again.

        JSON that can never be stored would be posted again and again: it is taken, and passed over.
        """
        try:
            update = read_json(body)
        except ValueError:
            return False
        except RecursionError:
            update = None
        if not is_update(update):
            log.error("what Telegram posted is no update, and is passed over")
            return True
        async with self._database.transaction() as connection:
            lanes = await self._inbox.store(connection, [update])
        self.on_stored(lanes)
        return True


class BotRole:
    """Everything that the bot does in this process."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        links: Links,
        localisation: Localisation,
        desk: Desk | None,
        respect: Callable[[int], Awaitable[object]],
        inbox: Inbox,
        webhook: Webhook | None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._links = links
        self._localisation = localisation
        self._desk = desk
        self._respect = respect
        self._inbox = inbox
        self._webhook = webhook
        self._task: asyncio.Task[None] | None = None
        self._bot: Bot | None = None
        self._worker: Worker | None = None
        self._polling: Polling | None = None
        self._health = STARTING

    def start(self, after: Callable[[], Awaitable[object]]) -> None:
        """The database is open. Returns at once: what the bot needs takes seconds to import.

        That begins `after` the senders' clients, since two threads must not import the same at once.
        """
        self._task = asyncio.create_task(self._run(after), name="bot")

    async def stop(self) -> None:
        """Take no more updates, finish those that are being handled."""
        await end(self._task)
        if self._worker is not None:
            await self._worker.stop()
        if self._bot is not None:
            await self._bot.session.close()

    async def health(self) -> PartHealth:
        """Whether updates come in, and whether all could be handled."""
        state = self._health if self._polling is None else self._polling.health
        if state.status == "ok" and self._worker is not None and self._worker.aside:
            return PartHealth(
                "degraded", f"{self._worker.aside} updates of the last hour were put aside; see the log"
            )
        return state

    async def _run(self, after: Callable[[], Awaitable[object]]) -> None:
        await after()
        bot, worker = await asyncio.to_thread(self._build)
        self._bot, self._worker = bot, worker
        worker.start()
        await self._introduced(bot)
        if self._webhook is not None:
            self._webhook.on_stored = worker.wake
            await self._insisting(self._set_webhook)
            self._health = PartHealth("ok", "updates are posted to this service")
            return
        self._polling = self._poller(bot, worker)
        await self._polling.run()

    def _build(self) -> "tuple[Bot, Worker]":
        from aiogram import Bot  # noqa: PLC0415
        from aiogram.client.session.aiohttp import AiohttpSession  # noqa: PLC0415
        from aiogram.client.telegram import TelegramAPIServer  # noqa: PLC0415

        from service.bot.handling import Handling  # noqa: PLC0415
        from service.bot.speaker import Speaker  # noqa: PLC0415
        from service.bot.worker import Worker  # noqa: PLC0415

        telegram, audience = self._settings.telegram, self._settings.audience
        session = AiohttpSession(api=TelegramAPIServer.from_base(telegram.api_url), timeout=CALL_SECONDS)
        bot = Bot(telegram.bot_token.get_secret_value() if telegram.bot_token else "", session=session)
        handling = Handling(
            bot,
            settings=self._settings.bot,
            audience=audience,
            links=self._links,
            localisation=self._localisation,
            desk=self._desk,
            desk_locale=self._settings.support.locale,
        )
        worker = Worker(
            self._database,
            self._inbox,
            self._settings.bot,
            handling=handling,
            speaker=Speaker(bot),
            respect=self._respect,
            localisation=self._localisation,
            default_locale=audience.locale,
        )
        return bot, worker

    async def _introduced(self, bot: "Bot") -> None:
        """Learn the bot's name, which links need, and say in every language what it can do."""
        from aiogram.exceptions import AiogramError  # noqa: PLC0415

        await self._insisting(self._learn_name)
        try:
            await self._set_commands(bot)
        except AiogramError as error:
            log.warning("the bot's commands are not listed: %s", error)

    async def _learn_name(self, bot: "Bot") -> None:
        me = await bot.get_me()
        async with self._database.transaction() as connection:
            await set_account(connection, SENDER, me.username or str(me.id))

    async def _set_commands(self, bot: "Bot") -> None:
        from service.bot.commands import commands  # noqa: PLC0415

        for language in self._localisation.languages:
            words = self._localisation.translator(language)
            listed = commands(words, supported=self._desk is not None)
            await bot.set_my_commands(listed, language_code=None if language == "en" else language[:2])

    async def _set_webhook(self, bot: "Bot") -> None:
        from service.bot.handling import ALLOWED_UPDATES  # noqa: PLC0415

        assert self._webhook is not None  # noqa: S101 - only called with one
        await bot.set_webhook(
            self._settings.server.base_url + WEBHOOK_PATH,
            secret_token=self._webhook.secret,
            allowed_updates=list(ALLOWED_UPDATES),
            max_connections=self._settings.bot.webhook_connections,
        )

    async def _insisting(self, work: "Callable[[Bot], Awaitable[None]]") -> None:
        """Until it is done: Telegram or PostgreSQL may be out of reach for long."""
        from aiogram.exceptions import AiogramError, TelegramRetryAfter  # noqa: PLC0415

        assert self._bot is not None  # noqa: S101 - made before
        for attempt in itertools.count():
            try:
                return await work(self._bot)
            except (AiogramError, *TRANSIENT) as error:
                pause = PAUSES_SECONDS[min(attempt, len(PAUSES_SECONDS) - 1)]
                pause = max(pause, error.retry_after if isinstance(error, TelegramRetryAfter) else 0)
                if self._health.detail != (detail := _told(error)):
                    log.warning("the bot cannot begin: %s", detail)
                self._health = PartHealth("degraded", detail)
                await asyncio.sleep(pause)
        return None

    def _poller(self, bot: "Bot", worker: "Worker") -> Polling:
        from service.bot.handling import ALLOWED_UPDATES  # noqa: PLC0415

        return Polling(
            self._database,
            self._inbox,
            bot=bot.id,
            url=bot.session.api.api_url(bot.token, "getUpdates"),
            allowed=ALLOWED_UPDATES,
            seconds=self._settings.bot.poll_seconds,
            wake=worker.wake,
            on_conflict=self._conflict,
        )

    async def _conflict(self, reason: str) -> str:
        """A webhook of our own is removed, since it was left by another setting; somebody else's is told of."""
        from aiogram.exceptions import AiogramError  # noqa: PLC0415

        assert self._bot is not None  # noqa: S101 - made before
        if "webhook" not in reason:
            return f"somebody else polls with TG_BOT_TOKEN ({reason})"
        try:
            url = (await self._bot.get_webhook_info()).url
            if url == self._settings.server.base_url + WEBHOOK_PATH:
                await self._bot.delete_webhook()
                return "a webhook of this service is being removed"
        except AiogramError as error:
            return str(error)
        host = urlsplit(url).hostname
        return f"updates go to a webhook at {host}: remove it with deleteWebhook, or set BOT_MODE=webhook"


def _told(error: Exception) -> str:
    from aiogram.exceptions import TelegramNotFound, TelegramUnauthorizedError  # noqa: PLC0415

    if isinstance(error, TelegramNotFound | TelegramUnauthorizedError):
        return unknown_token(error.message)
    return str(error)


def bot_id(settings: Settings) -> int:
    """The number that a token begins with."""
    token = settings.telegram.bot_token
    return int(token.get_secret_value().partition(":")[0]) if token else 0
