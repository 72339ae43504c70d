"""Bring the schema of a database to the version this code needs."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, MetaData

MODELS = (
    "service.access.models",
    "service.audience.models",
    "service.bot.models",
    "service.content.models",
    "service.delivery.models",
    "service.mailings.models",
    "service.support.models",
    "service.triggers.models",
)
"""The modules that define tables."""

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x6E6F7469_66790001  # any constant: the advisory lock under which one process migrates at a time


class SchemaTooNewError(RuntimeError):
    """The database was migrated by a newer version of the service."""


async def migrate(dsn: str) -> None:
    """Upgrade to the newest revision; any number of processes may do so at the same time.

    Raises `SchemaTooNewError`, or one of `service.db.database.OUTAGE` while PostgreSQL is away.
    """
    guard = await asyncpg.connect(dsn, timeout=10)
    try:
        if await _is_current(guard):
            return
        await guard.execute("SELECT pg_advisory_lock($1)", _LOCK)
        if not await _is_current(guard):
            await _upgrade(dsn)
    finally:
        await guard.close()


def newest() -> str:
    """The revision this code needs. File names tell it: Alembic takes half a second to import."""
    return max(path.name.partition("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*_*.py"))


def metadata() -> "MetaData":
    """All tables as the models define them."""
    from sqlmodel import SQLModel  # noqa: PLC0415 - slow to import, and seldom needed

    for module in MODELS:
        import_module(module)
    return SQLModel.metadata


def alembic_config(connection: "Connection") -> "Config":
    """Alembic's settings for one connection."""
    from alembic.config import Config  # noqa: PLC0415 - slow to import, and seldom needed

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes.update(connection=connection, metadata=metadata())
    return config


async def _is_current(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return False
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    if revision is not None and revision > newest():
        raise SchemaTooNewError(
            f"the database is at revision {revision}, this version of the service knows {newest()}: upgrade the service"
        )
    return bool(revision == newest())


async def _upgrade(dsn: str) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and seldom needed
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(dsn), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), "head"))
    finally:
        await engine.dispose()
