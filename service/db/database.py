"""The connection pool and the one way to open a transaction."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

OUTAGE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalClientError,  # a statement that was cut off by a restart
)
"""What PostgreSQL being away, full or restarting looks like: wait and try again."""

TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, *OUTAGE)
"""Outages, and conflicts that a repeat of the statement resolves."""


CONNECT_SECONDS = 10.0
POOL_WAIT_SECONDS = 10.0
"""For a free connection of the pool, and for giving one back whose statement was cut off."""
_SESSION = {"application_name": "notifications", "timezone": "UTC", "jit": "off"}


class Database:
    """A pool of connections to one PostgreSQL.

    All times in the database are `timestamptz`; every session runs in UTC.
    """

    def __init__(self, dsn: str, *, pool_size: int = 10, command_timeout: float = 30.0) -> None:
        self.dsn = dsn
        self._pool_size = pool_size
        self._command_timeout = command_timeout
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect. Raises one of `OUTAGE` while PostgreSQL is away."""
        self._pool = await asyncpg.create_pool(
            self.dsn,
            min_size=1,
            max_size=self._pool_size,
            command_timeout=self._command_timeout,
            server_settings=_SESSION,
        )

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._pool is None:
            raise RuntimeError("the database is not open")
        return self._pool

    @asynccontextmanager
    async def connection(self, wait_seconds: float = POOL_WAIT_SECONDS) -> AsyncIterator[Connection]:
        """A connection on which each statement is a transaction of its own.

        Raises TimeoutError when none becomes free in that time.
        """
        async with self.pool.acquire(timeout=wait_seconds) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back on any exception."""
        async with self.pool.acquire(timeout=POOL_WAIT_SECONDS) as connection, connection.transaction():
            yield connection

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection outside the pool, for what holds one for long: LISTEN, advisory locks."""
        return await self._connect({})

    async def connect_ledger(self, *, plan_once: bool) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection for the engine's statements.

        They are all index look-ups for a batch of rows. While tables are young or grow fast the
        statistics tempt the planner into scans; these settings keep it from them. With `plan_once`
        a statement is planned for all arguments at its first use: half a millisecond less each time,
        where no argument changes what the best plan is.
        """
        return await self._connect(
            {
                "enable_seqscan": "off",
                "enable_hashjoin": "off",
                "enable_mergejoin": "off",
                "plan_cache_mode": "force_generic_plan" if plan_once else "auto",
            }
        )

    async def _connect(self, settings: dict[str, str]) -> "asyncpg.Connection[asyncpg.Record]":
        opening = asyncio.ensure_future(
            asyncpg.connect(
                self.dsn,
                timeout=CONNECT_SECONDS,
                command_timeout=self._command_timeout,
                server_settings={**_SESSION, **settings},
            )
        )
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # What is opened all the same must not be left behind.
            with contextlib.suppress(*OUTAGE):
                (await opening).terminate()
            raise

    async def ping(self) -> None:
        """Raises one of `OUTAGE` when PostgreSQL does not answer."""
        async with self.pool.acquire(timeout=3) as connection:
            await connection.execute("SELECT 1", timeout=3)
