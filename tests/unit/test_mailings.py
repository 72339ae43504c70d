"""The pure parts of mailings: slots, forecasts, limits, tallies."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audience.people import QuietHours
from service.delivery.slots import PACING_MARGIN
from service.mailings import judging
from service.mailings.drafts import Canary, Limits
from service.mailings.forecast import Left, allowed_rate, done_at, expected_rate
from service.mailings.slots import Slots
from service.mailings.tally import Pace, Tally
from service.mailings.windows import hours_of

NOON = datetime(2030, 6, 3, 12, tzinfo=UTC)
DAYTIME = hours_of(QuietHours.parse("20:00-10:00"), None)
ALWAYS = hours_of(None, None)


@given(
    rate=st.floats(0.1, 500),
    looks=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 300)), min_size=1, max_size=30),
)
def test_slots_are_never_closer_than_the_rate(rate: float, looks: list[tuple[float, int]]) -> None:
    """Whatever time passes between looks, and however many are taken."""
    now, next_at, taken = NOON, None, []
    for seconds, wanted in looks:
        now += timedelta(seconds=seconds)
        slots = Slots(rate, next_at, now, 2.0)
        before = slots.left
        for _ in range(min(wanted, before)):
            taken.append(slots.take())
            assert now <= taken[-1] <= now + timedelta(seconds=2)
        assert slots.left == before - min(wanted, before)
        next_at = slots.next_at
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(taken)]
    assert all(gap >= 1 / rate - 2e-6 for gap in gaps)


def test_without_a_rate_every_moment_is_fine() -> None:
    slots = Slots(None, None, NOON, 2.0)
    assert {slots.take() for _ in range(5)} == {NOON}


@given(people=st.integers(1, 10**6), rate=st.floats(1, 10**4))
def test_without_a_window_it_takes_what_the_rate_says(people: int, rate: float) -> None:
    done = done_at([Left("*", people)], ALWAYS, rate, NOON)
    assert done is not None
    assert (done - NOON).total_seconds() == pytest.approx(people / rate, abs=1 / rate + 0.01)


def test_people_of_a_zone_are_added_up() -> None:
    done = done_at([Left("UTC", 10), Left("UTC", 20)], ALWAYS, 1.0, NOON)
    assert done is not None
    assert abs(done - (NOON + timedelta(seconds=30))) < timedelta(seconds=1)


def test_a_window_is_waited_for() -> None:
    """Eight hours are left of today's ten: what remains goes tomorrow."""
    done = done_at([Left("UTC", 9 * 3600)], DAYTIME, 1.0, NOON)
    assert done is not None
    assert abs(done - (NOON + timedelta(hours=23))) < timedelta(minutes=1)


def test_zones_open_one_after_the_other() -> None:
    """Tokyo closed an hour ago and opens at 1:00 UTC, the day after."""
    left = [Left("UTC", 3600), Left("Asia/Tokyo", 3600)]
    done = done_at(left, DAYTIME, 1.0, NOON)
    assert done == datetime(2030, 6, 4, 2, tzinfo=UTC)


def test_a_window_that_never_opens_is_never_done() -> None:
    closed = hours_of(QuietHours.parse("20:00-10:00"), QuietHours.parse("09:00-21:00"))
    assert done_at([Left("UTC", 1)], closed, 1.0, NOON) is None
    assert (closed.never, DAYTIME.never, ALWAYS.never) == (True, False, False)


def test_the_slowest_limit_counts() -> None:
    rates = {"TG": 30.0 * PACING_MARGIN, "WEBHOOK": None, "VK": 20.0 * PACING_MARGIN}
    assert allowed_rate(rates, Counter(TG=100), None) == pytest.approx(30)
    assert allowed_rate(rates, Counter(TG=50, WEBHOOK=50), None) == pytest.approx(60)
    assert allowed_rate(rates, Counter(TG=50, VK=50), None) == pytest.approx(40)
    assert allowed_rate(rates, Counter(TG=100), 5.0) == 5.0
    assert allowed_rate(rates, Counter(WEBHOOK=1), None) is None
    assert expected_rate(30.0, 29.5) == 30.0
    assert expected_rate(30.0, 15.0) == 15.0
    assert expected_rate(None, 7.0) == 7.0


def test_limits_need_enough_to_judge_and_forget_what_was_seen() -> None:
    limits, tally, pace = Limits(failed=0.1, blocked=0.5), Tally(), Pace()
    tally.add("failed", "refused", None, 49)
    assert judging.watch(tally, pace, limits) is None
    tally.add("failed", "gone", None, 1)
    assert judging.watch(tally, pace, limits) == "98.0% of 50 failed; the limit is 10.0%"
    judging.rebase(tally, pace)
    tally.add("sent", None, None, 2_000)
    assert judging.watch(tally, pace, limits) is None
    tally.add("failed", "refused", None, 60)
    assert judging.watch(tally, pace, limits) == "100.0% of 60 failed; the limit is 10.0%"


def test_a_tally_and_a_pace_come_back_as_they_were() -> None:
    tally, pace = Tally(), Pace()
    for status, kind, code in (
        ("sent", None, None), ("failed", "gone", "403"), ("suppressed", "suppressed", "muted"), ("unknown", "x", None)
    ):  # fmt: skip
        tally.add(status, kind, code, 2)
    pace.mark(1.0, 5)
    pace.mark(40.0, 25)
    pace.made(["TG", "TG"])
    assert (Tally.load(tally.dump()), Pace.load(pace.dump())) == (tally, pace)
    assert (Tally.load("{}"), Pace.load("{}")) == (Tally(), Pace())
    assert (tally.attempted, tally.ended, tally.blocked) == (6, 8, 2)
    assert pace.rate(41.0, 45) == 1.0


@pytest.mark.parametrize(
    ("canary", "size"),
    [
        ({"recipients": 10}, 10),
        ({"share": 0.01}, 5),
        ({"share": 0.00001}, 1),
        ({"recipients": 3, "share": 0.5}, 3),
    ],
)
def test_the_size_of_a_canary(canary: dict[str, float], size: int) -> None:
    assert Canary.model_validate(canary).size(500) == size
