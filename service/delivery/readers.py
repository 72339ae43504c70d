"""Deliveries of one notification to many readers, each by a plan of their own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from service.contract import NotificationRequest
from service.db.database import Connection
from service.delivery.planning import Plan
from service.delivery.rows import extra_json, planned_event

# One row for each person, or each of their devices: queued, or ended at once where they do not want it.
_INSERT = """
INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown, spacing,
    pacing_key, send_at, due_at, expires_at, created_at, behind, started, attempt, lost_leases,
    recipient_id, facts, finished_at, error_kind, error_code, error_text)
SELECT $1, 0, sender, address, $2, CASE WHEN extra ? 'suppressed' THEN 'suppressed' ELSE 'queued' END, $3, spacing,
    pacing_key, coalesce(send_at, $4, now()), coalesce(send_at, $4, now()), $5, now(), false, false, 0, 0,
    (extra ->> 'recipient_id')::bigint, extra -> 'facts', CASE WHEN extra ? 'suppressed' THEN now() END,
    CASE WHEN extra ? 'suppressed' THEN 'suppressed' END,
    extra -> 'suppressed' ->> 0, extra -> 'suppressed' ->> 1
FROM unnest($6::text[], $7::text[], $8::float8[], $9::text[], $10::timestamptz[], $11::jsonb[])
    WITH ORDINALITY AS t(sender, address, spacing, pacing_key, send_at, extra, ord)
ORDER BY ord
"""

_TELL = """
INSERT INTO outbox (transport, channel, types, subjects, bodies)
SELECT transport, 'events', array_fill('suppressed'::text, ARRAY[cardinality($2::text[])]), $2::text[], $3::text[]
FROM unnest($1::text[]) AS transport
"""


async def insert_plans(
    connection: Connection,
    notification_id: UUID,
    request: NotificationRequest,
    plans: Sequence[Plan],
    now: datetime,
    *,
    transports: Sequence[str],
) -> set[str]:
    """Write a delivery for each plan, in their order. Returns the senders that have something to do."""
    await connection.execute(
        _INSERT,
        notification_id,
        request.priority.lane,
        request.on_unknown == "hold",
        request.send_at,
        request.expires_at,
        *_columns(plans, request),
    )
    unwanted = [planned for planned in plans if planned.suppressed is not None]
    if unwanted and transports:
        bodies = [planned_event(notification_id, request, planned, now) for planned in unwanted]
        subjects = [str(notification_id)] * len(bodies)
        await connection.execute(_TELL, transports, subjects, bodies)
    return {planned.route[0].sender for planned in plans if planned.suppressed is None}


def _columns(plans: Sequence[Plan], request: NotificationRequest) -> list[list[Any]]:
    rows = []
    for planned in plans:
        extra = extra_json(planned, request, with_route=len(planned.route) > 1)
        rows += [(hop, planned.send_at, extra) for hop in planned.route[0].devices]
    return [
        [hop.sender for hop, _, _ in rows],
        [hop.address for hop, _, _ in rows],
        [hop.spacing for hop, _, _ in rows],
        [hop.pacing_key for hop, _, _ in rows],
        [send_at for _, send_at, _ in rows],
        [extra for _, _, extra in rows],
    ]
