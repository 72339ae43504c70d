"""Requests to a topic: deliveries for its subscribers, a batch at a time.

A batch's deliveries and the place it ends at are written in one transaction, so that a crash neither
loses nor doubles anybody; any process may go on with it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from service.audience.facts import subscribers
from service.audience.people import Person
from service.contract import Bounds, NotificationRequest
from service.db.database import TRANSIENT, Connection, Database
from service.delivery.planning import Planner
from service.delivery.readers import insert_plans
from service.tasks import end

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

# What was accepted was within the bounds that were set then.
ANY_SIZE = Bounds(
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
        look: Callable[[set[str]], None],
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
        await end(self._task)

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
        self._look(senders)
        return True

    def _resting(self) -> list[UUID]:
        """Requests that failed lately: they must not hold up the others."""
        now = time.monotonic()
        self._rest_until = {key: until for key, until in self._rest_until.items() if until > now}
        return list(self._rest_until)

    async def _plan(self, connection: Connection, row: asyncpg.Record, people: Sequence[Person]) -> set[str]:
        """Write a delivery for each of them. Returns the senders that have something to do."""
        request = NotificationRequest.model_validate_json(row["request"], context=ANY_SIZE)
        now = datetime.now(UTC)
        plans = [self._planner.plan_for(request, person, now, row["template_version"]) for person in people]
        return await insert_plans(
            connection, row["notification_id"], request, plans, now, transports=self._transports
        )
