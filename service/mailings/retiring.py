"""What mailings leave behind: deliveries past their retention, and lists that nobody uses."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from service.db.database import Connection, Database
from service.mailings import queries

ROWS = 2_000
MEMBERS = 10_000


class Retiring:
    """`lists_in_use`: which of these uploaded lists something else will make mailings for."""

    def __init__(
        self,
        database: Database,
        *,
        retention_days: float,
        lists_in_use: Callable[[Connection, Sequence[UUID]], Awaitable[set[UUID]]],
    ) -> None:
        self._database = database
        self._retention = timedelta(days=retention_days)
        self._lists_in_use = lists_in_use

    async def step(self) -> bool:
        """Remove a batch. False: there is nothing."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(queries.RETIRABLE, datetime.now(UTC) - self._retention)
            if row is not None:
                await self._retire(connection, row)
                return True
            stray = await self._stray_list(connection)
            if stray is not None:
                await self._drop(connection, stray)
            return stray is not None

    async def _retire(self, connection: Connection, row: asyncpg.Record) -> None:
        if await connection.fetchval(queries.RETIRE, row["notification_id"], ROWS) < ROWS:
            await connection.execute("DELETE FROM notification WHERE id = $1", row["notification_id"])
            await connection.execute("UPDATE mailing SET retired_at = now() WHERE id = $1", row["id"])

    async def _stray_list(self, connection: Connection) -> UUID | None:
        lists = [row["id"] for row in await connection.fetch(queries.STRAY_LISTS)]
        used = await self._lists_in_use(connection, lists)
        return next((key for key in lists if key not in used), None)

    async def _drop(self, connection: Connection, stray: UUID) -> None:
        dropped = await connection.execute(queries.DROP_MEMBERS, stray, MEMBERS)
        if int(dropped.split()[-1]) < MEMBERS:
            await connection.execute("DELETE FROM audience_list WHERE id = $1", stray)
