"""What outcomes mean, and when a provider is left alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.db.ids import uuid7, uuid7_floor
from service.delivery.breaker import LONGEST_PAUSE_SECONDS, TRIP_AFTER, Breaker
from service.delivery.jobs import Content, Job, Verdict
from service.delivery.retry import (
    REASON_MAX_CHARS,
    THROTTLE_DEFAULT_SECONDS,
    THROTTLE_LONGEST_SECONDS,
    judge,
)
from service.senders.base import Gone, Halted, Outcome, Refused, Retry, Scope, Sent, Throttled, Unknown

DELAYS = (1.0, 5.0, 30.0)
THROTTLED_HOURS = 2.0
NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAY_ONE = datetime(1970, 1, 2)  # noqa: DTZ001 - hypothesis adds the zone
DAY_LAST = datetime(2500, 1, 1)  # noqa: DTZ001
CONTENT = Content("", "body", "plain", (), (), None, {})


def job(attempt: int = 0, *, hold: bool = False) -> Job:
    return Job(
        id=1, notification_id=UUID(int=1), request_id=None, sender="TG", address="1", lane=2, content=CONTENT,
        created_at=datetime.now(UTC), expires_at=None, hold_unknown=hold, spacing=0.0,
        pacing_key="1", attempt=attempt,
        parts_done=(), lease_ends=0.0,
    )  # fmt: skip


def judged(job: Job, outcome: Outcome, *, deduplicates: bool = False, seed: int = 7) -> Verdict:
    return judge(
        job,
        outcome,
        delays=DELAYS,
        throttled_max_hours=THROTTLED_HOURS,
        deduplicates=deduplicates,
        random=Random(seed),
        now=NOW,
    )


def verdict(outcome: Outcome, attempt: int = 0, *, hold: bool = False, deduplicates: bool = False) -> object:
    found = judged(job(attempt, hold=hold), outcome, deduplicates=deduplicates)
    return found.status, found.event, found.attempt, found.kind


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Sent(parts=("1",)), ("sent", "sent", 1, None)),
        (Refused(reason="no"), ("failed", "failed", 1, "refused")),
        (Gone(reason="blocked"), ("failed", "failed", 1, "gone")),
        (Retry(reason="502"), ("queued", "retrying", 1, "retry")),
        (Unknown(reason="reset"), ("queued", "retrying", 1, "unknown")),
        (Throttled(reason="429"), ("queued", "throttled", 0, "throttled")),
        (Halted(reason="401"), ("queued", None, 0, None)),
    ],
)
def test_the_first_attempt(outcome: Outcome, expected: tuple[object, ...]) -> None:
    assert verdict(outcome) == expected


def test_the_last_attempt_fails_for_good() -> None:
    assert verdict(Retry(reason="502"), attempt=3) == ("failed", "failed", 4, "retry")
    assert verdict(Unknown(reason="reset"), attempt=3) == ("failed", "failed", 4, "unknown")
    assert verdict(Throttled(reason="429"), attempt=3) == ("queued", "throttled", 3, "throttled")


def test_unknown_is_held_only_when_asked_and_only_without_deduplication() -> None:
    assert verdict(Unknown(reason="reset"), hold=True) == ("unknown", "unknown", 1, "unknown")
    assert verdict(Unknown(reason="reset"), hold=True, deduplicates=True)[0] == "queued"  # type: ignore[index]
    assert verdict(Retry(reason="refused"), hold=True)[0] == "queued"  # type: ignore[index]


@given(st.integers(0, 2), st.integers())
def test_delays_follow_the_schedule_within_a_fifth(attempt: int, seed: int) -> None:
    found = judged(job(attempt), Retry(reason=""), seed=seed)
    assert DELAYS[attempt] * 0.8 <= found.delay <= DELAYS[attempt] * 1.2


@given(st.floats(0, 1e6))
def test_a_provider_s_own_hint_wins(seconds: float) -> None:
    for outcome in (Retry(reason="", retry_after=seconds), Throttled(reason="", retry_after=seconds)):
        found = judged(job(), outcome)
        assert found.delay == seconds


def throttled(hours: float, attempt: int = 0) -> Job:
    return replace(job(attempt), throttled_at=NOW - timedelta(hours=hours))


def test_what_is_throttled_for_too_long_has_failed_and_says_so() -> None:
    found = judged(throttled(THROTTLED_HOURS, 2), Throttled(reason="HTTP 502", retry_after=1.0))
    assert (found.status, found.event, found.attempt, found.kind) == ("failed", "failed", 2, "throttled")
    assert found.reason == "throttled for 2 h (DELIVERY_THROTTLED_MAX_HOURS): HTTP 502"
    assert judged(throttled(THROTTLED_HOURS - 0.01), Throttled(reason="HTTP 502")).status == "queued"


@given(st.floats(0, THROTTLED_HOURS * 0.99))
def test_without_a_hint_the_pauses_grow(hours: float) -> None:
    found = judged(throttled(hours), Throttled(reason="HTTP 502"))
    assert THROTTLE_DEFAULT_SECONDS <= found.delay <= THROTTLE_LONGEST_SECONDS
    assert found.delay <= max(THROTTLE_DEFAULT_SECONDS, hours * 3600 / 2)


@given(st.text(st.characters(), max_size=3000))
def test_reasons_fit_the_database(text: str) -> None:
    found = judged(job(), Refused(reason=text))
    assert found.reason is not None
    assert len(found.reason) <= REASON_MAX_CHARS
    assert "\0" not in found.reason
    found.reason.encode()


@given(st.lists(st.sampled_from([Sent(), Refused(reason=""), Retry(reason=""), Unknown(reason="")])))
def test_the_breaker_opens_after_a_run_of_sick_calls_and_only_then(outcomes: list[Outcome]) -> None:
    breaker, run, now = Breaker(), 0, 0.0
    for outcome in outcomes:
        now += 1.0
        probing = breaker.probing
        pause = breaker.record(outcome, began=now, now=now)
        run = run + 1 if isinstance(outcome, Retry | Unknown) else 0
        if run == 0:
            assert not breaker.probing
        opens = run > 0 and (probing or run % TRIP_AFTER == 0)
        assert (pause is not None) == opens
        assert pause is None or 0 < pause <= LONGEST_PAUSE_SECONDS


def test_calls_under_way_when_the_circuit_opened_do_not_open_it_further() -> None:
    breaker = Breaker()
    for _ in range(TRIP_AFTER - 1):
        assert breaker.record(Retry(reason=""), began=0.0, now=5.0) is None
    assert breaker.record(Retry(reason=""), began=0.0, now=5.0) == 1.0
    assert breaker.record(Retry(reason=""), began=4.9, now=6.0) is None
    assert breaker.record(Retry(reason=""), began=6.5, now=7.0) == 2.0
    assert breaker.record(Sent(), began=9.0, now=9.0) is None
    assert not breaker.probing


def test_a_provider_is_not_sick_because_of_one_address() -> None:
    breaker = Breaker()
    for _ in range(2 * TRIP_AFTER):
        greylisted = Retry(reason="", scope=Scope.ADDRESS)
        assert breaker.record(greylisted, began=0.0, now=5.0) is None
    assert not breaker.probing


@given(st.integers(0, 2**48 * 10**6 - 1), st.integers(0, 2**48 * 10**6 - 1))
def test_ids_sort_by_time(one: int, two: int) -> None:
    first, second = sorted((one, two))
    assert uuid7(first).version == 7
    if second - first >= 1_000:
        assert uuid7(first) < uuid7(second)


@given(st.datetimes(DAY_ONE, DAY_LAST, timezones=st.just(UTC)))
def test_the_floor_of_a_moment_separates_older_from_newer(at: datetime) -> None:
    nanoseconds = int(at.timestamp() * 1000) * 1_000_000
    assert uuid7(nanoseconds - 1_000_000) < uuid7_floor(at) <= uuid7(nanoseconds)
