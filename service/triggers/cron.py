"""Cron expressions: five fields, by the clock of a zone. Pure.

The fields are minute (0-59), hour (0-23), day of the month (1-31), month (1-12 or JAN-DEC) and day of the
week (0-7 or SUN-SAT, 0 and 7 both Sunday). Each is `*`, a number or name, a range `a-b`, either of the first
and last with a step `/n`, or a list of these with commas.

As in Vixie's cron (crontab(5)), when neither of the two day fields begins with `*`, a day matches that fits
either of them; otherwise it has to fit both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SPAN_YEARS = 40
"""Every expression that comes at all comes within this: the 29th of February on each day of the week too."""
_item = re.compile(r"(?:(\*)|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2}))?").fullmatch


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    names_from: int = 0

    def number(self, text: str) -> int:
        if text in self.names:
            return self.names.index(text) + self.names_from
        if not text.isdigit() or not self.first <= int(text) <= self.last:
            accepted = f"{self.first} to {self.last}" + (
                f" or {self.names[0]}…{self.names[-1]}" if self.names else ""
            )
            raise ValueError(f"the {self.name} cannot be {text!r}; accepted: {accepted}")
        return int(text)

    def values(self, text: str) -> frozenset[int]:
        return frozenset(value for item in text.split(",") for value in self._range(item))

    def _range(self, text: str) -> range:
        found = _item(text)
        if found is None:
            raise ValueError(
                f"the {self.name} cannot be {text!r}; accepted: *, a value, a range a-b, a step */n or a-b/n"
            )
        star, first, last, step = found.groups()
        if step in {"0", "00"}:
            raise ValueError(f"the {self.name} has a step of 0; accepted: 1 and more")
        if star:
            return range(self.first, self.last + 1, int(step or 1))
        if step and not last:
            raise ValueError(
                f"the {self.name} has a step without a range; accepted: */{step}, {first}-…/{step}"
            )
        low = self.number(first)
        high = self.number(last) if last else low
        if self.names is DAYS and last == "SUN":
            high = 7
        if high < low:
            raise ValueError(f"the {self.name} has a range that ends before it begins: {text!r}")
        return range(low, high + 1, int(step or 1))


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, MONTHS, 1),
    _Field("day of the week", 0, 7, DAYS, 0),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, expression: str) -> "Cron":
        """Raises ValueError, whose text names the field and what it takes."""
        texts = expression.upper().split()
        if len(texts) != len(_FIELDS):
            raise ValueError(
                f"has {len(texts)} fields; accepted: minute, hour, day of the month, month, day of the week"
            )
        minutes, hours, days, months, weekdays = (
            field.values(text) for field, text in zip(_FIELDS, texts, strict=True)
        )
        cron = cls(
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=days,
            months=months,
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=not texts[2].startswith("*") and not texts[4].startswith("*"),
        )
        if next(cron.clocks(datetime(2000, 1, 1)), None) is None:  # noqa: DTZ001 - a clock on a wall
            raise ValueError("never comes: there is no such day")
        return cron

    def clocks(self, start: datetime) -> Iterator[datetime]:
        """What a wall clock shows at each of its times, from `start` on; naive, without end but for 40 years."""
        day, end = start.date(), date(min(start.year + _SPAN_YEARS, 9999), 1, 1)
        while day < end:
            if day.month not in self.months:
                day = _next_month(day)
                continue
            if self._is_day(day):
                for clock in self._times():
                    wall = datetime.combine(day, clock)
                    if wall >= start:
                        yield wall
            day += timedelta(days=1)

    def _times(self) -> Iterator[time]:
        return (time(hour, minute) for hour in self.hours for minute in self.minutes)

    def _is_day(self, day: date) -> bool:
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_month or by_week) if self.either_day else (by_month and by_week)


def next_after(cron: Cron, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The first of its moments after `moment`, in UTC; None: never again.

    A local time that does not exist (the clock is set forward over it) comes at the next moment that does; one
    that exists twice (the clock is set back over it) comes the first time only.
    """
    start = moment.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
    for wall in cron.clocks(start):
        found = moment_of(wall, zone)
        if found > moment:
            return found
    return None


def moment_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clock first shows that, or, where it is set forward over it, when that happens. In UTC."""
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # Read with the offset before and after the change, such a time is on either side of it.
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), found
    offset = before.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
