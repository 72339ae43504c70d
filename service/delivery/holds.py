"""Notifications of which nothing may be sent for now, whoever has their deliveries in hand.

What is held waits in the table with its times moved by `HOLD_SECONDS`: due long after everybody has
forgotten it, in nobody's way, and back in its old order when the same is taken off again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import UUID

from service.db.database import TRANSIENT, Connection, Database
from service.delivery.wakeups import CHANNEL, Wakeups
from service.tasks import end

log = logging.getLogger(__name__)

HOLD_SECONDS = 20 * 365 * 86_400
HELD = f"due_at > now() + interval '{HOLD_SECONDS // 2} seconds'"
"""A condition on a queued delivery: it is held."""
POLL_SECONDS = 1.0
_TOPIC = "hold"
_SAY = "SELECT pg_notify($1, $2)"


async def hold(connection: Connection, notification_id: UUID) -> None:
    """Nothing of it is sent any more once this is committed, and known to the other processes."""
    await connection.execute(
        "INSERT INTO hold (notification_id, since) VALUES ($1, now()) ON CONFLICT DO NOTHING", notification_id
    )
    await connection.execute(_SAY, CHANNEL, _TOPIC)


async def let_go(connection: Connection, notification_id: UUID) -> None:
    """The reverse. Whoever held its deliveries has to take their times back too."""
    await connection.execute("DELETE FROM hold WHERE notification_id = $1", notification_id)
    await connection.execute(_SAY, CHANNEL, _TOPIC)


class Holds:
    """A copy of the `hold` table, refreshed by word and by poll."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._held: frozenset[UUID] = frozenset()
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._stale = asyncio.Event()
        wakeups.listen(self._received)

    def __contains__(self, notification_id: UUID) -> bool:
        return notification_id in self._held

    def on_new(self, listener: Callable[[], None]) -> None:
        """Call it when something is held that was not."""
        self._listeners.append(listener)

    async def start(self) -> None:
        await self._refresh()
        self._task = asyncio.create_task(self._run(), name="holds")

    async def close(self) -> None:
        await end(self._task)

    def _received(self, topic: str, _detail: str) -> None:
        if topic == _TOPIC:
            self._stale.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._stale.wait()
            self._stale.clear()
            try:
                await self._refresh()
            except TRANSIENT as error:
                log.debug("holds are not known anew: %s", error)
            except Exception:
                log.exception("holds could not be read, trying again")

    async def _refresh(self) -> None:
        rows = await self._database.pool.fetch("SELECT notification_id FROM hold")
        held = frozenset(row["notification_id"] for row in rows)
        new = held - self._held
        self._held = held
        if new:
            for listener in self._listeners:
                listener()
