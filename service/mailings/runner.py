"""Moves mailings on: runs in every worker, and takes the one that has waited longest for its turn."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from service.db.database import TRANSIENT, Database
from service.delivery.planning import Planner
from service.delivery.wakeups import Wakeups
from service.mailings import queries
from service.mailings.metrics import MailingMetrics
from service.mailings.retiring import Retiring
from service.mailings.turn import Turn
from service.settings import MailingSettings
from service.tasks import end

log = logging.getLogger(__name__)

WORD = "mailing"
"""What is said to every process when there is a mailing to look at."""
RETRY_SECONDS = 1.0
REST_SECONDS = 60.0
RETIRE_SECONDS = 60.0


class Runner:
    """Looks at mailings when it is time, and otherwise asks once in a while. `look`: these senders have something to do."""

    def __init__(
        self,
        database: Database,
        planner: Planner,
        wakeups: Wakeups,
        *,
        settings: MailingSettings,
        transports: Sequence[str],
        look: Callable[[set[str]], None],
        retiring: Retiring,
        metrics: MailingMetrics,
    ) -> None:
        self._database = database
        self._planner = planner
        self._settings = settings
        self._transports = list(transports)
        self._look = look
        self._retiring = retiring
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._rest_until: dict[UUID, float] = {}
        self._retire_at = 0.0
        self._task: asyncio.Task[None] | None = None
        wakeups.listen(self._received)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="mailings")

    async def close(self) -> None:
        await end(self._task)

    def _received(self, topic: str, _detail: str) -> None:
        if topic == WORD:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while await self.step():
                    pass
                await self._clean_up()
                delay = await self._soonest()
            except TRANSIENT as error:
                log.debug("mailings wait for the database: %s", error)
                delay = RETRY_SECONDS
            except Exception:
                log.exception("a mailing could not be moved on, others go on")
                delay = RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    async def step(self) -> bool:
        """Look at one mailing whose time has come. False: there is none."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(queries.NEXT, self._resting())
            if row is None:
                return False
            turn = Turn(connection, row, self._planner, self._settings, self._transports)
            try:
                await turn.take()
            except TRANSIENT:
                raise
            except Exception:
                self._rest_until[row["id"]] = time.monotonic() + REST_SECONDS
                raise
        self._metrics.made.inc(turn.made)
        if turn.senders:
            self._look(turn.senders)
        return True

    def _resting(self) -> list[UUID]:
        """Mailings that failed lately: they must not hold up the others."""
        now = time.monotonic()
        self._rest_until = {key: until for key, until in self._rest_until.items() if until > now}
        return list(self._rest_until)

    async def _soonest(self) -> float:
        """How long there is nothing to look at, seconds."""
        async with self._database.connection() as connection:
            due: float | None = await connection.fetchval(queries.SOONEST, self._resting())
        return self._settings.poll_seconds if due is None else min(max(due, 0.0), self._settings.poll_seconds)

    async def _clean_up(self) -> None:
        """Now and then: what is past its retention, and lists that nobody uses."""
        if time.monotonic() < self._retire_at:
            return
        while await self._retiring.step():
            pass
        self._retire_at = time.monotonic() + RETIRE_SECONDS
