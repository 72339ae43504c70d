"""What an outcome means: a pure function of the job, the outcome, the policy and a random source."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from service.delivery.jobs import Job, Verdict
from service.senders.base import Gone, Halted, NotSent, Outcome, Refused, Retry, Sent, Throttled, Unknown

JITTER = 0.2
THROTTLE_DEFAULT_SECONDS = 2.0
THROTTLE_LONGEST_SECONDS = 60.0
THROTTLE_GROWTH = 0.25
"""Without a hint the pause is this part of the time for which the delivery has been throttled already."""
REASON_MAX_CHARS = 1_000


def judge(  # noqa: PLR0911 - a verdict for each kind of outcome
    job: Job,
    outcome: Outcome,
    *,
    delays: Sequence[float],
    throttled_max_hours: float,
    deduplicates: bool,
    random: Random,
    now: datetime,
) -> Verdict:
    """The verdict on one attempt. Throttling and halting use up no attempt; the rest use one."""
    used = job.attempt + 1
    match outcome:
        case Sent(parts=parts, address=address):
            return Verdict("sent", "sent", used, parts, address=address)
        case Throttled() if job.throttled_seconds(now) >= throttled_max_hours * 3600:
            reason = (
                f"throttled for {throttled_max_hours:g} h (DELIVERY_THROTTLED_MAX_HOURS): {outcome.reason}"
            )
            return _final("failed", "throttled", replace(outcome, reason=reason), job.attempt)
        case Throttled():
            return _later(outcome, "throttled", job.attempt, throttle_seconds(job, outcome, now))
        case Halted():
            return _later(outcome, None, job.attempt, 0.0)
        case Refused():
            return _final("failed", "refused", outcome, used)
        case Gone():
            return _final("failed", "gone", outcome, used)
        case Unknown() if job.hold_unknown and not deduplicates:
            return _final("unknown", "unknown", outcome, used)
        case Unknown() | Retry():
            kind = "retry" if isinstance(outcome, Retry) else "unknown"
            if used > len(delays):
                return _final("failed", kind, outcome, used)
            hint = outcome.retry_after if isinstance(outcome, Retry) else None
            delay = hint if hint is not None else jittered(delays[used - 1], random)
            return _later(outcome, "retrying", used, delay, kind)


def throttle_seconds(job: Job, outcome: Throttled, now: datetime) -> float:
    """How long the bucket pauses: what the provider says, or longer and longer."""
    if outcome.retry_after is not None:
        return max(0.0, outcome.retry_after)
    grown = job.throttled_seconds(now) * THROTTLE_GROWTH
    return min(max(THROTTLE_DEFAULT_SECONDS, grown), THROTTLE_LONGEST_SECONDS)


def jittered(seconds: float, random: Random) -> float:
    """The delay, up to a fifth shorter or longer, so that what failed together does not return together."""
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)


def _later(
    outcome: NotSent, event: str | None, attempt: int, delay: float, kind: str | None = None
) -> Verdict:
    return Verdict(
        "queued", event, attempt, outcome.parts, delay,
        kind=kind or event, code=outcome.code, reason=clean(outcome.reason),
    )  # fmt: skip


def _final(status: str, kind: str, outcome: NotSent, attempt: int) -> Verdict:
    return Verdict(
        status, status, attempt, outcome.parts, kind=kind, code=outcome.code, reason=clean(outcome.reason)
    )


def clean(reason: str) -> str:
    """A provider's text as the database can keep it: bounded, without NUL or lone surrogates."""
    text = reason.replace("\0", "")[:REASON_MAX_CHARS]
    return text.encode("utf-8", "replace").decode()
