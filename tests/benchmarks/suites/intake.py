"""HTTP intake: single messages and batches, beside an empty route and beside PostgreSQL's own COPY.

Our process has the role `api` only, so that nothing is sent meanwhile; every row and every event is
written as always.
"""

import asyncio
import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from tests.benchmarks import meters
from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage
from tests.support.net import free_port
from tests.support.service import ROOT
from tests.support.waiting import wait_blocking

SINGLE_CONNECTIONS = 50
BATCH_CONNECTIONS = 4
BATCH = 1_000
TABLES = ("notification", "delivery", "outbox")


async def intake(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """Single calls over 50 connections; batches of 1,000 over 4."""
    figures = Figures()
    for _ in range(count):
        with _empty_route() as (pid, port):
            await _load(port, SINGLE_CONNECTIONS, messages // 4, 0)
            await _measure(figures, "empty route", pid, port, SINGLE_CONNECTIONS, messages, 0)
        await _measure_ours(stage, figures, "ours, single", SINGLE_CONNECTIONS, messages, 0)
        await _measure_ours(stage, figures, "ours, batches", BATCH_CONNECTIONS, messages, BATCH)
    return figures, [
        Goal(
            "single / empty FastAPI route",
            "ours, single: messages/s",
            "empty route: messages/s",
            at_least=0.5,
        ),
        Goal("batches / COPY", "ours, batches: messages/s", "COPY: messages/s", at_least=0.3),
    ]


@contextmanager
def _empty_route() -> Iterator[tuple[int, int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.baselines.empty_fastapi", str(port)],
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        wait_blocking(lambda: meters.listens(port), 20, "the empty route listens")
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(10)


async def _measure_ours(
    stage: Stage, figures: Figures, name: str, connections: int, messages: int, batch: int
) -> None:
    async with Ours(stage, env={"ROLES": "api"}) as ours:
        await _load(ours.services[0].port, connections, messages // 4, batch)
        await ours.sql.execute(f"TRUNCATE {', '.join(TABLES)}; CHECKPOINT")
        before = ours.cpu()
        await _measure(
            figures, name, ours.services[0].pid, ours.services[0].port, connections, messages, batch
        )
        spent = ours.cpu()["PostgreSQL"] - before["PostgreSQL"]
        figures.add(f"{name}: PostgreSQL CPU us", spent / messages * 1e6)
        assert await ours.sql.fetchval("SELECT count(*) FROM notification") == messages
        assert await ours.sql.fetchval("SELECT count(*) FROM delivery WHERE status = 'queued'") == messages
        if batch:
            figures.add("COPY: messages/s", messages / await copy_seconds(ours.sql))


async def _measure(
    figures: Figures, name: str, pid: int, port: int, connections: int, messages: int, batch: int
) -> None:
    before = meters.cpu_seconds([pid])
    seconds = await _load(port, connections, messages, batch)
    figures.add(f"{name}: messages/s", messages / seconds)
    figures.add(f"{name}: own CPU us", (meters.cpu_seconds([pid]) - before) / messages * 1e6)


async def _load(port: int, connections: int, count: int, batch: int) -> float:
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.http_load", *map(str, (port, connections, count, batch)),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answer, _ = await load.communicate()
    assert load.returncode == 0, "the load process failed"
    return float(answer)


async def copy_seconds(sql: "asyncpg.Connection[asyncpg.Record]") -> float:
    """Empty the tables and put the same rows back, one COPY a table, in one commit."""
    kept = {table: io.BytesIO() for table in TABLES}
    for table, rows in kept.items():
        await sql.copy_from_table(table, output=rows)
        rows.seek(0)
    await sql.execute(f"TRUNCATE {', '.join(TABLES)}; CHECKPOINT")
    began = time.monotonic()
    async with sql.transaction():
        for table, rows in kept.items():
            await sql.copy_to_table(table, source=rows)
    return time.monotonic() - began
