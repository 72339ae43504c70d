"""Recipients: stored, looked up, listed, erased; their contacts one by one."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from service.audience import queries
from service.audience.profile import Preferences, Profile
from service.audience.upserting import Upserted, upsert
from service.db.database import Database
from service.db.pages import Page, Row, below, cut

WINDOW_ROWS = 20_000
_TRIES = 3


@dataclass(frozen=True, slots=True)
class RecipientFilter:
    """None means any."""

    locale: str | None = None
    sender: str | None = None
    address: str | None = None
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows about a person were removed, besides their own."""

    contacts: int
    mutes: int
    subscriptions: int


class Recipients:
    """Everything by external id. Each method is one transaction and raises one of `OUTAGE` without a database.

    The cost of a page does not grow with the tables: topic and address are found by an index, other filters
    are applied to a window of `window_rows` people, so that a page may be short while there is more.
    """

    def __init__(self, database: Database, *, window_rows: int = WINDOW_ROWS) -> None:
        self._database = database
        self._window_rows = window_rows

    async def upsert(self, people: Mapping[str, Profile]) -> Upserted:
        """Make or change these people; what a profile leaves out stays as it is."""
        for _ in range(_TRIES - 1):
            try:
                return await self._upsert(people)
            except asyncpg.DeadlockDetectedError:  # with the engine, which marks contacts
                continue
        return await self._upsert(people)

    async def _upsert(self, people: Mapping[str, Profile]) -> Upserted:
        async with self._database.transaction() as connection:
            return await upsert(connection, people)

    async def set_preferences(self, external_id: str, preferences: Preferences) -> bool:
        """Replace them all. False: nobody has that id."""
        said = Profile(**preferences.model_dump())
        async with self._database.transaction() as connection:
            if not await connection.fetch(queries.LOCK, [external_id]):
                return False
            await upsert(connection, {external_id: said})
        return True

    async def get(self, external_id: str) -> Row | None:
        """What is known of a person."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(queries.PROFILES, [external_id])

    async def subscriptions(self, external_id: str) -> list[Row]:
        """The topics of a person: name, at."""
        async with self._database.connection() as connection:
            rows: list[Row] = await connection.fetch(queries.SUBSCRIPTIONS, external_id)
            return rows

    async def page(self, chosen: RecipientFilter, before: int | None, limit: int) -> Page[Row]:
        """People, the newest first."""
        kind, near, far = _ways(chosen)
        window = self._window_rows if any(far) else limit + 1
        start = below(before)
        async with self._database.connection() as connection:
            rows = await connection.fetch(queries.PAGES[kind], start, window, *near, *far, limit + 1)
            if len(rows) > limit or not any(far):
                return cut(rows, limit)
            return Page(rows, await connection.fetchval(queries.WINDOW_ENDS[kind], start, window, *near))

    async def erase(self, external_id: str) -> Erased | None:
        """Remove a person and everything about them. None: nobody has that id."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(queries.ERASE, external_id)
        return None if row is None else Erased(row["contacts"], row["mutes"], row["subscriptions"])

    async def add_contact(self, external_id: str, sender: str, address: str) -> bool:
        """Add it behind the others, or make it active again. False: nobody has that id."""
        async with self._database.transaction() as connection:
            added = await connection.fetchval(queries.ADD_CONTACT, external_id, sender, address)
        return added is not None

    async def remove_contact(self, external_id: str, contact_id: int) -> bool:
        """False: this person has no such contact."""
        return await self._one_contact(queries.REMOVE_CONTACT, external_id, contact_id)

    async def activate(self, external_id: str, contact_id: int) -> bool:
        """False: this person has no such contact."""
        return await self._one_contact(queries.ACTIVATE_CONTACT, external_id, contact_id)

    async def deactivate(self, external_id: str, contact_id: int, reason: str) -> bool:
        """False: this person has no such contact. What is inactive gets the new reason."""
        return await self._one_contact(queries.DEACTIVATE_CONTACT, external_id, contact_id, reason)

    async def _one_contact(self, statement: str, *values: object) -> bool:
        async with self._database.transaction() as connection:
            return await connection.fetchval(statement, *values) is not None


def _ways(chosen: RecipientFilter) -> tuple[str, tuple[str | None, str | None], tuple[str | None, ...]]:
    """The window's kind, the values of its index, and the filters that are left: locale, sender, topic."""
    if chosen.address is not None:
        return "address", (chosen.address, chosen.sender), (chosen.locale, None, chosen.topic)
    if chosen.topic is not None:
        return "topic", (chosen.topic, None), (chosen.locale, chosen.sender, None)
    return "all", (None, None), (chosen.locale, chosen.sender, None)
