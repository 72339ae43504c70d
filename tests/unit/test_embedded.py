"""The embedded PostgreSQL: data stay, users share it, a killed user does no harm."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from service.db import embedded
from service.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.support.waiting import wait_blocking

pytestmark = pytest.mark.slow

_USE_AND_HANG = """
import sys, time
from pathlib import Path
from service.db.embedded import EmbeddedPostgres
EmbeddedPostgres(Path(sys.argv[1])).start()
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="notifications-tests-") as name:
        path = Path(name) / "data with space"
        yield path
        if (path / "postgresql-18").exists():
            last = EmbeddedPostgres(path)
            last.start()
            last.stop()


async def _run(dsn: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


def _servers(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(folder / "postgresql-18") in (process.info["cmdline"] or [])
        and process.status() != psutil.STATUS_ZOMBIE
    ]


async def test_data_survive_a_restart(folder: Path) -> None:
    first = EmbeddedPostgres(folder)
    await _run(first.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    first.stop()
    assert _servers(folder) == []
    second = EmbeddedPostgres(folder)
    assert (await _run(second.start(), "SELECT answer FROM kept"))[0]["answer"] == 42
    second.stop()


async def test_the_last_user_stops_it(folder: Path) -> None:
    first, second = EmbeddedPostgres(folder), EmbeddedPostgres(folder)
    dsn = first.start()
    assert second.start() == dsn
    first.stop()
    assert (await _run(dsn, "SELECT 1 AS one"))[0]["one"] == 1
    second.stop()
    assert _servers(folder) == []


async def test_a_killed_user_is_forgotten(folder: Path) -> None:
    user = subprocess.Popen([sys.executable, "-c", _USE_AND_HANG, str(folder)], stdout=subprocess.PIPE)
    with user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"started\n"
        user.send_signal(signal.SIGKILL)
        user.wait(10)
    survivor = EmbeddedPostgres(folder)
    assert await _run(survivor.start(), "SELECT 1")
    survivor.stop()
    assert _servers(folder) == []


async def test_it_starts_after_a_crash_of_the_server_and_with_a_reused_process_id(folder: Path) -> None:
    first = EmbeddedPostgres(folder)
    await _run(first.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    pid_file = first.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    psutil.Process(int(lines[0])).kill()
    wait_blocking(lambda: not _servers(folder))
    pid_file.write_text("\n".join(["1", *lines[1:]]))
    second = EmbeddedPostgres(folder)
    assert (await _run(second.start(), "SELECT answer FROM kept"))[0]["answer"] == 42
    first.stop()
    second.stop()


async def test_a_server_that_does_not_start_again_is_tried_until_it_does(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = EmbeddedPostgres(folder)
    dsn = server.start()
    settings = server.data / "postgresql.conf"
    right = settings.read_text()
    with caplog.at_level("INFO", "service.db.embedded"), server.kept_running():
        settings.write_text("no such setting\n")
        psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0])).kill()
        wait_blocking(lambda: "does not start" in caplog.text, 30)
        settings.write_text(right)
        wait_blocking(lambda: "runs again" in caplog.text, 30)
        assert await _run(dsn, "SELECT 1")
    server.stop()
    assert _servers(folder) == []


async def test_a_path_too_long_for_a_socket(folder: Path) -> None:
    deep = EmbeddedPostgres(folder.parent / ("x" * 120))
    try:
        assert await _run(deep.start(), "SELECT 1")
    finally:
        deep.stop()


def test_data_of_another_major_version_are_not_passed_over(folder: Path) -> None:
    (folder / "postgresql-17").mkdir(parents=True)
    with pytest.raises(EmbeddedPostgresError, match="postgresql-17"):
        EmbeddedPostgres(folder).start()


def test_without_the_extra_the_error_names_the_way_out(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "find_spec", lambda name: None)
        with pytest.raises(EmbeddedPostgresError, match="DATABASE_URL"):
            EmbeddedPostgres(folder).start()
