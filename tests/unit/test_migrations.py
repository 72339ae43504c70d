"""The migrations make exactly the tables of the models, whoever runs them and however often."""

import asyncio
import subprocess
import sys

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from service.db.migrate import SchemaTooNewError, alembic_config, metadata, migrate, newest


def _differences(connection: Connection) -> list[object]:
    found: list[object] = compare_metadata(MigrationContext.configure(connection), metadata())
    return found


async def _tables(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return sorted(row["tablename"] for row in rows)
    finally:
        await connection.close()


async def test_the_migrated_schema_is_that_of_the_models(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(empty_database_url)
    )
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_check_constraints_are_those_of_the_models(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    rows = await connection.fetch(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    )
    await connection.close()
    from sqlalchemy import CheckConstraint

    expected = {
        constraint.name
        for table in metadata().tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert {row["conname"] for row in rows} == expected


async def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    tables = await _tables(empty_database_url)
    await migrate(empty_database_url)
    assert await _tables(empty_database_url) == tables


async def test_replicas_that_start_together_migrate_once(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert "delivery" in await _tables(empty_database_url)


async def test_a_newer_schema_is_refused(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(SchemaTooNewError, match="9999"):
        await migrate(empty_database_url)


async def test_the_newest_revision_is_the_one_head(empty_database_url: str) -> None:
    def heads(connection: Connection) -> list[str]:
        return list(ScriptDirectory.from_config(alembic_config(connection)).get_heads())

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(empty_database_url)
    )
    async with engine.connect() as connection:
        assert await connection.run_sync(heads) == [newest()]
    await engine.dispose()


def test_an_up_to_date_database_costs_no_import_of_alembic(database_url: str) -> None:
    program = (
        "import asyncio, sys; from service.db.migrate import migrate;"
        f"asyncio.run(migrate({database_url!r})); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
