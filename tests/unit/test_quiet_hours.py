"""Quiet hours against a clock that is read minute by minute, and what people muted."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.audience.people import Person, QuietHours
from service.audience.preferences import quiet_until, suppression

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Moscow",
    "America/New_York",
    "America/St_Johns",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # its clock is set by half an hour
    "Australia/Adelaide",
    "Africa/Casablanca",
    "Pacific/Chatham",
    "Pacific/Apia",  # has no 30 December 2011
    "America/Sao_Paulo",  # its clock was set at midnight
    "Africa/Cairo",
]
clocks = st.times(min_value=time(0), max_value=time(23, 59)).map(lambda t: t.replace(second=0, microsecond=0))
hours = st.builds(QuietHours, clocks, clocks)


def _changes(zone: str) -> list[datetime]:
    """The moments between 2004 and 2030 at which the zone's clock is set."""
    place, found = ZoneInfo(zone), []
    day, end = datetime(2004, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    while day < end:
        following = day + timedelta(days=1)
        if day.astimezone(place).utcoffset() != following.astimezone(place).utcoffset():
            minute = day
            while minute.astimezone(place).utcoffset() == day.astimezone(place).utcoffset():
                minute += timedelta(minutes=1)
            found.append(minute)
        day = following
    return found


CHANGES = {zone: _changes(zone) for zone in ZONES}


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone and a whole minute in it: half of them within a day of a change of its clock."""
    zone = draw(st.sampled_from(ZONES))
    near = CHANGES[zone] and draw(st.booleans())
    middle = draw(st.sampled_from(CHANGES[zone])) if near else datetime(2017, 1, 1, tzinfo=UTC)
    most = 26 * 60 if near else 12 * 365 * 24 * 60
    return zone, middle + timedelta(minutes=draw(st.integers(-most, most)))


def _oracle(quiet: QuietHours, zone: str, now: datetime) -> datetime | None:
    """Read the clock every minute until it shows none of the quiet minutes of a day."""
    minutes = {
        (quiet.start.hour * 60 + quiet.start.minute + step) % 1440
        for step in range(
            (quiet.end.hour * 60 + quiet.end.minute - quiet.start.hour * 60 - quiet.start.minute) % 1440
        )
    }
    moment, place = now, ZoneInfo(zone)
    while (wall := moment.astimezone(place)).hour * 60 + wall.minute in minutes:
        moment += timedelta(minutes=1)
    return None if moment == now else moment


NIGHT = QuietHours(time(22), time(8))


@given(hours, moments())
@example(NIGHT, ("Europe/Berlin", datetime(2026, 3, 28, 23, 30, tzinfo=UTC)))
@example(QuietHours(time(22), time(2, 30)), ("Europe/Berlin", datetime(2026, 3, 29, 0, 30, tzinfo=UTC)))
@example(QuietHours(time(22), time(2, 30)), ("Europe/Berlin", datetime(2026, 10, 25, 0, 10, tzinfo=UTC)))
@example(QuietHours(time(22), time(3)), ("Europe/Berlin", datetime(2026, 10, 24, 23, 10, tzinfo=UTC)))
def test_quiet_hours_end_when_the_clock_on_the_wall_says_so(
    quiet: QuietHours, place: tuple[str, datetime]
) -> None:
    zone, now = place
    assert quiet_until(quiet, zone, now) == _oracle(quiet, zone, now)


@given(hours, moments(), st.integers(0, 59_999_999))
def test_moments_between_minutes_end_as_their_minute_does(
    quiet: QuietHours, place: tuple[str, datetime], microseconds: int
) -> None:
    zone, now = place
    between = now + timedelta(microseconds=microseconds)
    assert quiet_until(quiet, zone, between) == quiet_until(quiet, zone, now)


@pytest.mark.parametrize(
    ("zone", "now", "ends"),
    [
        # Nine hours of an ordinary night; one less and one more where the clock is set.
        ("Europe/Berlin", "2026-01-14T22:00:00+00:00", "2026-01-15T07:00:00+00:00"),
        ("Europe/Berlin", "2026-03-28T22:00:00+00:00", "2026-03-29T06:00:00+00:00"),
        ("Europe/Berlin", "2026-10-24T21:00:00+00:00", "2026-10-25T07:00:00+00:00"),
        # Half-hour zones, and one whose clock is set by half an hour.
        ("Asia/Kolkata", "2026-01-14T20:00:00+00:00", "2026-01-15T02:30:00+00:00"),
        ("America/St_Johns", "2026-11-01T03:00:00+00:00", "2026-11-01T11:30:00+00:00"),
        ("Australia/Lord_Howe", "2026-04-04T13:00:00+00:00", "2026-04-04T21:30:00+00:00"),
        # By day, and a zone that this machine does not know, which is UTC.
        ("Europe/Berlin", "2026-01-14T12:00:00+00:00", None),
        ("Nowhere/Land", "2026-01-14T23:00:00+00:00", "2026-01-15T08:00:00+00:00"),
    ],
)
def test_a_night_from_ten_to_eight(zone: str, now: str, ends: str | None) -> None:
    found = quiet_until(NIGHT, zone, datetime.fromisoformat(now))
    assert found == (ends and datetime.fromisoformat(ends))
    assert found is None or found.tzinfo is UTC


def test_the_same_time_twice_is_never_quiet() -> None:
    never = QuietHours.parse("00:00-00:00")
    assert quiet_until(never, "UTC", datetime(2026, 1, 1, tzinfo=UTC)) is None


@given(hours)
def test_quiet_hours_are_read_as_they_are_written(quiet: QuietHours) -> None:
    assert QuietHours.parse(str(quiet)) == quiet


@pytest.mark.parametrize("text", ["", "22:00", "22:00-", "25:00-08:00", "22:00-08:00-09:00"])
def test_other_text_is_no_quiet_hours(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        QuietHours.parse(text)


def _person(**changes: Any) -> Person:
    facts = {"locale": "en", "zone": "UTC", "attributes": {}, "contacts": (), "muted": False, "quiet": None}
    return Person(**{"id": 1, "external_id": "42", "mutes": frozenset(), **facts, **changes})


@pytest.mark.parametrize(
    ("changes", "ordinary", "critical"),
    [
        ({}, None, None),
        ({"muted": True}, "muted", None),
        ({"mutes": frozenset({("news", None)})}, "category_muted", "category_muted"),
        ({"mutes": frozenset({(None, "TG")})}, "sender_muted", "sender_muted"),
        ({"mutes": frozenset({("news", "TG")})}, "category_sender_muted", "category_sender_muted"),
        ({"mutes": frozenset({("news", "VK"), ("alerts", None), (None, "VK")})}, None, None),
        ({"muted": True, "mutes": frozenset({("news", None)})}, "muted", "category_muted"),
    ],
)
def test_what_is_muted_is_suppressed_with_its_reason(
    changes: dict[str, Any], ordinary: str | None, critical: str | None
) -> None:
    person = _person(**changes)
    for is_critical, reason in ((False, ordinary), (True, critical)):
        assert suppression(person, sender="TG", category="news", critical=is_critical) == reason


def test_a_message_without_a_category_meets_mutes_of_everything_and_of_senders_only() -> None:
    person = _person(mutes=frozenset({("news", None), ("news", "TG"), (None, "VK")}))
    assert suppression(person, sender="TG", category=None, critical=False) is None
    assert suppression(person, sender="VK", category=None, critical=False) == "sender_muted"
