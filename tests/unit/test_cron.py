"""Cron expressions against a reference that knows nothing but the calendar: it looks at every minute there is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.triggers.cron import Cron, next_after

MINUTE = timedelta(minutes=1)
NAMES = {
    3: dict(
        zip(
            ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
            range(1, 13),
            strict=True,
        )
    ),
    4: dict(zip(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], range(7), strict=True)),
}
HIGHEST = (59, 23, 31, 12, 7)
LOWEST = (0, 0, 1, 1, 0)


def _fits(text: str, field: int, value: int) -> bool:
    """One field of the expression, read anew each time."""
    for item in text.split(","):
        body, _, step = item.partition("/")
        if body == "*":
            low, high = LOWEST[field], HIGHEST[field]
        else:
            ends = [int(NAMES.get(field, {}).get(end, end)) for end in body.split("-")]
            low, high = ends[0], ends[-1]
        if field == 4 and body.endswith("-SUN"):
            high = 7
        candidates = {value, 7} if field == 4 and value == 0 else {value}
        if any(low <= one <= high and (one - low) % int(step or 1) == 0 for one in candidates):
            return True
    return False


def shows(expression: str, wall: datetime) -> bool:
    """Whether a wall clock that shows this is one of the expression's."""
    texts = expression.upper().split()
    minute, hour, day, month, weekday = (
        _fits(text, field, value)
        for field, (text, value) in enumerate(
            zip(texts, (wall.minute, wall.hour, wall.day, wall.month, wall.isoweekday() % 7), strict=True)
        )
    )
    unbound = texts[2][0] == "*" or texts[4][0] == "*"
    return minute and hour and month and ((day and weekday) if unbound else (day or weekday))


def reference(expression: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Every moment in (start, end]: walk through the minutes of UTC and watch what the clock does."""
    found: list[datetime] = []
    moment = start - timedelta(days=2)
    previous = moment.astimezone(zone).replace(tzinfo=None)
    furthest = previous
    while moment < end:
        moment += MINUTE
        wall = moment.astimezone(zone).replace(tzinfo=None)
        passed = _between(previous, wall)
        fresh = [clock for clock in passed if clock > furthest]
        if any(shows(expression, clock) for clock in fresh) and moment > start:
            found.append(moment)
        previous, furthest = wall, max(furthest, wall)
    return found


def _between(previous: datetime, wall: datetime) -> Iterator[datetime]:
    """What the clock went over: one minute, or at a change forward all that it left out."""
    clock = previous + MINUTE
    while clock <= wall:
        yield clock
        clock += MINUTE
    if wall <= previous:
        yield wall


def ours(expression: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    cron = Cron.parse(expression)
    found: list[datetime] = []
    moment = next_after(cron, zone, start)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = next_after(cron, zone, moment)
    return found


ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",
]
# The weeks around changes of the clock in 2027, and one without.
WEEKS = ["2027-03-10", "2027-03-25", "2027-04-01", "2027-09-30", "2027-10-28", "2027-11-04", "2027-07-01"]


def _field(field: int) -> st.SearchStrategy[str]:
    low, high = LOWEST[field], HIGHEST[field]
    value = st.integers(low, high)
    ranges = st.tuples(value, value).map(lambda ends: "-".join(map(str, sorted(ends))))
    steps = st.tuples(st.one_of(ranges, st.just("*")), st.integers(1, high)).map(lambda p: f"{p[0]}/{p[1]}")
    named = st.sampled_from(list(NAMES[field])) if field in NAMES else value.map(str)
    items = st.one_of(value.map(str), ranges, steps, named)
    return st.one_of(st.just("*"), st.lists(items, min_size=1, max_size=3).map(",".join))


@settings(max_examples=60, deadline=None)
@given(
    expression=st.tuples(*(_field(field) for field in range(5))).map(" ".join),
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(WEEKS),
)
@example("30 2 * * *", "Europe/Berlin", "2027-03-25")
@example("*/15 * * * *", "Europe/Berlin", "2027-10-28")
@example("15 1-3 * * SUN", "America/New_York", "2027-03-10")
@example("0 0 * * *", "America/Havana", "2027-03-10")
@example("*/10 * * * *", "Australia/Lord_Howe", "2027-04-01")
@example("0 9 13 * FRI", "UTC", "2027-07-01")
def test_moments_are_those_of_the_reference(expression: str, zone: str, day: str) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    end = start + timedelta(days=5)
    expected = reference(expression, ZoneInfo(zone), start, end)
    try:
        found = ours(expression, ZoneInfo(zone), start, end)
    except ValueError:
        found = []  # there is no such day, as the reference says
    assert found == expected


def _moments(expression: str, zone: str, start: str, count: int) -> list[str]:
    cron, moment = Cron.parse(expression), datetime.fromisoformat(start)
    found = []
    for _ in range(count):
        following = next_after(cron, ZoneInfo(zone), moment)
        assert following is not None
        moment = following
        found.append(moment.astimezone(ZoneInfo(zone)).isoformat())
    return found


def test_a_time_that_does_not_exist_comes_at_the_next_that_does() -> None:
    assert _moments("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00+01:00", 2) == [
        "2027-03-28T03:00:00+02:00",
        "2027-03-29T02:30:00+02:00",
    ]


def test_a_time_that_exists_twice_comes_the_first_time() -> None:
    assert _moments("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00+02:00", 2) == [
        "2027-10-31T02:30:00+02:00",
        "2027-11-01T02:30:00+01:00",
    ]


def test_a_day_that_a_zone_left_out_comes_at_its_end() -> None:
    assert _moments("0 9 30 DEC *", "Pacific/Apia", "2011-12-29T12:00:00-10:00", 1) == [
        "2011-12-31T00:00:00+14:00"
    ]


def test_the_leap_day_on_a_certain_weekday_comes_after_decades() -> None:
    assert _moments("0 0 29 2 *", "UTC", "2096-03-01T00:00:00+00:00", 1) == ["2104-02-29T00:00:00+00:00"]
    assert _moments("0 0 */28 2 MON", "UTC", "2025-01-01T00:00:00+00:00", 1)


def test_sunday_has_three_names() -> None:
    sundays = [Cron.parse(f"0 0 * * {day}") for day in ("0", "7", "SUN", "sun")]
    assert len(set(sundays)) == 1
    assert Cron.parse("0 0 * * FRI-SUN").weekdays == {5, 6, 0}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("* * * *", "has 4 fields"),
        ("60 * * * *", "the minute cannot be '60'; accepted: 0 to 59"),
        ("* * 0 * *", "the day of the month cannot be '0'"),
        ("* * * FOO *", "the month cannot be 'FOO'; accepted: 1 to 12 or JAN…DEC"),
        ("* * L * *", "the day of the month cannot be 'L'"),
        ("*/0 * * * *", "a step of 0"),
        ("5/15 * * * *", "a step without a range"),
        ("50-10 * * * *", "ends before it begins"),
        ("0 0 31 2 *", "never comes"),
        ("0 0 30 FEB *", "never comes"),
        (",1 * * * *", "the minute cannot be ''"),
        ("@daily", "has 1 fields"),
        ("* * * * ²", "the day of the week cannot be '²'"),
    ],
)
def test_what_is_wrong_is_named(expression: str, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("*", r"\*").replace("(", r"\(")):
        Cron.parse(expression)
