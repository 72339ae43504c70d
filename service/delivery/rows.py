"""Between values and rows: the columns of a batch, as the ledger's statements take them, and jobs back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from service.contract import NotificationRequest
from service.delivery.events import Subject, event_json
from service.delivery.jobs import Job, Reader, Settlement, content_of, dump_content, load_content
from service.delivery.planning import Hop, Plan, Refusal

NO_HOP = Hop("-", "-", 0.0, "-")
"""Of a request to a topic, whose deliveries are made later."""
PART_SEPARATOR = "\x1f"


@dataclass(slots=True)
class Accepted:
    """The request is stored. `duplicate`: it was already; `id` is the first one's.

    `suppressed`: why its recipient will not get it.
    """

    id: UUID
    request_id: str | None
    duplicate: bool
    suppressed: str | None = None


def repeat_of(row: asyncpg.Record, *, duplicate: bool = True) -> Accepted:
    """The first answer again, from a row of `queries.FIND_REPEATED`."""
    return Accepted(row["id"], row["request_id"], duplicate, row["suppressed"])


@dataclass(slots=True)
class Entry:
    """A planned request waiting for its commit."""

    id: UUID
    request: NotificationRequest
    plan: Plan
    source: str
    dedup_key: str | None
    content_hash: bytes | None
    answer: "asyncio.Future[Accepted | Refusal]"

    @property
    def first_hop(self) -> Hop:
        return self.plan.route[0] if self.plan.route else NO_HOP

    @property
    def send_at(self) -> datetime | None:
        """Not before: what the request says, or the end of quiet hours."""
        return self.plan.send_at or self.request.send_at


def request_columns(batch: Sequence[Entry], now: datetime, *, tell: bool) -> list[list[Any]]:
    """The first columns of `queries.INSERT_REQUESTS`; with `tell` the events are among them."""
    hops = [entry.first_hop for entry in batch]
    requests = [entry.request for entry in batch]
    return [
        [entry.id for entry in batch],
        [entry.dedup_key for entry in batch],
        [entry.content_hash for entry in batch],
        [request.id for request in requests],
        [entry.source for entry in batch],
        [dump_content(entry.request, entry.plan.template_version) for entry in batch],
        [_route_json(entry.plan) for entry in batch],
        [request.category for request in requests],
        [hop.sender for hop in hops],
        [hop.address for hop in hops],
        [request.priority.lane for request in requests],
        [entry.send_at for entry in batch],
        [request.expires_at for request in requests],
        [request.on_unknown == "hold" for request in requests],
        [hop.spacing for hop in hops],
        [hop.pacing_key for hop in hops],
        [_first_event(entry, now) if tell else None for entry in batch],
        [extra_json(entry.plan, entry.request) for entry in batch],
    ]


def verdict_columns(batch: Sequence[Settlement], now: datetime, *, tell: bool) -> list[list[Any]]:
    """The first columns of `queries.SETTLE`; with `tell` the events are among them."""
    verdicts = [settlement.verdict for settlement in batch]
    return [
        [settlement.job.id for settlement in batch],
        [verdict.status for verdict in verdicts],
        [verdict.delay for verdict in verdicts],
        [verdict.attempt for verdict in verdicts],
        [verdict.kind for verdict in verdicts],
        [verdict.code for verdict in verdicts],
        [verdict.reason for verdict in verdicts],
        [PART_SEPARATOR.join(verdict.parts) for verdict in verdicts],
        [verdict.address for verdict in verdicts],
        [verdict.event for verdict in verdicts],
        [_logged(settlement) for settlement in batch],
        [_event(settlement, now) if tell else None for settlement in batch],
    ]


def _event(settlement: Settlement, now: datetime) -> str | None:
    job, verdict = settlement.job, settlement.verdict
    if verdict.event is None:
        return None
    about = Subject(
        job.notification_id,
        job.request_id,
        job.sender,
        verdict.address or job.address,
        job.content.category,
        job.content.metadata,
        job.id,
        None if job.reader is None else job.reader.recipient,
    )
    error = None if verdict.kind is None else (verdict.kind, verdict.code, verdict.reason or "")
    return event_json(verdict.event, about, at=now, attempt=verdict.attempt, parts=verdict.parts, error=error)


def _first_event(entry: Entry, now: datetime) -> str:
    return planned_event(entry.id, entry.request, entry.plan, now)


def planned_event(notification_id: UUID, request: NotificationRequest, planned: Plan, now: datetime) -> str:
    """The event of acceptance, or of suppression."""
    hop = planned.route[0] if planned.route else NO_HOP
    recipient = None if planned.reader is None else planned.reader.recipient
    about = Subject(
        notification_id, request.id, hop.sender, hop.address, request.category, request.metadata,
        recipient=recipient,
    )  # fmt: skip
    if planned.suppressed is None:
        return event_json("accepted", about, at=now)
    error = ("suppressed", planned.suppressed.code, planned.suppressed.reason)
    return event_json("suppressed", about, at=now, error=error)


def _logged(settlement: Settlement) -> str | None:
    """The log keeps everything but first-time successes, which the row itself tells."""
    job, verdict = settlement.job, settlement.verdict
    if verdict.event == "sent" and job.attempt == 0 and not job.parts_done:
        return None
    return verdict.event


def _route_json(plan: Plan) -> str:
    return orjson.dumps(route_rows(plan)).decode()


def route_rows(plan: Plan) -> list[list[Any]]:
    """The chain as its column keeps it: each link a hop, or a list of hops where it is several devices."""
    links = [[[d.sender, d.address, d.spacing, d.pacing_key] for d in hop.devices] for hop in plan.route]
    return [link if len(link) > 1 else link[0] for link in links]


def extra_json(plan: Plan, request: NotificationRequest, *, with_route: bool = False) -> str | None:
    """What only some deliveries have: a reader, further devices, a suppression, a topic. None: nothing of that."""
    if plan.reader is None and plan.topic is None:
        return None
    extra: dict[str, Any] = {}
    if plan.topic is not None:
        extra |= {"topic": plan.topic, "request": request.model_dump_json(exclude_defaults=True)}
    if plan.suppressed is not None:
        extra["suppressed"] = [plan.suppressed.code, plan.suppressed.reason]
    if plan.reader is not None:
        reader = plan.reader
        facts = {
            "recipient": reader.recipient,
            "locale": reader.locale,
            "zone": reader.zone,
            "quiet": reader.quiet,
            "escalate_after": request.escalate_after,
            "route": route_rows(plan) if with_route else None,
            "devices": [place for place, hop in enumerate(plan.route) if hop.others] or None,
        }
        if plan.route and plan.route[0].others:
            extra["devices"] = [[hop.address, hop.spacing, hop.pacing_key] for hop in plan.route[0].others]
        extra["recipient_id"] = reader.recipient_id
        extra["facts"] = {key: value for key, value in facts.items() if value is not None}
    return orjson.dumps(extra).decode()


def _reader_of(row: asyncpg.Record) -> tuple[Reader | None, bool]:
    if row["facts"] is None:
        return None, False
    facts = orjson.loads(row["facts"])
    reader = Reader(
        row["recipient_id"], facts.get("recipient"), facts["locale"], facts["zone"], facts.get("quiet")
    )
    return reader, "escalate_after" in facts


def job_of_entry(entry: Entry, row: asyncpg.Record, lease_ends: float) -> Job:
    """A delivery that was born leased."""
    request, hop = entry.request, entry.plan.route[0]
    return Job(
        id=row["id"],
        notification_id=entry.id,
        request_id=request.id,
        sender=hop.sender,
        address=hop.address,
        lane=request.priority.lane,
        content=content_of(request, entry.plan.template_version),
        created_at=row["created_at"],
        expires_at=request.expires_at,
        hold_unknown=request.on_unknown == "hold",
        spacing=hop.spacing,
        pacing_key=hop.pacing_key,
        attempt=0,
        parts_done=(),
        lease_ends=lease_ends,
        reader=entry.plan.reader,
        escalates=request.escalate_after is not None,
    )


def job_of_row(sender: str, row: asyncpg.Record, now: float, lease_seconds: float) -> Job:
    """A delivery that was claimed at `now`, on the event loop's clock."""
    reader, escalates = _reader_of(row)
    return Job(
        id=row["id"],
        notification_id=row["notification_id"],
        request_id=row["request_id"],
        sender=sender,
        address=row["address"],
        lane=row["priority"],
        content=load_content(row["content"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        hold_unknown=row["hold_unknown"],
        spacing=row["spacing"],
        pacing_key=row["pacing_key"],
        attempt=row["attempt"],
        parts_done=tuple(row["provider_ids"]),
        lease_ends=now + lease_seconds,
        slot=now + row["wait"],
        reader=reader,
        position=row["position"],
        escalates=escalates,
        throttled_at=row["throttled_at"],
    )
