"""Requests to a topic: deliveries for its subscribers, a batch at a time.

A batch's deliveries and the place it ends at are written in one transaction, so that a crash neither
loses nor doubles anybody; any process may go on with it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from service.audience.facts import subscribers
from service.audience.people import Person
from service.contract import Bounds, NotificationRequest
from service.db.database import TRANSIENT, Connection, Database
from service.delivery.planning import Plan, Planner
from service.delivery.rows import extra_json, planned_event

log = logging.getLogger(__name__)

BATCH_PEOPLE = 500
POLL_SECONDS = 5.0
RETRY_SECONDS = 1.0
REST_SECONDS = 60.0

_NEXT = """
SELECT notification_id, topic, request, template_version, after FROM fan_out
WHERE notification_id <> ALL($1::uuid[])
ORDER BY notification_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""

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

# What was accepted was within the bounds that were set then.
_ANY_SIZE = Bounds(
    title_chars=10**9,
    body_chars=10**9,
    metadata_bytes=10**9,
    params_bytes=10**9,
    buttons=10**9,
    attachments=10**9,
)


class FanOut:
    """Runs in every worker; each batch takes the oldest request that nobody else is at."""

    def __init__(
        self,
        database: Database,
        planner: Planner,
        *,
        transports: Sequence[str],
        look: Callable[[set[str]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._planner = planner
        self._transports = list(transports)
        self._look = look
        self._wake = asyncio.Event()
        self._closing = False
        self._rest_until: dict[UUID, float] = {}
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """There may be a new request."""
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="fan-out")

    async def close(self) -> None:
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            try:
                while await self.step():
                    pass
            except TRANSIENT as error:
                log.debug("the fan-out waits for the database: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except Exception:
                log.exception("a message to a topic rests for %.0f s, others go on", REST_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()

    async def step(self) -> bool:
        """Make the deliveries of one batch. False: nothing is left to do."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_NEXT, self._resting())
            if row is None:
                return False
            people = await subscribers(connection, row["topic"], row["after"], BATCH_PEOPLE)
            try:
                senders = await self._plan(connection, row, people) if people else set()
            except TRANSIENT:
                raise
            except Exception:
                self._rest_until[row["notification_id"]] = time.monotonic() + REST_SECONDS
                raise
            if len(people) < BATCH_PEOPLE:
                await connection.execute(
                    "DELETE FROM fan_out WHERE notification_id = $1", row["notification_id"]
                )
            else:
                await connection.execute(
                    "UPDATE fan_out SET after = $2 WHERE notification_id = $1",
                    row["notification_id"],
                    people[-1].id,
                )
        await self._look(senders)
        return True

    def _resting(self) -> list[UUID]:
        """Requests that failed lately: they must not hold up the others."""
        now = time.monotonic()
        self._rest_until = {key: until for key, until in self._rest_until.items() if until > now}
        return list(self._rest_until)

    async def _plan(self, connection: Connection, row: asyncpg.Record, people: Sequence[Person]) -> set[str]:
        """Write a delivery for each of them. Returns the senders that have something to do."""
        request = NotificationRequest.model_validate_json(row["request"], context=_ANY_SIZE)
        now = datetime.now(UTC)
        plans = [self._planner.plan_for(request, person, now, row["template_version"]) for person in people]
        await connection.execute(
            _INSERT,
            row["notification_id"],
            request.priority.lane,
            request.on_unknown == "hold",
            request.send_at,
            request.expires_at,
            *_columns(plans, request),
        )
        unwanted = [planned for planned in plans if planned.suppressed is not None]
        if unwanted and self._transports:
            bodies = [planned_event(row["notification_id"], request, planned, now) for planned in unwanted]
            subjects = [str(row["notification_id"])] * len(bodies)
            await connection.execute(_TELL, self._transports, subjects, bodies)
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
