"""What time does to triggers: old history leaves in bounded batches, and zones of audiences are looked up again."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from service.db.database import Database
from service.db.upkeep import keep_up
from service.settings import TriggerSettings
from service.tasks import end
from service.triggers import queries
from service.triggers.store import ZONES_AT_A_TIME, Triggers

BATCH_ROWS = 1_000


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
        keeping = keep_up(
            "the upkeep of triggers",
            (self.retire, BATCH_ROWS),
            (self.look_up_zones, ZONES_AT_A_TIME),
            every_seconds=min(self._settings.housekeeping_seconds, self._settings.zones_seconds),
        )
        self._task = asyncio.create_task(keeping, name="upkeep of triggers")

    async def close(self) -> None:
        await end(self._task)

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
