"""When a mailing will be done, from the limits that hold. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.delivery.slots import PACING_MARGIN
from service.mailings.windows import Hours

MOST_DAYS = 400
BELIEVED = 0.95
"""Below this share of what the limits allow, the rate of late counts: something else takes its part."""


@dataclass(frozen=True, slots=True)
class Left:
    """So many people of a zone, who still have to get it."""

    zone: str
    people: int


def allowed_rate(
    rates: Mapping[str, float | None], shares: Mapping[str, int], cap: float | None
) -> float | None:
    """Messages a second that the senders and a mailing's own cap let out; None: they set no limit.

    `shares`: how many of the messages go through each sender.
    """
    total = sum(shares.values())
    most = [
        rate / PACING_MARGIN * total / count
        for name, count in shares.items()
        if count and (rate := rates.get(name))
    ]
    if cap is not None:
        most.append(cap)
    return min(most, default=None)


def expected_rate(allowed: float | None, measured: float | None) -> float | None:
    """What to reckon with."""
    if allowed is None or (measured and measured < BELIEVED * allowed):
        return measured
    return allowed


def done_at(left: Sequence[Left], hours: Hours, rate: float, now: datetime) -> datetime | None:
    """When the last one has it, if nobody pauses; None: not within a year.

    Whoever may get it goes through at `rate`; who may not waits for their zone to open.
    """
    waiting: dict[str, float] = {}
    for each in left:
        if each.people > 0:
            waiting[each.zone] = waiting.get(each.zone, 0.0) + each.people
    moment, end = now, now + timedelta(days=MOST_DAYS)
    while waiting and moment < end:
        opens = {zone: hours.opens_at(zone, moment) for zone in waiting}
        open_now = [zone for zone, at in opens.items() if at is None]
        changes = [at for at in opens.values() if at is not None]
        changes += [hours.closes_at(zone, moment) for zone in open_now]
        if not open_now:
            moment = min(changes)
            continue
        people = sum(waiting[zone] for zone in open_now)
        until = min([*changes, moment + timedelta(seconds=min(people / rate, MOST_DAYS * 86_400.0))])
        gone = min(people, (until - moment).total_seconds() * rate)
        _let_go(waiting, open_now, gone)
        moment = max(until, moment + timedelta(milliseconds=1))
    return None if waiting else moment


def _let_go(waiting: dict[str, float], zones: Sequence[str], gone: float) -> None:
    """Those zones get what left, each by its share."""
    people = sum(waiting[zone] for zone in zones)
    for zone in zones:
        waiting[zone] -= gone * waiting[zone] / people
        if waiting[zone] < 0.5:  # noqa: PLR2004 - half a person
            del waiting[zone]
