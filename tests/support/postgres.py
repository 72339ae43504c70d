"""A real PostgreSQL for the tests: one server a session, databases as copies of a migrated one."""

import asyncio
import itertools
import os
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from service.db.embedded import EmbeddedPostgres
from service.db.migrate import migrate

T = TypeVar("T")

# The server is thrown away after the session: nothing of it has to outlive a power cut.
THROWAWAY = {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from blocking code, whether or not this thread has an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class PostgresForTests:
    """Start it, then take databases from it; each is dropped when its `with` ends."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedPostgres(folder, THROWAWAY)
        self._numbers = itertools.count(1)

    def start(self) -> None:
        self._dsn = self.server.start()
        self._sql("CREATE DATABASE migrated")
        run_apart(migrate(self.url_of("migrated")))

    def stop(self) -> None:
        self.server.stop()

    def url_of(self, name: str) -> str:
        return self._dsn.replace("/postgres?", f"/{name}?")

    @contextmanager
    def database(self, template: str = "migrated") -> Iterator[str]:
        """The URL of a fresh database; `template0` makes one without tables."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url_of(name)
        finally:
            self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _sql(self, statement: str) -> None:
        async def execute() -> None:
            connection = await asyncpg.connect(self._dsn)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        run_apart(execute())
