"""What people and programs may do to notifications, dead letters, rejections and senders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service.audience.devices import Device, Rotated, rotate, undisturbed
from service.audience.facts import load_people
from service.audience.preferences import SUPPRESSIONS
from service.contract import parse_request
from service.db.database import Connection, Database
from service.delivery.ending import record
from service.delivery.intake import Accepted, Intake, Refusal, Submission
from service.delivery.jobs import LASTING
from service.delivery.planning import Planner, make_hop
from service.delivery.states import SenderStates, SenderStatus

REDRIVE_ROWS = 1_000

_CANCEL = """
UPDATE delivery SET status = 'cancelled', finished_at = now(), error_kind = NULL, error_code = NULL, error_text = NULL
WHERE notification_id = $1 AND status IN ('queued', 'unknown') RETURNING id
"""

# Attempts begin anew: whoever asks for a retry has a reason to expect another outcome.
_REQUEUE = """
UPDATE delivery SET status = 'queued', due_at = now(), finished_at = NULL, attempt = 0, lost_leases = 0,
    behind = false, throttled_at = NULL
WHERE id = ANY($1::bigint[]) AND status IN ('failed', 'unknown', 'expired', 'cancelled')
  AND (expires_at IS NULL OR expires_at > now())
RETURNING id
"""

# A chain is retried from where it ended, not from every sender that failed on the way.
_RETRYABLE = """
SELECT id FROM delivery d
WHERE notification_id = $1 AND status IN ('failed', 'unknown')
  AND NOT EXISTS (
      SELECT 1 FROM delivery l WHERE l.notification_id = $1 AND l.position > d.position
        AND l.recipient_id IS NOT DISTINCT FROM d.recipient_id
  )
"""

# The whole chain of that reader.
_ACKNOWLEDGE = """
UPDATE delivery d SET acknowledged_at = now(), escalate_at = NULL
FROM (SELECT notification_id, recipient_id FROM delivery WHERE id = $1) a
WHERE d.notification_id = a.notification_id AND d.recipient_id IS NOT DISTINCT FROM a.recipient_id
  AND d.acknowledged_at IS NULL
RETURNING d.id
"""

_CANCEL_CHAIN = """
UPDATE delivery d SET status = 'cancelled', finished_at = now(), error_kind = NULL, error_code = NULL, error_text = NULL
FROM (SELECT notification_id, recipient_id FROM delivery WHERE id = $1) a
WHERE d.notification_id = a.notification_id AND d.recipient_id IS NOT DISTINCT FROM a.recipient_id
  AND d.status = 'queued'
RETURNING d.id
"""

_WAITING_FOR = """
SELECT d.id, d.sender, n.category, r.external_id
FROM delivery d JOIN notification n ON n.id = d.notification_id JOIN recipient r ON r.id = d.recipient_id
WHERE d.recipient_id = $1 AND d.status = 'queued' ORDER BY d.id LIMIT $2 FOR UPDATE OF d SKIP LOCKED
"""

_SUPPRESS = """
UPDATE delivery SET status = 'suppressed', finished_at = now(),
    error_kind = 'suppressed', error_code = $2, error_text = $3
WHERE id = ANY($1::bigint[])
"""

# A notification goes with its last delivery. The verdict on what is being sent at this moment finds no row.
_FORGET = f"""
WITH gone AS (
    SELECT id, notification_id FROM delivery WHERE recipient_id = $1 ORDER BY id LIMIT $2
), deliveries AS (
    DELETE FROM delivery d USING gone g WHERE d.id = g.id RETURNING d.id
), logs AS (
    DELETE FROM delivery_log l USING gone g WHERE l.delivery_id = g.id
), notifications AS (
    DELETE FROM notification n USING gone g
    WHERE n.id = g.notification_id AND NOT EXISTS (
        SELECT 1 FROM delivery o WHERE o.notification_id = n.id AND o.recipient_id IS DISTINCT FROM $1
    ) AND NOT EXISTS (SELECT 1 FROM fan_out f WHERE f.notification_id = n.id)
      AND n.source NOT LIKE '{LASTING}%'
)
SELECT count(*) FROM gone
"""  # noqa: S608 - a constant

_DEAD = """
FROM delivery d
WHERE d.status = 'failed'
  AND ($1::text IS NULL OR d.sender = $1)
  AND ($2::text IS NULL OR d.error_kind = $2)
  AND ($3::text IS NULL OR d.error_code = $3)
  AND ($4::timestamptz IS NULL OR d.finished_at >= $4)
  AND ($5::timestamptz IS NULL OR d.finished_at < $5)
  AND (d.expires_at IS NULL OR d.expires_at > now())
  AND NOT EXISTS (
      SELECT 1 FROM delivery l WHERE l.notification_id = d.notification_id
        AND (l.position > d.position OR l.position = d.position AND l.status = 'sent')
        AND l.recipient_id IS NOT DISTINCT FROM d.recipient_id
  )
"""

# What waits for a device goes to its new token; what is being sent at this moment went to the old one.
_READDRESS = """
UPDATE delivery SET address = $4, pacing_key = $5, spacing = $6
WHERE sender = $2 AND address = $3 AND recipient_id = $1 AND status = 'queued'
"""


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which failed deliveries; None means any. `since` and `until` are about when they failed."""

    sender: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class CancelResult:
    """Deliveries that were stopped, that are being sent at this moment, and that had ended before."""

    cancelled: int
    sending: int
    finished: int


class Operations:
    """Management of what the engine holds. Every method is one transaction or a bounded series of them."""

    def __init__(
        self,
        database: Database,
        intake: Intake,
        states: SenderStates,
        planner: Planner,
        *,
        transports: Sequence[str],
        look: Callable[[set[str]], None],
    ) -> None:
        self._database = database
        self._intake = intake
        self._states = states
        self._planner = planner
        self._transports = transports
        self._look = look

    async def cancel(self, notification_id: UUID) -> CancelResult | None:
        """Stop what is not being sent yet. None: no such notification."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT true FROM notification WHERE id = $1", notification_id):
                return None
            await connection.execute("DELETE FROM fan_out WHERE notification_id = $1", notification_id)
            ids = [row["id"] for row in await connection.fetch(_CANCEL, notification_id)]
            senders = await record(connection, ids, "cancelled", transports=self._transports)
            counts = await connection.fetchrow(
                """SELECT count(*) FILTER (WHERE status = 'sending') AS sending,
                    count(*) FILTER (WHERE finished_at IS NOT NULL) AS finished
                FROM delivery WHERE notification_id = $1""",
                notification_id,
            )
        self._look(senders)
        assert counts is not None  # noqa: S101 - an aggregate always answers
        return CancelResult(len(ids), counts["sending"], counts["finished"] - len(ids))

    async def retry(self, notification_id: UUID) -> int | None:
        """Put what failed or is unknown back into the queue. None: no such notification."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT true FROM notification WHERE id = $1", notification_id):
                return None
            rows = await connection.fetch(_RETRYABLE, notification_id)
            requeued, senders = await self._requeue(connection, [row["id"] for row in rows])
        self._look(senders)
        return requeued

    async def acknowledge(self, delivery_id: int) -> bool:
        """Its reader has seen it: nothing escalates any more. False: no such delivery. Once more changes nothing."""
        async with self._database.transaction() as connection:
            ids = [row["id"] for row in await connection.fetch(_ACKNOWLEDGE, delivery_id)]
            if not ids:
                return bool(await connection.fetchval("SELECT true FROM delivery WHERE id = $1", delivery_id))
            await record(connection, [delivery_id], "acknowledged", transports=self._transports)
            stopped = [row["id"] for row in await connection.fetch(_CANCEL_CHAIN, delivery_id)]
            senders = await record(connection, stopped, "cancelled", transports=self._transports)
        self._look(senders)
        return True

    async def respect(self, recipient_id: int) -> int:
        """Stop what waits for a person and is not wanted any more. Returns how many deliveries, at most a batch.

        What is left is asked about when it is its turn.
        """
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_WAITING_FOR, recipient_id, REDRIVE_ROWS)
            if not rows:
                return 0
            person = (await load_people(connection, [rows[0]["external_id"]]))[rows[0]["external_id"]]
            unwanted: dict[str, list[int]] = {}
            for row in rows:
                if code := self._planner.unwanted(person, row["sender"], row["category"]):
                    unwanted.setdefault(code, []).append(row["id"])
            senders: set[str] = set()
            for code, ids in unwanted.items():
                reason = SUPPRESSIONS[code]
                await connection.execute(_SUPPRESS, ids, code, reason)
                senders |= await record(
                    connection, ids, "suppressed",
                    transports=self._transports, kind="suppressed", code=code, reason=reason,
                )  # fmt: skip
        self._look(senders)
        return sum(map(len, unwanted.values()))

    async def forget(self, recipient_id: int) -> int:
        """Remove what was sent to a person, and what waits for them. Returns how many deliveries."""
        total = 0
        while True:
            async with self._database.transaction() as connection:
                removed = int(await connection.fetchval(_FORGET, recipient_id, REDRIVE_ROWS))
            total += removed
            if removed < REDRIVE_ROWS:
                return total

    async def rotate_device(
        self, external_id: str, device_id: int, sender: str, device: Device
    ) -> Rotated | None:
        """Give a device of that sender a new token, with all that waits for it. None: there is no such device."""

        async def write() -> Rotated | None:
            async with self._database.transaction() as connection:
                rotated = await rotate(connection, external_id, device_id, sender, device)
                if rotated is not None:
                    hop = make_hop(sender, self._planner.senders[sender], device.token)
                    await connection.execute(
                        _READDRESS, rotated.recipient_id, sender, rotated.old_token,
                        hop.address, hop.pacing_key, hop.spacing,
                    )  # fmt: skip
            return rotated

        return await undisturbed(write)

    async def redrive(self, chosen: DeadLetterFilter, *, dry_run: bool) -> int:
        """Count the dead letters that match, or put them back into the queue in bounded batches."""
        arguments = (chosen.sender, chosen.error_kind, chosen.error_code, chosen.since, chosen.until)
        if dry_run:
            count = int(await self._database.pool.fetchval("SELECT count(*) " + _DEAD, *arguments))
            return count if chosen.limit is None else min(count, chosen.limit)
        total = 0
        while chosen.limit is None or total < chosen.limit:
            most = REDRIVE_ROWS if chosen.limit is None else min(REDRIVE_ROWS, chosen.limit - total)
            async with self._database.transaction() as connection:
                rows = await connection.fetch(
                    "SELECT d.id " + _DEAD + " ORDER BY d.id LIMIT $6 FOR UPDATE OF d SKIP LOCKED",
                    *arguments,
                    most,
                )
                requeued, senders = await self._requeue(connection, [row["id"] for row in rows])
            total += requeued
            self._look(senders)
            if len(rows) < most:
                break
        return total

    async def _requeue(self, connection: Connection, ids: list[int]) -> tuple[int, set[str]]:
        rows = await connection.fetch(_REQUEUE, ids)
        requeued = [row["id"] for row in rows]
        senders = await record(connection, requeued, "requeued", transports=self._transports)
        return len(requeued), senders

    async def pause(self, sender: str, reason: str) -> None:
        """Stop a sender in every process; its rows wait."""
        await self._states.pause(sender, reason)

    async def resume(self, sender: str) -> bool:
        """Let a paused or halted sender work again. False: it did."""
        return await self._states.resume(sender)

    async def sender_states(self) -> dict[str, SenderStatus]:
        """The senders that are paused or halted."""
        return self._states.all()

    async def replay(self, rejection_id: UUID, body: bytes | None = None) -> Accepted | Refusal | None:
        """Take a rejected message in again, as it was or corrected. None: no such rejection.

        Raises `ContractError` when it is still not a request. Repeating a replay that was accepted
        answers with the same notification.
        """
        row = await self._database.pool.fetchrow(
            "SELECT raw, size FROM rejection WHERE id = $1", rejection_id
        )
        if row is None:
            return None
        request = parse_request(row["raw"] if body is None else body, self._intake.bounds)
        answer = await self._intake.accept(
            Submission(request, source=f"replay:{rejection_id}", dedup_key=f"replay:{rejection_id}")
        )
        if isinstance(answer, Accepted):
            await self.replayed(rejection_id, answer.id)
        return answer

    async def replayed(self, rejection_id: UUID, notification_id: UUID | None = None) -> None:
        """A replay of it was accepted."""
        await self._database.pool.execute(
            "UPDATE rejection SET replayed_at = now(), notification_id = $2 WHERE id = $1",
            rejection_id,
            notification_id,
        )
