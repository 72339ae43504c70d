"""The engine of one process: its parts, built by constructor, started and stopped in order."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

from service.db.database import OUTAGE, Database
from service.delivery.dispatch import Dispatcher
from service.delivery.events import Publisher
from service.delivery.fanout import FanOut
from service.delivery.holds import Holds
from service.delivery.housekeeping import Housekeeping
from service.delivery.intake import Intake
from service.delivery.ledger import Ledger
from service.delivery.metrics import Metrics
from service.delivery.operations import Operations
from service.delivery.outbox import Relay
from service.delivery.planning import Planner
from service.delivery.rejections import Rejections
from service.delivery.rows import Entry
from service.delivery.states import SenderStates
from service.delivery.wakeups import Wakeups
from service.delivery.wording import Wording
from service.senders.base import BaseSender
from service.settings import DeliverySettings, LimitSettings

log = logging.getLogger(__name__)

STATE_POLL_SECONDS = 2.0
RELAY_DRAIN_SECONDS = 5.0
OUTAGE_DRAIN_SECONDS = 3.0
OUTAGE_PAUSE_SECONDS = 1.0


class Engine:
    """Intake and operations in every process; with `works` also sending, housekeeping and publishing.

    `transports` are the names under which events are published, whichever process does it. `on_relayed` hears
    which deliveries that are steps of conversations have been settled here.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        database: Database,
        senders: Mapping[str, BaseSender],
        *,
        settings: DeliverySettings,
        limits: LimitSettings,
        transports: Sequence[str],
        works: bool,
        metrics: Metrics,
        planner: Planner,
        wording: Wording,
        random: Random,
        on_relayed: Callable[[Sequence[int]], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._works = works
        self._relays: list[Relay] = []
        self._opening: list[asyncio.Task[None]] = []
        self.metrics = metrics
        self.wakeups = Wakeups(database)
        self.states = SenderStates(
            database, self.wakeups, transports=transports, poll_seconds=STATE_POLL_SECONDS
        )
        self.holds = Holds(database, self.wakeups)
        self.ledger = Ledger(
            database,
            settings,
            transports=transports,
            sharing=[name for name, sender in senders.items() if sender.contacts_name != name],
            metrics=metrics,
            on_outbox=self._look_at_outbox,
            on_fan_out=self._look_at_fan_out,
            on_foreign_rows=self._tell_due,
            on_relayed=on_relayed,
        )
        self.rejections = Rejections(database, transports=transports, keep_bytes=limits.rejected_body_bytes)
        self.intake = Intake(
            self.ledger,
            self.rejections,
            planner,
            database,
            limits=limits,
            settings=settings,
            metrics=metrics,
            transports=transports,
            on_stored=self._look_at_stored,
        )
        self.fan_out = FanOut(database, planner, transports=transports, look=self.look)
        self.operations = Operations(
            database, self.intake, self.states, planner, transports=transports, look=self.look
        )
        self.housekeeping = Housekeeping(
            database, settings, token=self.ledger.token, transports=transports, look=self.look
        )
        self.senders = {name: sender for name, sender in senders.items() if sender.off_reason is None}
        self.dispatchers = {
            name: Dispatcher(
                sender,
                ledger=self.ledger,
                database=database,
                states=self.states,
                holds=self.holds,
                settings=settings,
                metrics=metrics,
                wording=wording,
                random=random,
            )
            for name, sender in self.senders.items()
            if works
        }
        self.ledger.takers.update(self.dispatchers)
        self.wakeups.listen(self._received)

    async def start(self, publishers: Sequence[Publisher]) -> None:
        """The database is open and migrated. `publishers` take the events, where this process works."""
        self.wakeups.start()
        await self.states.start(list(self.dispatchers))
        self.ledger.start()
        if not self._works:
            return
        await self.holds.start()
        for name, dispatcher in self.dispatchers.items():
            self.holds.on_new(dispatcher.holds_changed)
            self.states.on_change(name, dispatcher.state_changed)
            # A client may take seconds to import; what needs it waits in the table meanwhile.
            opening = asyncio.create_task(self._open(name, dispatcher), name=f"open {name}")
            self._opening.append(opening)
        self.housekeeping.start()
        self.fan_out.start()
        self._relays = [Relay(self._database, publisher) for publisher in publishers]
        for relay in self._relays:
            relay.start()

    async def _open(self, name: str, dispatcher: Dispatcher) -> None:
        try:
            await dispatcher.sender.open()
            await self._start(dispatcher)
        except Exception as error:
            log.exception("%s does not start", name)
            await self.states.halt(name, f"it does not start: {error!r}")

    async def _start(self, dispatcher: Dispatcher) -> None:
        while True:
            try:
                return await dispatcher.start()
            except OUTAGE as error:
                log.warning("%s waits for the database: %s", dispatcher.name, error)
            await asyncio.sleep(OUTAGE_PAUSE_SECONDS)

    async def opened(self) -> None:
        """Return when every sender has started, or has been halted because it cannot."""
        await asyncio.gather(*self._opening)

    async def stop(self) -> None:
        """Drain: no new claims, calls under way finish, every outcome is committed and reported."""
        # What cannot be committed now is taken over when its lease ends: no use in waiting for it.
        timeout = OUTAGE_DRAIN_SECONDS if self.ledger.outage else self._settings.drain_timeout_seconds
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await self.housekeeping.close()
        await self.fan_out.close()
        await asyncio.gather(*(dispatcher.drain(timeout) for dispatcher in self.dispatchers.values()))
        try:
            async with asyncio.timeout(timeout):
                await self.ledger.close()
        except TimeoutError:
            self.ledger.abandon()
            log.warning(
                "the database is away: %d deliveries wait for their leases to end", len(self.ledger.held)
            )
        for relay in self._relays:
            await relay.close(RELAY_DRAIN_SECONDS)
        await self.states.close()
        await self.holds.close()
        await self.wakeups.close()
        if self._works:
            await asyncio.gather(*(sender.close() for sender in self.senders.values()))

    def look(self, senders: set[str]) -> None:
        """There are due rows for these senders."""
        for name in senders & self.dispatchers.keys():
            self.dispatchers[name].look()
        if foreign := senders - self.dispatchers.keys():
            self._tell_due(foreign)
        self._look_at_outbox()

    def _look_at_stored(self, entries: Sequence[Entry]) -> None:
        """Requests were stored by a transaction that is not the ledger's."""
        if any(entry.plan.topic is not None for entry in entries):
            self._look_at_fan_out()
        self.look({entry.first_hop.sender for entry in entries if entry.plan.route})

    def _tell_due(self, senders: set[str]) -> None:
        for name in senders:
            self.wakeups.say("due", name)

    def _look_at_fan_out(self) -> None:
        self.fan_out.look()

    def _look_at_outbox(self) -> None:
        for relay in self._relays:
            relay.look()

    def _received(self, topic: str, detail: str) -> None:
        if topic == "due" and (dispatcher := self.dispatchers.get(detail)):
            dispatcher.look()
        elif topic == "throttled":
            name, _, seconds = detail.partition(" ")
            if dispatcher := self.dispatchers.get(name):
                dispatcher.hush(float(seconds))
