"""Ends and returns of deliveries that no sender decided: cancelled, expired, lost, put back by a person.

Everything here runs inside a transaction of the caller's and leaves the same trail as a settlement:
a log row, an event, and a word to what waited behind.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from service.db.database import Connection
from service.delivery.events import Subject, event_json

_ABOUT = """
SELECT d.id, d.notification_id, d.sender, d.address, d.priority, d.attempt, d.provider_ids,
    d.error_kind, d.error_code, d.error_text, d.facts ->> 'recipient' AS recipient, n.request_id, n.category, n.content
FROM delivery d JOIN notification n ON n.id = d.notification_id
WHERE d.id = ANY($1::bigint[]) ORDER BY d.id
"""

_LOG = """
INSERT INTO delivery_log (delivery_id, at, event, attempt, error_kind, error_code, error_text)
SELECT id, now(), $2, attempt, kind, $5, reason
FROM unnest($1::bigint[], $3::smallint[], $4::text[], $6::text[]) AS t(id, attempt, kind, reason)
"""

_WAKE = """
UPDATE delivery w SET due_at = now(), behind = false
FROM (
    SELECT b.id FROM (
        SELECT DISTINCT sender, address, priority FROM delivery WHERE id = ANY($1::bigint[])
    ) l CROSS JOIN LATERAL (
        SELECT b.id FROM delivery b
        WHERE b.sender = l.sender AND b.address = l.address AND b.priority = l.priority
          AND b.status = 'queued' AND b.behind
        ORDER BY b.id LIMIT 20
    ) b
) next
WHERE w.id = next.id
"""

_OUTBOX = """
INSERT INTO outbox (transport, channel, types, subjects, bodies)
SELECT transport, 'events', array_fill($2::text, ARRAY[cardinality($3::text[])]), $3::text[], $4::text[]
FROM unnest($1::text[]) AS transport
"""


async def record(
    connection: Connection,
    ids: Sequence[int],
    event: str,
    *,
    transports: Sequence[str],
    kind: str | None = None,
    code: str | None = None,
    reason: str | None = None,
) -> set[str]:
    """Log and report one change of these deliveries, and wake what waited behind them.

    Call it after their status is written. Returns their senders.
    """
    if not ids:
        return set()
    rows = await connection.fetch(_ABOUT, list(ids))
    await connection.execute(
        _LOG,
        [row["id"] for row in rows],
        event,
        [row["attempt"] for row in rows],
        [kind for _ in rows],
        code,
        [reason for _ in rows],
    )
    await connection.execute(_WAKE, list(ids))
    if transports:
        now = datetime.now(UTC)
        error = None if kind is None else (kind, code, reason or "")
        bodies = [_event(row, event, now, error) for row in rows]
        subjects = [str(row["notification_id"]) for row in rows]
        await connection.execute(_OUTBOX, list(transports), event, subjects, bodies)
    return {row["sender"] for row in rows}


def _event(row: Any, event: str, now: datetime, error: tuple[str, str | None, str] | None) -> str:
    content = orjson.loads(row["content"])
    about = Subject(
        row["notification_id"],
        row["request_id"],
        row["sender"],
        row["address"],
        row["category"],
        content.get("metadata", {}),
        row["id"],
        row["recipient"],
    )
    return event_json(event, about, at=now, attempt=row["attempt"], parts=row["provider_ids"], error=error)
