"""Publishing events from the outbox: at least once, in order, by one process per transport."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from service.db.database import OUTAGE, Database
from service.delivery.events import Channel, OutgoingEvent, Publisher
from service.tasks import end

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 10
"""Each row holds the events of one commit, up to some thousand."""
POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
LOCK_SPACE = 0x0B0C


class _RefusedError(Exception):
    """The broker did not confirm; the rows stay."""


class Relay:
    """Moves one transport's outbox rows to its broker.

    The process that holds the transport's advisory lock publishes for all: order over replicas is
    then the order of the rows. A row is removed after the broker confirmed all its events; a crash
    in between publishes them again, recognisable by their `event_id`.
    """

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._leads = False

    @property
    def leads(self) -> bool:
        return self._leads

    def look(self) -> None:
        """There may be new rows."""
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"outbox {self._publisher.name}")

    async def close(self, seconds: float) -> None:
        """Publish what is there if the broker takes it within that time, then stop."""
        if self._task is None:
            return
        await end(self._task)
        if self._leads and self._publisher.ready:
            try:
                async with asyncio.timeout(seconds):
                    while await self._move():
                        pass
            except (_RefusedError, *OUTAGE) as error:
                log.warning("events wait in the outbox for the next start: %s", error)
        self._drop()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause = POLL_SECONDS
            if self._publisher.ready:
                try:
                    if await self._lead() and await self._move():
                        pause = 0.0
                except _RefusedError as refusal:
                    log.warning("%s did not take events, trying again: %s", self._publisher.name, refusal)
                    await asyncio.sleep(RETRY_SECONDS)
                except OUTAGE as error:
                    log.debug("the outbox is out of reach: %s", error)
                    self._drop()
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:
                    log.exception("the outbox could not be read, trying again")
                    self._drop()
                    await asyncio.sleep(RETRY_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _lead(self) -> bool:
        """Whether this process publishes: it holds the lock, or gets it now."""
        if self._connection is None:
            self._connection = await self._database.connect()
        if not self._leads:
            self._leads = await self._connection.fetchval(
                "SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK_SPACE, self._publisher.name
            )
        return self._leads

    def _drop(self) -> None:
        self._leads = False
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _move(self) -> bool:
        """Publish the next rows. False: there were none."""
        connection = self._connection
        if connection is None:
            return False
        rows = await connection.fetch(
            """SELECT id, channel, types, subjects, bodies FROM outbox
            WHERE transport = $1 ORDER BY id LIMIT $2""",
            self._publisher.name, ROWS_AT_ONCE,
        )  # fmt: skip
        if not rows:
            return False
        for channel, events in _by_channel(rows).items():
            try:
                await self._publisher.publish(channel, events)
            except Exception as error:
                raise _RefusedError(repr(error)) from error
        await connection.execute(
            "DELETE FROM outbox WHERE id = ANY($1::bigint[])", [row["id"] for row in rows]
        )
        return True


def _by_channel(rows: Iterable[Mapping[str, Any]]) -> dict[Channel, list[OutgoingEvent]]:
    events: dict[Channel, list[OutgoingEvent]] = {}
    for row in rows:
        batch = zip(row["types"], row["subjects"], row["bodies"], strict=True)
        events.setdefault(row["channel"], []).extend(
            OutgoingEvent(type_, subject, body.encode()) for type_, subject, body in batch
        )
    return events
