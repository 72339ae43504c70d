"""Whether and when a person wants to hear something. Pure: facts in, decision out."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from service.audience.people import Person, QuietHours
from service.contract.fields import channel_of

MUTED = "muted"
CATEGORY_MUTED = "category_muted"
SENDER_MUTED = "sender_muted"
CATEGORY_SENDER_MUTED = "category_sender_muted"
SUPPRESSIONS = {
    MUTED: "the recipient muted everything",
    CATEGORY_MUTED: "the recipient muted this category",
    SENDER_MUTED: "the recipient muted this sender",
    CATEGORY_SENDER_MUTED: "the recipient muted this category at this sender",
}
"""Every reason that `suppression` gives, in words."""


NEVER_OPEN = "never_open"
_LONGEST_SILENCE = timedelta(days=3)


class NeverOpenError(ValueError):
    """Quiet hours that leave no time of the day."""


def suppression(person: Person, *, sender: str, category: str | None, critical: bool) -> str | None:
    """Why this person must not get this through this sender, as a key of `SUPPRESSIONS`; None: they may.

    What is critical passes "mute everything", which is said without thinking of it, but not a mute of that
    very category or sender. A mute of a channel's plain name is one of all its accounts.
    """
    if person.muted and not critical:
        return MUTED
    if category is not None and (category, None) in person.mutes:
        return CATEGORY_MUTED
    for name in (sender, channel_of(sender)):
        if (None, name) in person.mutes:
            return SENDER_MUTED
        if category is not None and (category, name) in person.mutes:
            return CATEGORY_SENDER_MUTED
    return None


def quiet_until(quiet: QuietHours, zone: str, now: datetime) -> datetime | None:
    """The moment (UTC) at which the quiet hours that hold at `now` end; None: it is not quiet.

    What counts is the clock on the wall: where it is set forward over the end, they end at that moment;
    where it is set back into them, they go on.
    """
    there = place(zone)
    moment = now.astimezone(UTC)
    while quiet.hold_at((wall := moment.astimezone(there)).time()):
        ends_at = moment + _until(quiet, wall)
        # Nothing else than the end and a change of the clock can end them.
        changed_at = _clock_change(there, moment, ends_at)
        moment = ends_at if changed_at is None else changed_at
    return None if moment == now else moment


def silent_until(hours: Sequence[QuietHours], zone: str, now: datetime) -> datetime | None:
    """The moment (UTC) at which none of these hold any more; None: none holds at `now`.

    Raises `NeverOpenError` where together they leave no time of the day.
    """
    moment = now.astimezone(UTC)
    while ends := [end for quiet in hours if (end := quiet_until(quiet, zone, moment)) is not None]:
        moment = max(ends)
        if moment - now > _LONGEST_SILENCE:
            raise NeverOpenError
    return None if moment == now else moment


def place(zone: str) -> ZoneInfo:
    """The zone of that name; UTC where it is not known any more."""
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):  # stored where the list of zones was another
        return ZoneInfo("UTC")


def _until(quiet: QuietHours, wall: datetime) -> timedelta:
    """How long until an undisturbed clock shows the end."""
    ends = wall.replace(tzinfo=None)
    left = datetime.combine(ends.date(), quiet.end) - ends
    return left if left > timedelta(0) else left + timedelta(days=1)


def _clock_change(place: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """When the clock was set within that time, if it was; to the second."""
    before = after.astimezone(place).utcoffset()
    if until.astimezone(place).utcoffset() == before:
        return None
    low, high = int(after.timestamp()), -int(-until.timestamp() // 1)
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, place).utcoffset() == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
