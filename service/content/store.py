"""Saving and listing templates. Versions are never changed: going back makes a new one."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Literal

import orjson

from service.content import queries
from service.content.templates import TemplateVersion, load_current, version_of
from service.db.database import Connection, Database
from service.db.pages import Page, cut

State = Literal["used", "archived", "all"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A template with its current version. `id` orders the list."""

    id: int
    current: TemplateVersion
    archived_at: datetime | None


class Templates:
    """Every method raises one of `OUTAGE` while PostgreSQL is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, draft: TemplateVersion, author: str) -> tuple[TemplateVersion, bool]:
        """The new current version, and whether one was made: the same content again makes none."""
        async with self._database.transaction() as connection:
            claimed = await connection.fetchrow(queries.CLAIM_TEMPLATE, draft.key)
            if claimed is None:
                raise RuntimeError("an upsert returned no row")
            if claimed["archived_at"] is None:
                current = (await load_current(connection, [draft.key])).get(draft.key)
                if current is not None and current.content == draft.content:
                    return current, False
            else:
                await connection.execute(queries.REVIVE_TEMPLATE, claimed["id"])
            return await _insert(connection, claimed["id"], draft, author), True

    async def current(self, key: str) -> TemplateVersion | None:
        """None: unknown or archived."""
        async with self._database.connection() as connection:
            return (await load_current(connection, [key])).get(key)

    async def version(self, key: str, number: int) -> TemplateVersion | None:
        """One version, of an archived template too."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(queries.LOAD_NUMBER, key, number)
        return None if row is None else version_of(row)

    async def page(self, before: int | None, limit: int, *, state: State) -> Page[Listed]:
        """The newest templates, with their current versions."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(queries.LIST_TEMPLATES, before, limit + 1, state)
        listed = [Listed(row["template_id"], version_of(row), row["archived_at"]) for row in rows]
        return cut(listed, limit, attrgetter("id"))

    async def versions(self, key: str, before: int | None, limit: int) -> Page[TemplateVersion]:
        """The newest versions of one template."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(queries.LIST_VERSIONS, key, before, limit + 1)
        return cut([version_of(row) for row in rows], limit, attrgetter("number"))

    async def archive(self, key: str) -> bool:
        """Take it out of use. False: it was not in use."""
        async with self._database.connection() as connection:
            return await connection.fetchval(queries.ARCHIVE_TEMPLATE, key) is not None


async def _insert(
    connection: Connection, template_id: int, draft: TemplateVersion, author: str
) -> TemplateVersion:
    row = await connection.fetchrow(
        queries.INSERT_VERSION,
        template_id,
        author,
        draft.default_locale,
        orjson.dumps([asdict(param) for param in draft.params]).decode(),
        orjson.dumps([asdict(variant) for variant in draft.variants]).decode(),
    )
    if row is None:
        raise RuntimeError("an insert returned no row")
    return replace(draft, id=row["id"], number=row["number"], author=author, created_at=row["created_at"])
