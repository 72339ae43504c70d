"""The audit trail: who did what to what, when, and how it ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import orjson

from service.access.principal import Principal
from service.db.database import Database
from service.db.pages import Page, cut
from service.db.upkeep import keep_up
from service.tasks import end

BATCH_ROWS = 1_000
LOOK_SECONDS = 600.0

_BEGIN = """
INSERT INTO audit_entry (at, actor, action, target, details)
VALUES (now(), $1, $2, $3, $4::jsonb) RETURNING id
"""
_END = "UPDATE audit_entry SET outcome = $2, details = details || $3::jsonb WHERE id = $1"
_PAGE = """
SELECT id, at, actor, action, target, details, outcome FROM audit_entry
WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2
"""
# Ids are given in the order of time, so what is old is at their beginning.
_RETIRE = """
DELETE FROM audit_entry WHERE at < $1 AND id IN (SELECT id FROM audit_entry ORDER BY id LIMIT $2)
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One management write. `outcome`: done, an error's code, interrupted, or None while it runs or was cut off."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str | None
    details: dict[str, Any]
    outcome: str | None


class Audit:
    """Writes and lists the trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def entry(
        self, who: Principal, action: str, target: str | None = None, **details: object
    ) -> AsyncIterator[dict[str, Any]]:
        """Record a write around doing it: nothing is done that could not be recorded first.

        What is put into the yielded dictionary is recorded with the outcome.
        """
        async with self._database.connection() as connection:
            entry_id = await connection.fetchval(_BEGIN, who.name, action, target, _json(details))
        results: dict[str, Any] = {}
        outcome = "interrupted"
        try:
            yield results
            outcome = "done"
        except Exception as error:
            outcome = getattr(error, "code", "error")
            raise
        finally:
            async with self._database.connection() as connection:
                await connection.execute(_END, entry_id, outcome, _json(results))

    async def page(self, before: int | None = None, limit: int = 100) -> Page[Entry]:
        """The newest entries."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, before, limit + 1)
        entries = [Entry(**{**row, "details": orjson.loads(row["details"])}) for row in rows]
        return cut(entries, limit, attrgetter("id"))


class AuditRetention:
    """Removes entries that are older than `days`; 0: none. Runs in every worker; two at once do no harm."""

    def __init__(self, database: Database, days: float) -> None:
        self._database = database
        self._days = days
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._days:
            keeping = keep_up(
                "the retention of the audit trail", (self._retire, BATCH_ROWS), every_seconds=LOOK_SECONDS
            )
            self._task = asyncio.create_task(keeping, name="retention of the audit trail")

    async def close(self) -> None:
        await end(self._task)

    async def _retire(self) -> int:
        """Remove old entries; returns how many, at most a batch."""
        before = datetime.now(UTC) - timedelta(days=self._days)
        async with self._database.connection() as connection:
            tag = await connection.execute(_RETIRE, before, BATCH_ROWS)
        return int(tag.rpartition(" ")[2])


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value, default=str).decode()
