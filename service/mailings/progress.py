"""How far a mailing is, and when it will be done: from what its row keeps, without counting anything."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from service.delivery.planning import Planner
from service.mailings.drafts import MailingDraft
from service.mailings.forecast import Left, allowed_rate, done_at, expected_rate
from service.mailings.tally import Pace, Tally
from service.mailings.turn import EVERYWHERE
from service.mailings.windows import Hours, hours_for

STANDS_FOR = 500
"""So many of an audience tell through which senders it is reached, before anything was made."""
SURE_SECONDS = 10.0
"""Before that what the limits allow is the better guess, even if less has left so far."""
Wait = Literal["start", "window", "canary", "approval", "resume"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Recipients: `planned` at the start, `made` have deliveries, `remaining` are not done with.

    `rate`: recipients a second who were done with of late. `allowed_rate`: what the senders and its own rate let out;
    None: they set no limit. `eta`: when the last one has it if nobody pauses; None: not to be told.
    """

    planned: int | None
    made: int
    tally: Tally
    under_way: int
    remaining: int | None
    rate: float | None
    allowed_rate: float | None
    eta: datetime | None
    waits_for: Wait | None


def progress_of(row: Any, parts: Sequence[Any], planner: Planner) -> Progress:
    """From the mailing's row (with `now`) and the parts of its walk."""
    draft = MailingDraft.model_validate_json(row["draft"])
    tally, pace, now = Tally.load(row["tally"]), Pace.load(row["pace"]), row["now"]
    allowed = allowed_rate(_rates(planner), pace.senders, draft.rate)
    running = row["status"] == "running"
    counted_at = (row["counted_at"] or now) if running else now
    measured = pace.rate(counted_at.timestamp(), tally.attempted) if running else None
    over = row["ended_at"] is not None
    remaining = None if row["planned"] is None else _remaining(row, tally)
    hours = hours_for(planner, draft)
    sure = pace.rate(counted_at.timestamp(), tally.attempted, SURE_SECONDS) if running else None
    expected = expected_rate(allowed, measured if allowed is None else sure)
    eta = None
    if not over and expected and row["status"] in ("running", "paused"):
        eta = done_at(_left(row, tally, parts, planner, hours), hours, expected, counted_at)
    return Progress(
        planned=row["planned"],
        made=row["made"],
        tally=tally,
        under_way=0 if over else _under_way(row, tally),
        remaining=0 if over and remaining is not None else remaining,
        rate=measured,
        allowed_rate=allowed,
        eta=eta,
        waits_for=None if over else _wait(row, parts, planner, hours),
    )


def forecast(
    planner: Planner,
    draft: MailingDraft,
    people: Mapping[str, int],
    senders: Mapping[str, int],
    now: datetime,
) -> tuple[float | None, datetime | None]:
    """The rate that is allowed, and when it would be done if it began at `now`: before anything was made.

    `people`: how many live in each zone. `senders`: through which of them a sample would be reached.
    """
    allowed = allowed_rate(_rates(planner), senders, draft.rate)
    if allowed is None:
        return None, None
    hours = hours_for(planner, draft)
    left = [Left(zone or planner.defaults.zone, count) for zone, count in people.items()]
    start = max(draft.start_at or now, now)
    return allowed, done_at(left, hours, allowed, start)


def _under_way(row: Any, tally: Tally) -> int:
    return max(int(row["made"]) - tally.ended, 0)


def _remaining(row: Any, tally: Tally) -> int:
    return max(int(row["planned"] - row["made"]), 0) + _under_way(row, tally)


def _rates(planner: Planner) -> dict[str, float | None]:
    return {name: sender.limits.rate for name, sender in planner.senders.items()}


def _left(row: Any, tally: Tally, parts: Sequence[Any], planner: Planner, hours: Hours) -> list[Left]:
    """Who still has to get it, by zone; what waits in the queue is where it is open."""
    left = [
        Left(part["zone"] or planner.defaults.zone, max(part["planned"] - part["made"], 0))
        for part in parts
        if not part["done"] and part["zone"] != EVERYWHERE
    ]
    rest = max(row["planned"] - row["made"], 0) - sum(each.people for each in left)
    waiting = _under_way(row, tally) + max(rest, 0)
    return [*left, Left(_open_zone(left, planner, hours, row["now"]), waiting)] if waiting else left


def _open_zone(left: Iterable[Left], planner: Planner, hours: Hours, now: datetime) -> str:
    zones = [each.zone for each in left]
    return next((zone for zone in zones if hours.opens_at(zone, now) is None), planner.defaults.zone)


def _wait(row: Any, parts: Sequence[Any], planner: Planner, hours: Hours) -> Wait | None:
    if row["status"] in ("draft", "scheduled"):
        return "start"
    if row["status"] == "paused":
        return "resume"
    if row["canary"] == "approval":
        return "approval"
    planned = row["planned"] or 0
    draft = MailingDraft.model_validate_json(row["draft"])
    if row["canary"] == "sending" and draft.canary and row["made"] >= draft.canary.size(planned):
        return "canary"
    zones = [part["zone"] for part in parts if not part["done"] and part["zone"] != EVERYWHERE]
    if zones and all(hours.opens_at(zone or planner.defaults.zone, row["now"]) for zone in zones):
        return "window"
    return None
