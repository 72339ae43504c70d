"""Topics, and who is subscribed to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.audience import queries
from service.db.database import Database
from service.db.pages import Page, Row, below, cut

SUBSCRIBERS_COUNT_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Subscribed:
    """How many were subscribed now, how many were before, and the ids that nobody has."""

    fresh: int
    before: int
    unknown: Sequence[str]


class Topics:
    """Topics by name. Every method raises one of `OUTAGE` while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, name: str, title: str) -> bool:
        """Make it, or change its title. True: it is new."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(queries.INSERT_TOPIC, name, title)
        return bool(row and row["created"])

    async def get(self, name: str) -> Row | None:
        """It, with the number of its subscribers up to `SUBSCRIBERS_COUNT_LIMIT`."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(queries.TOPIC, SUBSCRIBERS_COUNT_LIMIT, name)

    async def page(self, before: int | None, limit: int) -> Page[Row]:
        """Topics, the newest first."""
        values = (SUBSCRIBERS_COUNT_LIMIT, below(before), limit + 1)
        async with self._database.connection() as connection:
            return cut(await connection.fetch(queries.TOPICS, *values), limit)

    async def delete(self, name: str) -> bool:
        """Remove it and its subscriptions. False: there was none."""
        async with self._database.connection() as connection:
            return await connection.fetchval(queries.DELETE_TOPIC, name) is not None

    async def subscribe(self, name: str, external_id: str) -> bool | None:
        """True: subscribed now; False: was before; None: there is no such topic or no such person."""
        async with self._database.connection() as connection:
            fresh: bool | None = await connection.fetchval(queries.SUBSCRIBE, name, external_id)
            return fresh

    async def subscribe_many(self, name: str, external_ids: Sequence[str]) -> Subscribed | None:
        """In one statement. None: there is no such topic."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(queries.SUBSCRIBE_MANY, name, external_ids)
        if row is None:
            return None
        known = set(row["known"])
        unknown = [external_id for external_id in dict.fromkeys(external_ids) if external_id not in known]
        return Subscribed(row["fresh"], len(known) - row["fresh"], unknown)

    async def unsubscribe(self, name: str, external_id: str) -> bool:
        """False: they were not subscribed."""
        async with self._database.connection() as connection:
            return await connection.fetchval(queries.UNSUBSCRIBE, name, external_id) is not None

    async def subscribers(self, name: str, before: int | None, limit: int) -> Page[Row]:
        """Who is subscribed: id, external_id, name, at; those that were made last first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(queries.TOPIC_SUBSCRIBERS, name, below(before), limit + 1)
        return cut(rows, limit)
