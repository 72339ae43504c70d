"""When a rule fires, and what of it when that was missed. Pure: moments in, moments out, all in UTC."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from service.triggers.cron import Cron, next_after
from service.triggers.rules import CronSchedule, Interval, Misfire, Once, RecipientCron, TriggerDraft

_INSTANT = timedelta(microseconds=1)
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))


@cache
def parse_cron(expression: str) -> Cron:
    """Raises ValueError."""
    return Cron.parse(expression)


@dataclass(frozen=True, slots=True)
class Clock:
    """The occurrences of a rule; `zone` is whose clock a recipient-cron goes by, `anchor` what intervals count from.

    A rule that waits for events has none.
    """

    draft: TriggerDraft
    anchor: datetime
    zone: str = ""

    def after(self, moment: datetime) -> datetime | None:
        """The first occurrence after that moment; None: there is none."""
        start, end = self.draft.start_at, self.draft.end_at
        if start is not None:
            moment = max(moment, start - _INSTANT)
        found = self._after(moment)
        return None if found is None or (end is not None and found > end) else found

    def _after(self, moment: datetime) -> datetime | None:
        match self.draft.schedule:
            case Once(at=at):
                return at if at > moment else None
            case Interval(every_seconds=seconds):
                every = timedelta(seconds=seconds)
                begin = self.draft.start_at or self.anchor + every
                return begin + max((moment - begin) // every + 1, 0) * every
            case CronSchedule(expression=expression, zone=zone):
                return next_after(parse_cron(expression), ZoneInfo(zone), moment)
            case RecipientCron(expression=expression):
                return next_after(parse_cron(expression), ZoneInfo(self.zone), moment)
            case _:
                return None

    def first(self, now: datetime) -> datetime | None:
        """The occurrence to wait for when the rule is made, changed or resumed.

        A time that is past already is missed, and `Misfire` decides.
        """
        schedule = self.draft.schedule
        return self.after(schedule.at - _INSTANT if isinstance(schedule, Once) else now)

    def newest(self, since: datetime, now: datetime) -> datetime:
        """The last occurrence up to now, not before `since`, which is one."""
        for window in (*_WINDOWS, now - since):
            found = self.after(max(since, now - window) - _INSTANT)
            if found is not None and found <= now:
                while (later := self.after(found)) is not None and later <= now:
                    found = later
                return found
        return since

    def preview(self, now: datetime, count: int) -> list[datetime]:
        """The next occurrences."""
        found: list[datetime] = []
        following = self.first(now)
        while following is not None and len(found) < count:
            found.append(following)
            following = self.after(following)
        return found


@dataclass(frozen=True, slots=True)
class Skipped:
    """Occurrences that are dropped: the first, and all others before `until`; `late` ones, or all but the newest."""

    first: datetime
    until: datetime
    late: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What a due occurrence leads to: those to fire, in order; those that are dropped; the next to wait for."""

    fire: tuple[datetime, ...]
    skipped: Skipped | None
    following: datetime | None


def step(clock: Clock, occurrence: datetime, now: datetime, most: int) -> Step:
    """What to do about an occurrence whose time has come, and about those after it up to now.

    At most `most` are fired; what is left is due again at once.
    """
    misfire = clock.draft.misfire
    patience = timedelta(seconds=misfire.late_seconds + clock.draft.jitter_seconds)
    if misfire.policy == "once":
        return _newest_only(clock, occurrence, now, now - patience)
    return _each(clock, occurrence, now, now - patience, most)


def too_late(misfire: Misfire, due_at: datetime, now: datetime) -> bool:
    """Whether something that was due once has waited too long."""
    return due_at < now - timedelta(seconds=misfire.late_seconds)


def _newest_only(clock: Clock, occurrence: datetime, now: datetime, oldest: datetime) -> Step:
    newest = clock.newest(occurrence, now)
    following = clock.after(newest)
    if newest < oldest:
        return Step((), Skipped(occurrence, newest, late=True), following)
    older = Skipped(occurrence, newest, late=False) if newest > occurrence else None
    return Step((newest,), older, following)


def _each(clock: Clock, occurrence: datetime, now: datetime, oldest: datetime, most: int) -> Step:
    skipped = None
    waiting: datetime | None = occurrence
    if occurrence < oldest:
        skipped = Skipped(occurrence, oldest, late=True)
        waiting = clock.after(oldest - _INSTANT)
    fire: list[datetime] = []
    while waiting is not None and waiting <= now and len(fire) < most:
        fire.append(waiting)
        waiting = clock.after(waiting)
    return Step(tuple(fire), skipped, waiting)
