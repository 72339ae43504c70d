"""Word between processes, over PostgreSQL's LISTEN and NOTIFY.

A word only saves a wait: whoever misses one finds the same in the tables at its next poll.
"""

import asyncio
import logging
from collections.abc import Callable

from service.db.database import OUTAGE, Database
from service.tasks import end

log = logging.getLogger(__name__)

CHANNEL = "notifications"
PING_SECONDS = 5.0
Listener = Callable[[str, str], None]


class Wakeups:
    """Sends words (`topic`, `detail`) to every process and hands those that arrive to the listeners."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def say(self, topic: str, detail: str) -> None:
        """Tell every process, this one included. Silent when PostgreSQL is away."""
        try:
            await self._database.pool.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{topic} {detail}")
        except OUTAGE as error:
            log.debug("a wake-up was not sent: %s", error)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="wake-ups")

    async def close(self) -> None:
        await end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self._hear()
            except OUTAGE as error:
                log.debug("wake-ups are away: %s", error)
            except Exception:
                log.exception("listening failed, trying again")
            await asyncio.sleep(1)

    async def _hear(self) -> None:
        connection = await self._database.connect()
        try:
            await connection.add_listener(CHANNEL, self._received)
            while True:
                await asyncio.sleep(PING_SECONDS)
                await connection.execute("SELECT 1", timeout=PING_SECONDS)
        finally:
            connection.terminate()

    def _received(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        topic, _, detail = str(payload).partition(" ")
        for listener in self._listeners:
            listener(topic, detail)
