"""One dispatcher a sender: takes leased rows, keeps each lane in order, paces, and minds what outcomes mean."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from service.db.database import TRANSIENT, Database
from service.delivery import queries
from service.delivery.attempts import QUIET, Attempts, untried
from service.delivery.breaker import Breaker
from service.delivery.holds import HOLD_SECONDS, Holds
from service.delivery.jobs import Job, Pause, Settlement, Verdict, account_bucket, address_bucket
from service.delivery.lanes import Key, Lanes
from service.delivery.ledger import Ledger
from service.delivery.metrics import Metrics
from service.delivery.retry import throttle_seconds
from service.delivery.slots import Slots
from service.delivery.states import SenderStates
from service.delivery.wording import Wording
from service.senders.base import (
    BaseSender,
    Halted,
    NotSent,
    Outcome,
    Scope,
    Sent,
    Throttled,
)
from service.settings import DeliverySettings

log = logging.getLogger(__name__)

PACED_LOOK_SECONDS = 0.1
PACED_LOOK_ROWS = 300
ALL_LANES = (0, 1, 2, 3)
OVERTAKING_LANES = (0, 1)
OVERTAKING_ROWS = 50


class Dispatcher:
    """Sends what is leased to this process through one sender.

    A paced sender also waits for its next slot, and the slot goes to whoever is most urgent then.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        sender: BaseSender,
        *,
        ledger: Ledger,
        database: Database,
        states: SenderStates,
        holds: Holds,
        settings: DeliverySettings,
        metrics: Metrics,
        wording: Wording,
        random: Random,
    ) -> None:
        self.sender = sender
        self.name = sender.name
        self.ordered = sender.capabilities.ordered
        self._ledger = ledger
        self._database = database
        self._states = states
        self._holds = holds
        self._settings = settings
        rate = sender.limits.rate
        self._slots = Slots(rate) if rate else None
        self._concurrency = sender.limits.concurrency or settings.concurrency
        self._attempts = Attempts(
            sender,
            ledger=ledger,
            settings=settings,
            metrics=metrics,
            wording=wording,
            random=random,
            may_send=self._may_send,
        )
        self._breaker = Breaker()
        self._address_breakers: dict[str, Breaker] = {}
        self._claim = queries.claim(paced=self._slots is not None, ordered=self.ordered)
        self._lanes = Lanes()
        self._returning: Counter[Key] = Counter()
        self._sends: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self._backlog = True
        self._resume_at = 0.0
        self._draining = False
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # --- the ledger's side -----------------------------------------------------------------------

    def room(self) -> int:
        """Rows it would take without a claim: none while pacing, pauses or a backlog say who is next."""
        if self._slots is not None or self._backlog or not self._working():
            return 0
        return max(0, self._settings.buffer_rows - self._lanes.held)

    def take(self, jobs: Sequence[Job]) -> None:
        """Accept leased jobs, in the order in which their lanes must see them."""
        if not self._working():
            for job in jobs:
                self._give_back(job)
            return
        for job in jobs:
            if job.notification_id in self._holds:
                self._put_on_hold(job)
                continue
            key = self._key(job)
            if self._returning[key]:
                # An earlier message of its lane is on its way back to the table, which did not show it yet.
                self._give_back(job)
                continue
            self._lanes.add(key, job)
            if self._slots is not None:
                self._slots.add(job.slot)
        self._pump()

    def returned(self, job: Job) -> None:
        """The table shows that the job waits again: from now on it is in the way of what follows it."""
        key = self._key(job)
        self._returning[key] -= 1
        if self._returning[key] <= 0:
            del self._returning[key]

    def _key(self, job: Job) -> Key:
        if self.ordered:
            return (job.address, job.lane)
        # As many lanes as one address may have calls under way, for each priority.
        width = self.sender.limits.address_concurrency
        return (job.address, job.lane * width + job.id % width)

    def look(self) -> None:
        """There are rows in the table to claim."""
        self._backlog = True
        self._wake.set()

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self._database.pool.execute(
            "INSERT INTO pacing_bucket (bucket, next_at) VALUES ($1, now()) ON CONFLICT DO NOTHING",
            account_bucket(self.name),
        )
        self._task = asyncio.create_task(self._run(), name=f"dispatch {self.name}")

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, give back what has not begun, let calls under way finish."""
        self._draining = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._release_all()
        if self._sends:
            await asyncio.wait(self._sends, timeout=seconds)
        for send in self._sends:
            send.cancel()
        if self._sends:
            await asyncio.gather(*self._sends, return_exceptions=True)

    def _working(self) -> bool:
        return (
            not self._draining
            and self._states.works(self.name)
            and asyncio.get_running_loop().time() >= self._resume_at
        )

    def _may_send(self, job: Job) -> bool:
        return self._working() and job.notification_id not in self._holds

    def holds_changed(self) -> None:
        """Something is held that was not: what waits of it in memory goes back to the table."""
        for job in self._lanes.take_out(lambda job: job.notification_id in self._holds):
            self._put_on_hold(job)
            self._drop_slot()

    def hush(self, seconds: float) -> None:
        """Stop for so long: the account's bucket pauses. What waits in memory goes back to the table."""
        loop = asyncio.get_running_loop()
        self._resume_at = max(self._resume_at, loop.time() + seconds)
        self._release_all()
        loop.call_later(seconds, self._wake.set)

    def state_changed(self) -> None:
        """The sender was paused, halted or resumed somewhere."""
        if not self._states.works(self.name):
            self._release_all()
        self.look()

    # --- claiming --------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._draining:
            self._wake.clear()
            try:
                delay = await self._replenish()
            except TRANSIENT as error:
                log.debug("%s: claiming has to wait: %s", self.name, error)
                delay = self._settings.poll_seconds
            except Exception:
                log.exception("%s: claiming failed", self.name)
                delay = self._settings.poll_seconds
            # Not wait_for, which on Python 3.11 may swallow the cancellation that ends this loop.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    async def _replenish(self) -> float:
        """Claim what fits. Returns how long nothing has to be looked at, seconds."""
        poll = self._settings.poll_seconds
        room = self._settings.buffer_rows - self._lanes.held
        if not self._working():
            return poll
        if room < self._settings.buffer_rows / 2:
            # Full of what is less urgent, perhaps: what must overtake it has room of its own.
            await self._claim_rows(OVERTAKING_ROWS, OVERTAKING_LANES)
            return poll
        want = min(room, self._settings.batch_rows)
        claimed = await self._claim_rows(want, ALL_LANES)
        if claimed == want:
            return 0.0
        due: float | None = await self._database.pool.fetchval(queries.NEXT_DUE, self.name)
        self._backlog = due is not None and due <= 0
        if due is None:
            return poll
        # Rows that are due and were not to be had are with another process, or wait for the account.
        soonest = PACED_LOOK_SECONDS if self._slots is not None or (due <= 0 and not claimed) else 0.0
        return min(poll, max(due, soonest))

    async def _claim_rows(self, want: int, lanes: tuple[int, ...]) -> int:
        if self._slots is None:
            arguments: tuple[Any, ...] = (self.name, want, want, lanes)
        else:
            horizon = self._settings.pacing_horizon_seconds
            arguments = (self.name, want, PACED_LOOK_ROWS, lanes, self._slots.interval, horizon)
        return await self._ledger.claim(self.name, self._claim, arguments)

    # --- starting and giving back ----------------------------------------------------------------

    def _pump(self) -> None:
        """Start every call that may start now."""
        allowed = 1 if self._breaker.probing else self._concurrency
        while self.in_flight < allowed and self._may_begin():
            self.in_flight += 1
            send = asyncio.create_task(self._work(*self._lanes.begin()))
            self._sends.add(send)
            send.add_done_callback(self._sends.discard)

    def _may_begin(self) -> bool:
        return self._lanes.any_ready() and self._take_slot()

    async def _work(self, key: Key, job: Job) -> None:
        """One call after the other for as long as one may begin: a task for each would cost more."""
        while True:
            await self._process(key, job)
            self._lanes.end(key)
            if self._backlog and self._lanes.held < self._settings.buffer_rows / 2:
                self._wake.set()
            if self._breaker.probing or not self._may_begin():
                break
            key, job = self._lanes.begin()
            self._pump()
        self.in_flight -= 1
        self._pump()

    def _take_slot(self) -> bool:
        if not self._slots:
            return True
        loop = asyncio.get_running_loop()
        now, opens = loop.time(), self._slots.opens()
        if opens > now:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(opens, self._pump)
            return False
        self._slots.use(now)
        return True

    def _release_all(self) -> None:
        for job in self._lanes.release_all():
            self._give_back(job)
        if self._slots is not None:
            self._slots.clear()

    def _release_lane(self, key: Key, delay: float = 0.0) -> None:
        """Give back what stands behind a job that goes back itself: it must not overtake it."""
        for job in self._lanes.release(key):
            self._give_back(job, delay)
            self._drop_slot()

    def _drop_slot(self) -> None:
        if self._slots:
            self._slots.drop_last()

    def _put_on_hold(self, job: Job) -> None:
        self._settle(job, untried(job, HOLD_SECONDS, kind=QUIET))

    def _give_back(self, job: Job, delay: float = 0.0) -> None:
        self._settle(job, untried(job, delay))

    def _settle(self, job: Job, verdict: Verdict) -> None:
        if self.ordered and verdict.status == "queued":
            self._returning[self._key(job)] += 1
        self._ledger.settle(Settlement(job, verdict))

    # --- sending ---------------------------------------------------------------------------------

    async def _process(self, key: Key, job: Job) -> None:
        attempt = await self._attempts.make(job)
        verdict = attempt.verdict
        if verdict is None:
            self._ledger.forget(job)
            return
        if attempt.outcome is not None:
            # Whatever stops the process here, what the provider answered is written down.
            with contextlib.suppress(asyncio.CancelledError):
                await self._react(job, attempt.outcome)
                self._watch(job, attempt.outcome, attempt.began)
        if verdict.status == "queued" and self.ordered:
            self._release_lane(key, 0.0 if verdict.kind == QUIET else verdict.delay)
        self._settle(job, verdict)

    async def _react(self, job: Job, outcome: Outcome) -> None:
        """What an outcome means beyond its own delivery."""
        match outcome:
            case Throttled(scope=Scope.ADDRESS):
                seconds = throttle_seconds(job, outcome, datetime.now(UTC))
                self._pause_address(job.pacing_key, seconds)
            case Throttled():
                seconds = throttle_seconds(job, outcome, datetime.now(UTC))
                log.warning("%s is throttled for %.1f s: %s", self.name, seconds, outcome.reason)
                self._pause_account(seconds)
            case Halted():
                await self._states.halt(self.name, outcome.reason)
            case Sent(address=str(moved)):
                log.warning(
                    "%s: %s has moved to %s; contacts follow, update what else addresses it",
                    self.name,
                    job.address,
                    moved,
                )

    def _watch(self, job: Job, outcome: Outcome, began: float) -> None:
        """Leave a sick provider alone: the whole sender, or one address where each is somebody else's."""
        now = asyncio.get_running_loop().time()
        if self.sender.capabilities.one_provider:
            pause = self._breaker.record(outcome, began=began, now=now)
            if pause is not None:
                reason = outcome.reason if isinstance(outcome, NotSent) else ""
                log.warning("%s does not answer properly, probing in %.0f s: %s", self.name, pause, reason)
                self._pause_account(pause)
            return
        breaker = self._address_breakers.setdefault(job.address, Breaker())
        pause = breaker.record(outcome, began=began, now=now)
        if pause is not None:
            self._pause_address(job.pacing_key, pause)
        elif not breaker.sick and not breaker.probing:
            del self._address_breakers[job.address]

    @property
    def started(self) -> bool:
        """Whether it takes rows: its sender's client is there."""
        return self._task is not None

    @property
    def sick(self) -> bool:
        """Whether the provider is being probed."""
        return self._breaker.probing

    def _pause_account(self, seconds: float) -> None:
        self._ledger.pause(Pause(account_bucket(self.name), seconds))
        self.hush(seconds)
        self._states.announce_pause(self.name, seconds)

    def _pause_address(self, pacing_key: str, seconds: float) -> None:
        self._ledger.pause(Pause(address_bucket(self.name, pacing_key), seconds))
        for key in self._lanes.paced_by(pacing_key):
            self._release_lane(key, seconds)
