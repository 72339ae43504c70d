"""Old entries of the audit trail leave, the rest stays."""

from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from service.access.audit import BATCH_ROWS, Audit, AuditRetention
from service.app import build
from service.db.database import Database
from service.settings import AuthSettings, DatabaseSettings, Settings
from tests.support.waiting import wait_until


async def _write(database: Database, action: str, age: timedelta, count: int = 1) -> None:
    await database.pool.execute(
        """INSERT INTO audit_entry (at, actor, action, details)
        SELECT $1, 'key', $2, '{}' FROM generate_series(1, $3)""",
        datetime.now(UTC) - age,
        action,
        count,
    )


async def test_what_is_older_than_the_setting_leaves(database: Database) -> None:
    await _write(database, "old", timedelta(days=8), 2 * BATCH_ROWS + 1)
    await _write(database, "young", timedelta(days=6))
    app = build(
        Settings(
            database=DatabaseSettings(url=SecretStr(database.dsn)), auth=AuthSettings(audit_retention_days=7)
        )
    )
    await app.start()
    try:

        async def left() -> bool:
            return [entry.action for entry in (await Audit(database).page()).rows] == ["young"]

        await wait_until(left, message="only the young entry is left")
    finally:
        await app.stop()


async def test_none_leaves_with_zero(database: Database) -> None:
    await _write(database, "old", timedelta(days=8_000))
    retention = AuditRetention(database, 0)
    retention.start()
    await retention.close()
    assert len((await Audit(database).page()).rows) == 1
