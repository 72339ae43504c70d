"""The embedded PostgreSQL dies under the service: it is started again, and everything goes on."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from service.db.embedded import EmbeddedPostgres
from tests.faults.support import FULL_TIMEOUT, QUICK, UNPACED, Stopwatch, arrived, settled, size, tell
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

KILLS = size(2, 6)
MESSAGES = 40
"""Between two kills."""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not in pytest's own folder, which is closed to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="notifications-faults-") as name:
        yield Path(name)
        if (Path(name) / "postgres").exists():
            # A test that failed may have left the server behind: taken over, it is stopped.
            left = EmbeddedPostgres(Path(name) / "postgres")
            left.start()
            left.stop()


@pytest.fixture
def service(folder: Path, tmp_path: Path, telegram: TelegramProcess) -> Iterator[Service]:
    env = {**QUICK, **UNPACED, **telegram.env, "DATABASE_DATA_DIR": str(folder)}
    process = Service(tmp_path, env)
    yield process.start()
    process.close()


async def _post(service: Service, body: str) -> None:
    """Until it is accepted, under the same id."""
    request = {"id": body, "body": body, "sender": "TG", "to": "42"}

    async def accepted() -> bool:
        answer = await service.acall("POST", "/v1/notifications", request)
        return answer.status in (HTTPStatus.ACCEPTED, HTTPStatus.OK)

    await wait_until(accepted, 60, f"{body} is accepted")


async def test_a_killed_server_is_started_again_and_nothing_is_lost(
    service: Service, folder: Path, telegram: TelegramProcess
) -> None:
    data = folder / "postgres/postgresql-18"
    url = f"postgresql://postgres@/postgres?host={data}&port=5432"
    slowest = 0.0
    for turn in range(KILLS):
        pid = int((data / "postmaster.pid").read_text().split()[0])
        load = [asyncio.create_task(_post(service, f"{turn}-{number}")) for number in range(MESSAGES)]
        os.kill(pid, signal.SIGKILL)
        watch = Stopwatch()
        await asyncio.gather(*load)
        slowest = max(slowest, watch.seconds)
        assert int((data / "postmaster.pid").read_text().split()[0]) != pid
    expected = {f"{turn}-{number}" for turn in range(KILLS) for number in range(MESSAGES)}
    texts = await arrived(telegram, expected, 60)
    await settled(url)
    await asyncio.to_thread(service.wait_ready)
    assert service.logs().count("the embedded PostgreSQL runs again") == KILLS
    tell(
        "embedded PostgreSQL: killed", kills=KILLS, messages=len(texts), slowest_back_after=f"{slowest:.1f} s"
    )
