"""One attempt: whether it is made, the call, and what came of it. What it means for others is the dispatcher's."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

from service.account_settings import in_words_of
from service.audience.people import QuietHours
from service.audience.preferences import silent_until
from service.delivery.jobs import Job, Pause, Verdict, address_bucket
from service.delivery.ledger import Ledger
from service.delivery.metrics import Metrics
from service.delivery.planning import Suppressed
from service.delivery.retry import judge
from service.delivery.wording import Wording
from service.senders.base import BaseSender, Message, NotSent, Outcome, Retry, Sent, Unknown
from service.settings import DeliverySettings

log = logging.getLogger(__name__)

QUIET = "quiet"
"""The kind of a verdict that moves a delivery's own time."""
LATE_SECONDS = 0.02
LOOK_SECONDS = 0.1


@dataclass(slots=True)
class Attempt:
    """What became of a job. Without a verdict its row is no longer ours; without an outcome no call was made.

    `began` is the call's begin on the event loop's clock, seconds.
    """

    verdict: Verdict | None
    outcome: Outcome | None = None
    began: float = 0.0


class TimeLimit:
    """Cancels calls that take longer than `seconds`. One look at all of them costs less than a timer for each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[asyncio.Task[Any], float] = {}
        self._over: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.TimerHandle | None = None

    def begin(self) -> "asyncio.Task[Any]":
        """The running task makes a call from now on; `end` has to follow."""
        loop = asyncio.get_running_loop()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._until[task] = loop.time() + self._seconds
        if self._looking is None:
            self._looking = loop.call_later(LOOK_SECONDS, self._look)
        return task

    def end(self, task: "asyncio.Task[Any]") -> None:
        del self._until[task]
        if task in self._over:
            self._over.remove(task)
            task.uncancel()

    def ended(self, task: "asyncio.Task[Any]") -> bool:
        """Whether the cancellation that arrived is this limit's and nobody else's."""
        return task in self._over and task.cancelling() == 1

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for task, until in self._until.items():
            if until <= now and task not in self._over:
                self._over.add(task)
                task.cancel()
        self._looking = loop.call_later(LOOK_SECONDS, self._look) if self._until else None


class Attempts:
    """Makes them for one sender, any number at once. `may_send`: whether that may leave at this moment."""

    def __init__(
        self,
        sender: BaseSender,
        *,
        ledger: Ledger,
        settings: DeliverySettings,
        metrics: Metrics,
        wording: Wording,
        random: Random,
        may_send: Callable[[Job], bool],
    ) -> None:
        self._sender = sender
        self._ledger = ledger
        self._limit_seconds = settings.send_timeout_seconds
        self._throttled_max_hours = settings.throttled_max_hours
        self._calls = TimeLimit(settings.send_timeout_seconds)
        self._metrics = metrics
        self._wording = wording
        self._random = random
        self._may_send = may_send
        self._delays = sender.retry_delays or settings.retry_delays_seconds
        self._marks = not sender.capabilities.deduplicates

    async def make(self, job: Job) -> Attempt:
        """Make one, or say why not now. A cancellation ends it with a verdict too: the service stops."""
        try:
            bare = job.reader is None and job.content.category is None
            message = job.message() if bare else await self._compose(job)
            if isinstance(message, Verdict):
                return Attempt(message)
            if job.hold_unknown and self._marks and not await self._ledger.mark_started(job):
                return Attempt(None)
        except asyncio.CancelledError:
            return Attempt(untried(job))
        loop = asyncio.get_running_loop()
        if job.expires_at is not None and job.expires_at <= datetime.now(UTC):
            return Attempt(_expired(job))
        if not self._may_send(job) or loop.time() + self._limit_seconds > job.lease_ends:
            return Attempt(untried(job))
        if job.spacing and loop.time() > job.slot + LATE_SECONDS:
            # It leaves later than its address's bucket was told.
            self._ledger.pause(Pause(address_bucket(self._sender.name, job.pacing_key), job.spacing))
        began = loop.time()
        outcome = await self._call(job, message)
        self._metrics.called(self._sender.name, outcome, loop.time() - began)
        return Attempt(self._judge(job, outcome), outcome, began)

    async def _compose(self, job: Job) -> Message | Verdict:
        """The message in its reader's words, or why it is not sent now."""
        if quiet := _quiet_seconds(job, datetime.now(UTC)):
            return untried(job, quiet, kind=QUIET)
        try:
            message = await self._wording.message(job, self._sender)
        except Exception as error:
            log.exception("delivery %d could not be put into words", job.id)
            message = Retry(reason=f"it could not be put into words: {error!r}", code="error")
        if isinstance(message, Suppressed):
            return _suppressed(job, message)
        return self._judge(job, cast("Outcome", message)) if isinstance(message, NotSent) else message

    async def _call(self, job: Job, message: Message) -> Outcome:
        task = self._calls.begin()
        try:
            return self._in_own_words(await self._sender.send(message))
        except asyncio.CancelledError:
            if self._calls.ended(task):
                reason, code = f"no answer within {self._limit_seconds:g} s", "timeout"
            else:
                reason, code = "the service stopped before the provider answered", None
        except Exception as error:
            log.exception("%s failed on delivery %d", self._sender.name, job.id)
            reason, code = f"the sender failed: {error!r}", "error"
        finally:
            self._calls.end(task)
        return Unknown(reason=reason, code=code, parts=job.parts_done)

    def _in_own_words(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Sent):
            return outcome
        return replace(outcome, reason=in_words_of(self._sender.name, outcome.reason))

    def _judge(self, job: Job, outcome: Outcome) -> Verdict:
        return judge(
            job,
            outcome,
            delays=self._delays,
            throttled_max_hours=self._throttled_max_hours,
            deduplicates=self._sender.capabilities.deduplicates,
            random=self._random,
            now=datetime.now(UTC),
        )


def untried(job: Job, delay: float = 0.0, *, kind: str | None = None) -> Verdict:
    """Back into the queue as it was, to be looked at again after `delay` seconds."""
    return Verdict("queued", None, job.attempt, job.parts_done, delay, kind=kind)


def _quiet_seconds(job: Job, now: datetime) -> float:
    """How long its reader wants to be left alone. It was planned around that; a retry may have come later."""
    if job.reader is None or job.reader.quiet is None:
        return 0.0
    hours = [QuietHours.parse(each) for each in job.reader.quiet.split(",")]
    until = silent_until(hours, job.reader.zone, now)
    return 0.0 if until is None else (until - now).total_seconds()


def _suppressed(job: Job, why: Suppressed) -> Verdict:
    return Verdict(
        "suppressed", "suppressed", job.attempt, job.parts_done,
        kind="suppressed", code=why.code, reason=why.reason,
    )  # fmt: skip


def _expired(job: Job) -> Verdict:
    return Verdict(
        "expired", "expired", job.attempt, job.parts_done, kind="expired", reason="expires_at has passed"
    )
