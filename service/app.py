"""The composition root: everything is built here, by constructor, and started and stopped in order."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Protocol

from fastapi import FastAPI

from service.access.audit import AuditRetention
from service.access.authenticate import Authenticator
from service.access.keys import ApiKeys, ensure_first_key
from service.access.links import Links
from service.access.tokens import Tokens
from service.api import ApiDeps, create_api
from service.audience.people import QuietHours
from service.bot.inbox import Inbox
from service.bot.role import BotRole, Webhook, bot_id
from service.content.localisation import Localisation, locales_folder
from service.content.rendering import Renderer
from service.db.database import OUTAGE, Database
from service.db.migrate import migrate
from service.delivery.engine import Engine
from service.delivery.gauges import READ_SECONDS, gauge_reader
from service.delivery.metrics import Metrics
from service.delivery.planning import Defaults, Planner
from service.delivery.wording import Wording
from service.health import Health
from service.mailings.metrics import MailingMetrics
from service.mailings.retiring import Retiring
from service.mailings.runner import Runner
from service.mailings.store import Mailings
from service.probes import HasProblem, register_probes
from service.senders import build_senders
from service.settings import AudienceSettings, Settings
from service.support.desk import Desk
from service.tasks import end
from service.transports import Transport, build_transports, configured_transports
from service.triggers.events import Events
from service.triggers.firing import Firing
from service.triggers.making import Maker
from service.triggers.metrics import TriggerMetrics
from service.triggers.store import Triggers, lists_in_use
from service.triggers.upkeep import Upkeep

log = logging.getLogger(__name__)

GC_ALLOCATIONS = 50_000
"""Messages make much garbage and few cycles: looking for cycles after every 700 objects costs a tenth."""
CONNECT_SECONDS = (0.5, 1.0, 2.0, 5.0)
GIVE_UP_LOOK_SECONDS = 0.1


class GivenUpError(Exception):
    """The process is to end before it has begun."""


class Part(Protocol):
    """Something that runs beside the engine."""

    def start(self) -> None: ...

    async def close(self) -> None: ...


class App:
    """One process of the service. `on_ready` is called with the first API key when one was just made."""

    def __init__(self, settings: Settings, on_ready: Callable[[str | None], None] | None = None) -> None:
        if settings.database.url is None:
            raise ValueError(
                "DATABASE_URL is not set; `notifications run` starts an embedded PostgreSQL without it"
            )
        self._works = works = "worker" in settings.process.roles
        self.settings = settings
        self._on_ready = on_ready
        self.given_up: Callable[[], bool] = lambda: False
        """Asked while the start waits for the database: whether the process is to end instead."""
        self.metrics = Metrics()
        self.health = Health()
        self.database = Database(
            settings.database.url.get_secret_value(),
            pool_size=settings.database.pool_size,
            command_timeout=settings.database.command_timeout_seconds,
        )
        self.senders = build_senders(settings)
        self.renderer = Renderer(settings.templates)
        self.trials = Renderer(settings.templates)
        self.localisation = Localisation(locales_folder())
        secret = settings.links.secret
        self.links = Links(secret.get_secret_value() if secret else None, settings.server.base_url)
        self._planner = Planner(self.senders, _defaults(settings.audience))
        self.desk = self._desk()
        self.engine = Engine(
            self.database,
            self.senders,
            settings=settings.delivery,
            limits=settings.limits,
            transports=configured_transports(settings),
            works=works,
            metrics=self.metrics,
            planner=self._planner,
            wording=self._wording(self.renderer),
            random=Random(),  # noqa: S311 - spreads retries, guards nothing
            on_relayed=_ignore if self.desk is None else self.desk.clock.look,
        )
        self.intake = self.engine.intake
        self.operations = self.engine.operations
        self.mailings = Mailings(self.database, self._planner, self.intake.bounds)
        self._mailing_metrics = MailingMetrics(self.metrics.registry)
        self._mailing_runner = Runner(
            self.database,
            self._planner,
            self.engine.wakeups,
            settings=settings.mailings,
            transports=configured_transports(settings),
            look=self.engine.look,
            retiring=Retiring(
                self.database, retention_days=settings.delivery.retention_days, lists_in_use=lists_in_use
            ),
            metrics=self._mailing_metrics,
        )
        self._build_triggers()
        if works:
            self._parts.append(AuditRetention(self.database, settings.auth.audit_retention_days))
        self.transports: list[Transport] = (
            build_transports(settings, self.intake, self.events) if works else []
        )
        self._consuming: list[asyncio.Task[None]] = []
        self.keys = ApiKeys(self.database)
        self.webhook, self.bot = self._bot()
        register_probes(
            self.health,
            self.database,
            self.engine,
            transports=self.transports,
            clock=self._clock,
            bot=self.bot,
        )
        self.api = self._build_api()

    def _build_triggers(self) -> None:
        """What is due is fired where the clock is watched or, through RabbitMQ, in any worker."""
        settings, random = self.settings.triggers, Random()  # noqa: S311 - spreads retries, guards nothing
        zone = self.settings.audience.time_zone
        maker = Maker(
            self.intake,
            retry_delays=settings.retry_delays_seconds,
            make_mailing=self.mailings.make,
            default_zone=zone,
            random=random,
            metrics=TriggerMetrics(self.metrics.registry),
        )
        self.firing = Firing(self.database, maker, settings, random=random)
        self.events = Events(self.database, maker)
        self.triggers = Triggers(self.database, default_zone=zone, due_at=self.firing.due_at)
        # Taskiq is loaded late, since a process that only serves HTTP has no use for it.
        self._clock: HasProblem | None = None
        self._parts: list[Part] = [self.firing]
        if "scheduler" in self.settings.process.roles:
            from service.triggers.schedule import TriggerClock  # noqa: PLC0415

            self._clock = clock = TriggerClock(self.firing, settings, self.settings.rabbit)
            self._parts += [Upkeep(self.database, self.triggers, settings), clock]
        if "worker" in self.settings.process.roles and self.settings.rabbit.host is not None:
            from service.triggers.schedule import RabbitFirings  # noqa: PLC0415

            self._parts.append(RabbitFirings(self.firing, settings, self.settings.rabbit))

    def _build_api(self) -> FastAPI:
        deps = ApiDeps(
            settings=self.settings,
            database=self.database,
            intake=self.intake,
            operations=self.operations,
            mailings=self.mailings,
            planner=self._planner,
            triggers=self.triggers,
            firing=self.firing,
            events=self.events,
            senders=self.senders,
            health=self.health,
            metrics=self.metrics,
            read_gauges=gauge_reader(
                self.database,
                self.engine,
                self.transports,
                [self._mailing_metrics.reader(self.database, READ_SECONDS)],
            ),
            keys=self.keys,
            renderer=self.trials,
            localisation=self.localisation,
            wording=self._wording(self.trials),
            desk=self.desk,
            webhook=self.webhook,
            links=self.links,
            authenticator=Authenticator(self.keys, Tokens(self.settings.auth)),
            asyncapi=_asyncapi_json,
        )
        return create_api(deps, self._lifespan)

    def _wording(self, renderer: Renderer) -> Wording:
        return Wording(
            self.database,
            renderer,
            self.links,
            self.localisation,
            self._planner,
            offers_links=self.settings.server.public_url is not None,
            relaying=None if self.desk is None else self.desk.relaying,
            problem_categories=() if self.desk is None else self.settings.bot.problem_categories,
        )

    def _desk(self) -> Desk | None:
        """The support desk, where there is a chat for it and the bot to write there."""
        chat, sender = self.settings.telegram.support_chat_id, self.senders["TG"]
        if chat is None or sender.off_reason is not None:
            return None
        return Desk(
            chat,
            self.database,
            sender,
            settings=self.settings.support,
            localisation=self.localisation,
            transports=configured_transports(self.settings),
        )

    def _bot(self) -> tuple[Webhook | None, BotRole | None]:
        """What takes the bot's updates, and what handles them."""
        if self.senders["TG"].off_reason is not None:
            return None, None
        inbox = Inbox(bot_id(self.settings))
        webhook = None
        if self.settings.bot.mode == "webhook":
            webhook = Webhook(self.database, inbox, self.settings, self.links)
        if "bot" not in self.settings.process.roles:
            return webhook, None
        bot = BotRole(
            self.database,
            self.settings,
            links=self.links,
            localisation=self.localisation,
            desk=self.desk,
            respect=self.operations.respect,
            inbox=inbox,
            webhook=webhook,
        )
        return webhook, bot

    @asynccontextmanager
    async def _lifespan(self, _api: FastAPI) -> AsyncIterator[None]:
        try:
            first_key = await self.start()
        except GivenUpError:
            yield  # the server is told to end, and serves nothing
            return
        try:
            gc.set_threshold(GC_ALLOCATIONS, 20, 100)
            freezing = asyncio.create_task(self._freeze(), name="freeze")
            if self._on_ready is not None:
                self._on_ready(first_key)
            yield
            freezing.cancel()
        finally:
            await self.stop()

    async def _freeze(self) -> None:
        """What the libraries made at import stays for good: collections need not walk through it."""
        await self.engine.opened()
        gc.collect()
        gc.freeze()

    async def start(self) -> str | None:
        """Connect, migrate, begin. Returns the first API key if it was made now.

        Waits for the database. Raises `GivenUpError` when nobody wants it to start any more.
        """
        reaching = asyncio.create_task(self._reach_database(), name="reach the database")
        while not reaching.done():
            if self.given_up():
                await end(reaching)
                raise GivenUpError
            await asyncio.wait({reaching}, timeout=GIVE_UP_LOOK_SECONDS)
        await reaching
        await self.renderer.start()
        await self.trials.start()
        await self.links.open(self.database)
        admin = self.settings.auth.admin_api_key
        first_key = await ensure_first_key(self.database, admin.get_secret_value() if admin else None)
        await self.engine.start(self.transports)
        if "worker" in self.settings.process.roles:
            self._mailing_runner.start()
        for part in self._parts:
            part.start()
        if self.bot is not None:
            self.bot.start(self.engine.opened)
        if self.desk is not None and self._works:
            self.desk.clock.start()
        self._consuming = [
            asyncio.create_task(transport.run(), name=f"{transport.name} intake")
            for transport in self.transports
        ]
        return first_key

    async def stop(self) -> None:
        """Stop taking in, drain, report, disconnect."""
        await asyncio.gather(*(transport.stop_intake() for transport in self.transports))
        for part in reversed(self._parts):
            await part.close()
        await self._mailing_runner.close()
        if self.bot is not None:
            await self.bot.stop()
        if self.desk is not None:
            await self.desk.clock.close()
        await self.engine.stop()
        await asyncio.gather(*(transport.close() for transport in self.transports))
        for task in self._consuming:
            task.cancel()
        await asyncio.gather(*self._consuming, return_exceptions=True)
        await self.renderer.close()
        await self.trials.close()
        await self.database.close()

    async def _reach_database(self) -> None:
        attempt = 0
        while True:
            try:
                await migrate(self.database.dsn)
                await self.database.open()
            except OUTAGE as error:
                pause = CONNECT_SECONDS[min(attempt, len(CONNECT_SECONDS) - 1)]
                log.warning("PostgreSQL does not answer (%s), trying again in %.1f s", error, pause)
                attempt += 1
                await asyncio.sleep(pause)
            else:
                return


def _ignore(_deliveries: Sequence[int]) -> None:
    """There is no desk that has to know."""


def _defaults(settings: AudienceSettings) -> Defaults:
    quiet = settings.quiet_hours
    return Defaults(
        locale=settings.locale,
        zone=settings.time_zone,
        quiet=None if quiet is None else QuietHours.parse(quiet),
        critical=frozenset(settings.critical_categories),
    )


def _asyncapi_json() -> str:
    # Needs both brokers' clients, whatever this process uses.
    from service.transports.asyncapi import asyncapi_json  # noqa: PLC0415

    return asyncapi_json()


def build(settings: Settings, on_ready: Callable[[str | None], None] | None = None) -> App:
    """Everything of one process, not started yet. `settings.database.url` has to be set."""
    return App(settings, on_ready)
