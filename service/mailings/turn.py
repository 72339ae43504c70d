"""One look of a runner at one mailing: count, judge, make what there is room for, say when to look again.

The mailing's row is locked meanwhile, and everything is one transaction: the walk's cursor moves in the
commit that writes the deliveries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from service.audience import segments
from service.audience.people import Person
from service.audience.segments import NO_ZONE
from service.contract import NotificationRequest
from service.db.database import Connection
from service.db.ids import uuid7
from service.delivery.ending import record
from service.delivery.fanout import ANY_SIZE
from service.delivery.holds import HOLD_SECONDS, hold, let_go
from service.delivery.jobs import LASTING, dump_content
from service.delivery.planning import Plan, Planner
from service.delivery.readers import insert_plans
from service.errors import MailingRefused
from service.mailings import judging, queries
from service.mailings.checks import usable_version
from service.mailings.counting import Standing, stand
from service.mailings.drafts import MailingDraft, request_of
from service.mailings.slots import Slots
from service.mailings.tally import Pace
from service.mailings.windows import Hours, hours_for
from service.settings import MailingSettings

EVERYWHERE = "*"
"""The part of a walk that goes through all zones at once: the whole of it, or the last, for those who moved."""
CANCEL_ROWS = 1_000
_HELD = timedelta(seconds=HOLD_SECONDS)
_SOON = timedelta(milliseconds=100)
_ACTIVE = timedelta(seconds=1)
_WAITING = timedelta(seconds=5)
_LONG = timedelta(minutes=1)
_USUAL_RATE = 1_000.0


@dataclass(slots=True)
class Turn:
    """A mailing in hand. `changes` are the columns to write; `senders` have something to do afterwards."""

    connection: Connection
    row: asyncpg.Record
    planner: Planner
    settings: MailingSettings
    transports: Sequence[str]
    changes: dict[str, Any] = field(default_factory=dict)
    senders: set[str] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        now: datetime = self.row["now"]
        return now

    @property
    def made(self) -> int:
        """For how many people deliveries were made in it."""
        return int(self.changes.get("made", self.row["made"]) - self.row["made"])

    async def take(self) -> None:
        """Do what there is to do, and write it down."""
        match self.row["status"]:
            case "scheduled":
                await self._begin()
            case "running":
                await self._go_on()
            case "paused":
                await self._watch_the_rest()
            case _:
                await self._clear()
        await write(self.connection, self.row["id"], self.changes)

    # --- the beginning ----------------------------------------------------------------------------

    async def _begin(self) -> None:
        draft = MailingDraft.model_validate_json(self.row["draft"])
        try:
            request = request_of(draft, ANY_SIZE)
            version = await usable_version(self.connection, self.planner, draft, request)
        except MailingRefused as error:
            self.changes |= {"status": "failed", "reason": str(error), "ended_at": self.now, "look_at": None}
            return
        notification_id = uuid7()
        await self.connection.execute(
            queries.INSERT_NOTIFICATION,
            notification_id,
            f"{LASTING}{self.row['id']}",
            dump_content(request, version),
            request.category,
        )
        people = await self._people(draft)
        await self.connection.execute(
            queries.INSERT_PARTS, self.row["id"], list(people), list(people.values())
        )
        self.changes |= {
            "status": "running",
            "notification_id": notification_id,
            "template_version": version,
            "planned": sum(people.values()),
            "canary": "sending" if draft.canary else "none",
            "started_at": self.now,
            "look_at": self.now,
        }

    async def _people(self, draft: MailingDraft) -> dict[str, int]:
        """How many there are, by the part of the walk that comes to them."""
        only = self.row["only_zones"]
        if only is None and hours_for(self.planner, draft).always:
            return {EVERYWHERE: await segments.count(self.connection, draft.audience)}
        counts = await segments.zone_counts(self.connection, draft.audience)
        if only is not None:
            return {zone: count for zone, count in counts.items() if zone in only}
        return {**counts, EVERYWHERE: 0}

    # --- the middle -------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        draft = MailingDraft.model_validate_json(self.row["draft"])
        pace = Pace.load(self.row["pace"])
        standing = await self._count()
        if reason := self._exceeded(draft, pace, standing):
            await self._pause(reason, pace, standing)
            return
        hours = hours_for(self.planner, draft)
        parts = await self.connection.fetch(queries.PARTS, self.row["id"])
        expired = draft.content.expires_at is not None and draft.content.expires_at <= self.now
        left = [] if expired else [part for part in parts if not part["done"]]
        if not left and not standing.open:
            reason = "expires_at has passed" if expired and not all(p["done"] for p in parts) else None
            self.changes |= {"status": "finished", "reason": reason, "ended_at": self.now, "look_at": None}
            self.changes["pace"] = pace.dump()
            return
        put_off = await self._put_off(parts, hours, standing, capped=draft.rate is not None)
        slots = Slots(draft.rate, self.row["next_slot"], self.now, self.settings.cap_ahead_seconds)
        ready = [key for key in standing.ready if key not in put_off]
        await self._release([*ready, *await self._held_escalations(draft)], slots)
        part = self._next_part(left, hours)
        room = min(self._room(draft, standing), slots.left)
        more = part is not None and room > 0
        if part is not None and more:
            await self._make(draft, pace, part, room, slots, again=len(parts) > 1)
        self.changes["next_slot"] = slots.next_at
        if standing.soon or more:
            pace.mark(self.now.timestamp(), standing.tally.attempted)
        else:
            pace.marks = []  # nothing to do is no rate
        self.changes["look_at"] = self._look_at(
            pace, standing, left, hours, more=more, capped=draft.rate is not None
        )
        self.changes["pace"] = pace.dump()

    async def _count(self) -> Standing:
        standing = await stand(self.connection, self.row, self.settings.cap_ahead_seconds)
        self.changes |= {
            "tally": standing.tally.dump(),
            "counted_to": standing.counted_to,
            "open": standing.open,
            "later": standing.later,
            "counted_at": self.now,
        }
        return standing

    def _exceeded(self, draft: MailingDraft, pace: Pace, standing: Standing) -> str | None:
        """Which limit is; where the canary is done and fared well, the others may follow."""
        if self.row["canary"] == "sending" and self._canary_left(draft) <= 0 and not standing.soon:
            seen = judging.shares(standing.tally, pace)
            if not seen.attempted and standing.open:
                return None  # they all wait for a time of their own
            if reason := seen.over(draft.limits, least=1):
                return f"the canary: {reason}"
            judging.rebase(standing.tally, pace)
            asks = draft.canary is not None and draft.canary.approval
            self.changes["canary"] = "approval" if asks else "passed"
        return judging.watch(standing.tally, pace, draft.limits)

    async def _pause(self, reason: str, pace: Pace, standing: Standing) -> None:
        await put_on_hold(self.connection, {**self.row, **self.changes})
        self.changes |= {
            "status": "paused",
            "reason": reason,
            "look_at": self.now + _ACTIVE,
            "pace": pace.dump(),
        }

    def _canary_left(self, draft: MailingDraft) -> int:
        size = draft.canary.size(self.row["planned"]) if draft.canary else 0
        return int(min(size, self.row["planned"]) - self.row["made"])

    def _room(self, draft: MailingDraft, standing: Standing) -> int:
        """How many deliveries may be made now."""
        room = min(
            self.settings.rows_ahead - standing.soon,
            self.settings.rows_later - standing.later,
            self.settings.batch_people,
        )
        match self.changes.get("canary", self.row["canary"]):
            case "sending":
                return min(room, self._canary_left(draft))
            case "approval":
                return 0
        return room

    async def _put_off(
        self, parts: Sequence[asyncpg.Record], hours: Hours, standing: Standing, *, capped: bool
    ) -> set[int]:
        """What was made for zones that are closed now, and would be sent before they open, waits until they do.

        A window closes while it is being sent, or paused, or tried again. Returns those deliveries.
        """
        if hours.always or not (standing.soon or standing.ready):
            return set()
        zones = {self._zone(part["zone"]) for part in parts if part["made"] and part["zone"] != EVERYWHERE}
        closed = {zone: at for zone in zones if (at := hours.opens_at(zone, self.now)) is not None}
        if not closed:
            return set()
        rows = await self.connection.fetch(
            queries.PUT_OFF, *self._rows(), list(closed), list(closed.values()), capped
        )
        return {row["id"] for row in rows}

    def _rows(self) -> tuple[Any, ...]:
        """The arguments that name the deliveries that may be open."""
        known = {**self.row, **self.changes}
        return known["notification_id"], known["open"], known["counted_to"]

    async def _release(self, ready: Sequence[int], slots: Slots) -> None:
        """What was held gets its turn again, as far as the cap goes."""
        some = list(ready)[: slots.left]
        if some:
            await self.connection.execute(queries.RELEASE, some, [slots.take() for _ in some])
            self.senders |= self._all_senders()  # whichever the deliveries name

    async def _held_escalations(self, draft: MailingDraft) -> list[int]:
        if draft.content.escalate_after is None:
            return []
        known = (self.row["notification_id"], list(self._all_senders()), draft.content.priority.lane)
        rows = await self.connection.fetch(queries.HELD_ESCALATIONS, *known, CANCEL_ROWS)
        return [row["id"] for row in rows]

    def _all_senders(self) -> set[str]:
        return {name for name, sender in self.planner.senders.items() if sender.off_reason is None}

    def _next_part(self, left: Sequence[asyncpg.Record], hours: Hours) -> asyncpg.Record | None:
        """Of the zones where it may go out now that which closes first; when all are done, who moved."""
        zones = [part for part in left if part["zone"] != EVERYWHERE]
        if not zones:
            return left[0] if left else None
        now_open = [part for part in zones if self._opens_at(hours, part["zone"]) is None]
        return min(
            now_open, key=lambda part: hours.closes_at(self._zone(part["zone"]), self.now), default=None
        )

    async def _make(
        self, draft: MailingDraft, pace: Pace, part: asyncpg.Record, room: int, slots: Slots, *, again: bool
    ) -> None:
        """Deliveries for the next people of a part. `again`: the walk may have come to some of them before."""
        zones = None if part["zone"] == EVERYWHERE else [part["zone"]]
        found = await segments.people(self.connection, draft.audience, part["after"], room, zones)
        people = await self._unserved(found) if again else found
        request = request_of(draft, ANY_SIZE)
        if people:
            plans = [self._plan(draft, request, person, slots) for person in people]
            self.senders |= await insert_plans(
                self.connection,
                self.row["notification_id"],
                request,
                plans,
                self.now,
                transports=self.transports,
            )
            pace.made(plan.route[0].sender for plan in plans if plan.suppressed is None)
        after = found[-1].id if found else part["after"]
        await self.connection.execute(
            queries.ADVANCE, self.row["id"], part["zone"], after, len(people), len(found) < room
        )
        self.changes["made"] = self.row["made"] + len(people)

    async def _unserved(self, people: Sequence[Person]) -> Sequence[Person]:
        ids = [person.id for person in people]
        rows = await self.connection.fetch(queries.SERVED, ids, self.row["notification_id"])
        served = {row["recipient_id"] for row in rows}
        return [person for person in people if person.id not in served]

    def _plan(self, draft: MailingDraft, request: NotificationRequest, person: Person, slots: Slots) -> Plan:
        closed = draft.window.closed if draft.window else None
        plan = self.planner.plan_for(request, person, self.now, self.row["template_version"], closed=closed)
        if plan.suppressed is not None or not slots.capped:
            return plan
        # What has to wait for a time of its own gets its slot then.
        return replace(plan, send_at=slots.take() if plan.send_at is None else plan.send_at + _HELD)

    def _look_at(
        self,
        pace: Pace,
        standing: Standing,
        left: Sequence[asyncpg.Record],
        hours: Hours,
        *,
        more: bool,
        capped: bool,
    ) -> datetime:
        if more and self._has_room(standing) and not capped:
            return self.now
        if standing.soon or more:
            rate = pace.rate(self.now.timestamp(), standing.tally.attempted) or _USUAL_RATE
            drained = timedelta(seconds=standing.soon / 2 / max(rate, 0.01))
            slowest = timedelta(seconds=self.settings.cap_ahead_seconds / 4) if capped else _ACTIVE
            return self.now + min(max(drained, _SOON), slowest, _ACTIVE)
        zones = [part["zone"] for part in left if part["zone"] != EVERYWHERE]
        opens = [self._opens_at(hours, zone) or self.now + _ACTIVE for zone in zones]
        return min([*opens, self.now + (_WAITING if standing.open else _LONG)])

    def _has_room(self, standing: Standing) -> bool:
        return standing.soon + self.made < self.settings.rows_ahead

    def _zone(self, zone: str) -> str:
        return self.planner.defaults.zone if zone in (NO_ZONE, EVERYWHERE) else zone

    def _opens_at(self, hours: Hours, zone: str) -> datetime | None:
        return hours.opens_at(self._zone(zone), self.now)

    # --- the end ----------------------------------------------------------------------------------

    async def _watch_the_rest(self) -> None:
        """Calls that were under way at the pause still end."""
        standing = await self._count()
        self.changes["look_at"] = self.now + _ACTIVE if standing.sending else None

    async def _clear(self) -> None:
        """Cancelled: what waits ends, a batch at a time; then nothing has to be held any more."""
        standing = await self._count()
        draft = MailingDraft.model_validate_json(self.row["draft"])
        await self.connection.execute(queries.NO_MORE_ESCALATIONS, self.row["notification_id"])
        following = await self._held_escalations(draft)
        cancelled = await self.connection.fetch(queries.CANCEL_ROWS, *self._rows(), CANCEL_ROWS)
        cancelled += await self.connection.fetch(queries.CANCEL_FOLLOWING, following)
        ids = [row["id"] for row in cancelled]
        self.senders |= await record(self.connection, ids, "cancelled", transports=self.transports)
        if standing.open or cancelled:
            self.changes["look_at"] = self.now + (_SOON if cancelled else _ACTIVE)
            return
        await let_go(self.connection, self.row["notification_id"])
        self.changes |= {"ended_at": self.now, "look_at": None}


async def put_on_hold(connection: Connection, row: Any) -> None:
    """Nothing of a mailing that has begun is sent any more, and what waits for its turn keeps it."""
    await hold(connection, row["notification_id"])
    await connection.execute(queries.HOLD_ROWS, row["notification_id"], row["open"], row["counted_to"])


async def write(connection: Connection, mailing_id: Any, changes: dict[str, Any]) -> None:
    """Write these columns. Their names are ours."""
    if changes:
        columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(changes, 2))
        await connection.execute(
            f"UPDATE mailing SET {columns} WHERE id = $1",  # noqa: S608 - names of columns
            mailing_id,
            *changes.values(),
        )
