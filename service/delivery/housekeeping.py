"""What time does to rows: leases run out, messages expire, finished ones leave. All in bounded batches."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from service.db.database import TRANSIENT, Database
from service.db.ids import uuid7_floor
from service.delivery.ending import record
from service.delivery.jobs import LASTING
from service.settings import DeliverySettings
from service.tasks import end

log = logging.getLogger(__name__)

BATCH_ROWS = 1_000
RETENTION_SECONDS = 60.0
GRACE_SECONDS = 5.0
"""After PostgreSQL has started, so long nobody's lease counts as run out: its holder may still settle."""

_EXPIRE = """
UPDATE delivery SET status = 'expired', finished_at = now(), error_kind = 'expired', error_text = $2
WHERE id IN (
    SELECT id FROM delivery WHERE status = 'queued' AND expires_at <= now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING id
"""

# What this process ($4) holds itself is not lost: its verdicts may only wait for the database.
# A lost lease goes back into the queue, unless its delivery had begun and must not be repeated
# unasked, or has outlived too many workers.
_RECLAIM = """
UPDATE delivery d SET
    status = c.next, lease_token = NULL, lease_until = NULL, started = false, lost_leases = d.lost_leases + 1,
    due_at = CASE WHEN c.next = 'queued' THEN now() ELSE d.due_at END,
    error_kind = c.kind, error_text = c.reason, finished_at = CASE WHEN c.next = 'failed' THEN now() END
FROM (
    SELECT id,
        CASE WHEN started AND hold_unknown THEN 'unknown'
             WHEN lost_leases + 1 >= $2 THEN 'failed' ELSE 'queued' END AS next,
        CASE WHEN started AND hold_unknown THEN 'unknown' ELSE 'lost' END AS kind,
        'the worker was lost while it held this delivery' AS reason
    FROM delivery WHERE status = 'sending' AND lease_until < now()
      AND now() - pg_postmaster_start_time() > $3 * interval '1 second' AND lease_token <> $4
    ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED
) c
WHERE d.id = c.id
RETURNING d.id, d.status
"""

# What was sent and not acknowledged in time goes to the next sender of its chain as well; so does what failed at
# every one of several devices. Those are looked at when each of them failed: the last to do so sees the others.
# One process at a time (ESCALATION_LOCK), since two devices of a person could be seen by two.
_ESCALATE = """
WITH due AS (
    SELECT id, notification_id, position, status, priority, hold_unknown, expires_at, acknowledged_at, recipient_id, facts
    FROM delivery WHERE escalate_at <= now() ORDER BY escalate_at LIMIT $1 FOR UPDATE SKIP LOCKED
), done AS (
    UPDATE delivery d SET escalate_at = NULL FROM due WHERE d.id = due.id
), rising AS (
    SELECT DISTINCT ON (notification_id, recipient_id) * FROM due
    WHERE acknowledged_at IS NULL AND coalesce(expires_at > now(), true) AND NOT EXISTS (
        SELECT 1 FROM delivery l WHERE l.notification_id = due.notification_id
          AND l.recipient_id IS NOT DISTINCT FROM due.recipient_id
          AND (l.position > due.position
            OR l.position = due.position AND due.status <> 'sent' AND l.status NOT IN ('failed', 'suppressed')))
    ORDER BY notification_id, recipient_id, id
), made AS (
    INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown, spacing,
        pacing_key, send_at, due_at, expires_at, created_at, behind, started, attempt, lost_leases, recipient_id, facts)
    SELECT r.notification_id, r.position + 1, hop ->> 0, hop ->> 1, r.priority, 'queued', r.hold_unknown,
        (hop ->> 2)::float8, hop ->> 3, now(), now(), r.expires_at, now(), false, false, 0, 0,
        r.recipient_id, r.facts
    FROM rising r JOIN notification n ON n.id = r.notification_id
    CROSS JOIN LATERAL (SELECT coalesce(r.facts -> 'route', n.route) -> (r.position + 1) AS link) l
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(link -> 0) = 'array' THEN link ELSE jsonb_build_array(link) END) AS hop
    WHERE link IS NOT NULL
    RETURNING notification_id, position, recipient_id, sender
)
SELECT due.id, due.status, (
    SELECT m.sender FROM rising r JOIN made m ON m.notification_id = r.notification_id
        AND m.position = r.position + 1 AND m.recipient_id IS NOT DISTINCT FROM r.recipient_id
    WHERE r.id = due.id LIMIT 1) AS sender
FROM due
"""
ESCALATION_LOCK = 0x6E6F7469_66790061  # any constant

# Finished notifications are a range of the primary key, since ids begin with their time. Those that
# last may run for long and have a million deliveries: they leave by themselves.
_RETIRE = f"""
WITH old AS (
    SELECT n.id FROM notification n
    WHERE n.id > $1 AND n.id < $2 AND n.source NOT LIKE '{LASTING}%'
    ORDER BY n.id LIMIT $3
), finished AS (
    SELECT o.id FROM old o
    WHERE NOT EXISTS (
        SELECT 1 FROM delivery d WHERE d.notification_id = o.id AND d.status IN ('queued', 'sending', 'unknown')
    )
), deliveries AS (
    DELETE FROM delivery d USING finished f WHERE d.notification_id = f.id RETURNING d.id
), logs AS (
    DELETE FROM delivery_log l USING deliveries d WHERE l.delivery_id = d.id
), notifications AS (
    DELETE FROM notification n USING finished f WHERE n.id = f.id
)
SELECT (SELECT max(id::text) FROM old), (SELECT count(*) FROM finished)
"""  # noqa: S608 - a constant

_RETIRE_REJECTIONS = """
DELETE FROM rejection WHERE id IN (SELECT id FROM rejection WHERE id < $1 ORDER BY id LIMIT $2)
"""

_FORGET_BUCKETS = """
DELETE FROM pacing_bucket WHERE bucket LIKE 'address:%' AND next_at < now() - interval '1 hour'
"""


class Housekeeping:
    """Runs in every worker; the statements skip what another process has locked."""

    def __init__(
        self,
        database: Database,
        settings: DeliverySettings,
        *,
        token: UUID,
        transports: Sequence[str],
        look: Callable[[set[str]], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._token = token
        self._transports = transports
        self._look = look
        self._retire_from = UUID(int=0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="housekeeping")

    async def close(self) -> None:
        await end(self._task)

    async def _run(self) -> None:
        retire_at = time.monotonic()
        while True:
            try:
                await self._repeat(self.expire)
                await self._repeat(self.reclaim)
                await self._repeat(self.escalate)
                if time.monotonic() >= retire_at:
                    retire_at = time.monotonic() + RETENTION_SECONDS
                    await self._repeat(self.retire)
                    await self._database.pool.execute(_FORGET_BUCKETS)
            except TRANSIENT as error:
                log.debug("housekeeping waits for the database: %s", error)
            except Exception:
                log.exception("housekeeping failed, trying again")
            await asyncio.sleep(self._settings.housekeeping_seconds)

    async def _repeat(self, step: Callable[[], Awaitable[int]]) -> None:
        while await step() >= BATCH_ROWS:  # noqa: ASYNC110 - a breath between batches, nothing to wait for
            await asyncio.sleep(0.01)

    async def expire(self) -> int:
        """End queued deliveries whose time has passed. Returns how many, at most a batch."""
        reason = "expires_at has passed"
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_EXPIRE, BATCH_ROWS, reason)
            senders = await record(
                connection, [row["id"] for row in rows], "expired",
                transports=self._transports, kind="expired", reason=reason,
            )  # fmt: skip
        self._look(senders)
        return len(rows)

    async def reclaim(self) -> int:
        """Take over what crashed workers held. Returns how many rows, at most a batch."""
        reason = "the worker was lost while it held this delivery"
        senders: set[str] = set()
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                _RECLAIM, BATCH_ROWS, self._settings.lost_leases_max, GRACE_SECONDS, self._token
            )
            for status, event in (("queued", "requeued"), ("unknown", "unknown"), ("failed", "failed")):
                ids = [row["id"] for row in rows if row["status"] == status]
                kind = "unknown" if status == "unknown" else "lost"
                senders |= await record(
                    connection, ids, event, transports=self._transports, kind=kind, reason=reason
                )
        if rows:
            log.warning("took over %d deliveries of a lost worker", len(rows))
        self._look(senders)
        return len(rows)

    async def escalate(self) -> int:
        """Try the next sender of what nobody acknowledged, or no device took. Returns how many were due, at most
        a batch.
        """
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", ESCALATION_LOCK)
            rows = await connection.fetch(_ESCALATE, BATCH_ROWS)
            risen = [row for row in rows if row["sender"] is not None]
            unseen = [row["id"] for row in risen if row["status"] == "sent"]
            reason = "it was not acknowledged in time"
            await record(
                connection, unseen, "escalated",
                transports=self._transports, kind="unacknowledged", reason=reason,
            )  # fmt: skip
        self._look({row["sender"] for row in risen})
        return len(rows)

    async def retire(self) -> int:
        """Remove notifications that finished before the retention time. Returns how many were looked at."""
        cutoff = uuid7_floor(datetime.now(UTC) - timedelta(days=self._settings.retention_days))
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_RETIRE, self._retire_from, cutoff, BATCH_ROWS)
            await connection.execute(_RETIRE_REJECTIONS, cutoff, BATCH_ROWS)
        if row is None or row[0] is None:
            self._retire_from = UUID(int=0)
            return 0
        self._retire_from = UUID(row[0])
        return BATCH_ROWS
