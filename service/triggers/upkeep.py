"""What time does to triggers: old history leaves in bounded batches, and zones of audiences are looked up again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from service.db.database import TRANSIENT, Database
from service.settings import TriggerSettings
from service.tasks import end
from service.triggers import queries
from service.triggers.store import ZONES_AT_A_TIME, Triggers

log = logging.getLogger(__name__)

BATCH_ROWS = 1_000
BREATH_SECONDS = 0.05


class Upkeep:
    """Runs in every scheduler; what two do at once does no harm."""

    def __init__(
        self,
        database: Database,
        triggers: Triggers,
        settings: TriggerSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._triggers = triggers
        self._settings = settings
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="upkeep of triggers")

    async def close(self) -> None:
        await end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await _repeat(self.retire, BATCH_ROWS)
                await _repeat(self.look_up_zones, ZONES_AT_A_TIME)
            except TRANSIENT as error:
                log.debug("the upkeep of triggers waits for the database: %s", error)
            except Exception:
                log.exception("the upkeep of triggers failed, trying again")
            pause = min(self._settings.housekeeping_seconds, self._settings.zones_seconds)
            await asyncio.sleep(pause)

    async def retire(self) -> int:
        """Remove old runs and keys of events. Returns how many of the most, at most a batch."""
        now = self._clock()
        async with self._database.connection() as connection:
            runs = await connection.execute(
                queries.RETIRE_RUNS, now - timedelta(days=self._settings.run_retention_days), BATCH_ROWS
            )
            events = await connection.execute(
                queries.RETIRE_EVENTS, now - timedelta(days=self._settings.event_retention_days), BATCH_ROWS
            )
        return max(int(tag.rpartition(" ")[2]) for tag in (runs, events))

    async def look_up_zones(self) -> int:
        """For recipient-crons whose zones were looked up long ago. Returns how many triggers."""
        return await self._triggers.look_up_zones(
            self._clock() - timedelta(seconds=self._settings.zones_seconds)
        )


async def _repeat(step: Callable[[], Awaitable[int]], most: int) -> None:
    while await step() >= most:  # noqa: ASYNC110 - a breath between batches, nothing to wait for
        await asyncio.sleep(BREATH_SECONDS)
