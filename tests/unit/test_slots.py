"""However a process stalls, no second holds more calls than the account's limit."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.slots import Slots

RATES = st.sampled_from([0.2, 1.0, 2.5, 20.0, 30.0, 300.0])
STALLS = st.lists(
    st.one_of(st.just(0.0), st.floats(0, 0.02), st.floats(0, 3)), min_size=1, max_size=40
)  # seconds; between them the process is on time


def used_at(rate: float, stalls: list[float], apart: int) -> list[float]:
    """When each of many slots is used by a process that stalls before every so many of them."""
    slots, now, times = Slots(rate), 0.0, []
    for number in range(len(stalls) * apart + 3 * max(1, int(rate))):
        slots.add(number * slots.interval)
        if number % apart == 0 and number // apart < len(stalls):
            now += stalls[number // apart]
        now = max(now, slots.opens())
        slots.use(now)
        times.append(now)
    return times


@given(rate=RATES, stalls=STALLS, apart=st.integers(1, 50))
def test_no_window_holds_more_than_the_limit(rate: float, stalls: list[float], apart: int) -> None:
    times = used_at(rate, stalls, apart)
    count = max(1, int(rate))
    assert all(later - first > count / rate for first, later in zip(times, times[count:], strict=False))


@pytest.mark.parametrize("rate", [1.0, 30.0])
def test_on_time_each_is_used_at_its_slot(rate: float) -> None:
    times = used_at(rate, [0.0], 1)
    assert times == [number * Slots(rate).interval for number in range(len(times))]


def test_a_stall_is_caught_up() -> None:
    """What is late leaves at once, and soon all are on time again: the rate is not lower than without it."""
    slots = Slots(30)
    times = used_at(30, [0.0, 0.2] + [0.0] * 120, 30)
    late = [at - number * slots.interval for number, at in enumerate(times)]
    assert max(late) == pytest.approx(0.2 - slots.interval)
    assert late[-1] < 0.001
    assert any(later == first for first, later in pairwise(times))
