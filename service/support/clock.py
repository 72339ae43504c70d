"""What happens at the desk without anybody writing: outcomes, albums that are complete, silence."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from service.db.database import TRANSIENT, Database
from service.desk_settings import SupportSettings
from service.support import queries
from service.support.each import each
from service.support.messages import Messages
from service.support.outcomes import Outcomes
from service.support.tickets import Tickets
from service.support.wording import Wordings
from service.tasks import end

log = logging.getLogger(__name__)

TICK_SECONDS = 0.2
FORGET_ROWS = 100
SWEEP_SECONDS = 2.0
"""What another process left unsettled is found after so long."""


class SupportClock:
    """Runs in every worker; rows' locks keep them from doing anything twice."""

    def __init__(
        self,
        database: Database,
        settings: SupportSettings,
        *,
        outcomes: Outcomes,
        tickets: Tickets,
        messages: Messages,
        words: Wordings,
    ) -> None:
        self._database = database
        self._settings = settings
        self._outcomes = outcomes
        self._tickets = tickets
        self._messages = messages
        self._words = words
        self._settled: list[int] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def look(self, deliveries: Sequence[int]) -> None:
        """The engine has settled these steps."""
        self._settled += deliveries
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="support desk")

    async def close(self) -> None:
        await end(self._task)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        sweep_at = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._settle()
                await self.plan_due()
                if loop.time() >= sweep_at:
                    sweep_at = loop.time() + SWEEP_SECONDS
                    await self._outcomes.settle()
                    await self.mind_silence()
                    await self.forget()
            except TRANSIENT as error:
                log.debug("the support desk waits for the database: %s", error)
            except Exception:
                log.exception("the support desk failed, trying again")

    async def _settle(self) -> None:
        settled, self._settled = self._settled, []
        if settled:
            await self._outcomes.settle(settled)

    async def plan_due(self) -> None:
        """Send on what waited for its time: albums whose parts have all come."""
        await each(await self._database.pool.fetch(queries.DUE), self._plan, "sending on")

    async def _plan(self, row: Any) -> None:
        async with self._database.transaction() as connection:
            ticket = await self._tickets.lock(connection, row["ticket_id"])
            if ticket is not None:
                await self._messages.plan(connection, ticket)

    async def forget(self) -> None:
        """Remove what was closed long ago, with all that was said."""
        if self._settings.retention_days:
            await self._database.pool.execute(queries.FORGET, self._settings.retention_days, FORGET_ROWS)

    async def mind_silence(self) -> None:
        """Warn people who do not answer, and close what they left."""
        await each(await self._database.pool.fetch(queries.IDLE), self._mind, "minding the silence")

    async def _mind(self, row: Any) -> None:
        async with self._database.transaction() as connection:
            ticket = await self._tickets.lock(connection, row["id"])
            if ticket is None or not await connection.fetchval(queries.IS_IDLE, row["id"]):
                return
            if ticket["warned"]:
                await self._tickets.close(connection, ticket["id"], "inactivity")
                return
            hours = self._settings.close_hours
            await connection.execute(queries.WARN, ticket["id"], hours)
            await self._messages.say(connection, ticket, "person", self._words.warned(ticket, hours))
