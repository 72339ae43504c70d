"""When a mailing may go out in a zone. Pure: hours and a clock in, moments out."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from service.audience.people import QuietHours
from service.audience.preferences import NeverOpenError, place, silent_until
from service.delivery.planning import Planner
from service.mailings.drafts import MailingDraft

_DAY = timedelta(days=1)
_SOME_DAY = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours of the day in which nothing goes out, by the clock of each zone: none, or several ranges."""

    closed: tuple[QuietHours, ...]

    def opens_at(self, zone: str, now: datetime) -> datetime | None:
        """When it may go out there again; None: it may now. Far away where it never may."""
        try:
            return silent_until(self.closed, zone, now)
        except NeverOpenError:
            return now + 365 * _DAY

    def closes_at(self, zone: str, now: datetime) -> datetime:
        """When it may no longer go out there, if it may now; a day ahead at most."""
        ends = [now + _until(hours.start, zone, now) for hours in self.closed if hours.start != hours.end]
        return min([*ends, now + _DAY])

    @property
    def never(self) -> bool:
        """Whether there is no hour of the day in which it may go out."""
        try:
            silent_until(self.closed, "UTC", _SOME_DAY)
        except NeverOpenError:
            return True
        return False

    @property
    def always(self) -> bool:
        """Whether every hour of the day is fine everywhere."""
        return all(hours.start == hours.end for hours in self.closed)


def hours_for(planner: Planner, draft: MailingDraft) -> Hours:
    """When it may not go out: outside its window, and in the quiet hours that hold where nobody says otherwise."""
    critical = draft.content.category in planner.defaults.critical
    quiet = None if critical else planner.defaults.quiet
    return hours_of(draft.window.closed if draft.window else None, quiet)


def hours_of(window: QuietHours | None, quiet: QuietHours | None) -> Hours:
    """Those outside the window, and the quiet ones."""
    return Hours(tuple(hours for hours in (window, quiet) if hours is not None))


def _until(clock: time, zone: str, now: datetime) -> timedelta:
    """How long until a clock there shows that, where nobody sets it meanwhile."""
    shown = now.astimezone(place(zone)).replace(tzinfo=None)
    left = datetime.combine(shown.date(), clock) - shown
    return left if left > timedelta(0) else left + _DAY
