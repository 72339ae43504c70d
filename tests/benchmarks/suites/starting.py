"""How long it takes until the service works, and until the command line answers."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage
from tests.support.service import ROOT, Service


async def starting(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """With a database that is there; for the first time, with the embedded one; and `--help`."""
    del messages
    figures = Figures()
    for _ in range(count):
        await _start(stage, figures)
        figures.add("first start ever, embedded PostgreSQL: ready s", await asyncio.to_thread(_first_start))
        figures.add("--help s", await asyncio.to_thread(_help))
    return figures, [
        Goal("start to ready, s", "start: ready s", at_most=5.0),
        Goal("start to first message, s", "start: first message s"),
        Goal("--help, s", "--help s", at_most=0.5),
    ]


async def _start(stage: Stage, figures: Figures) -> None:
    """A message waits in the queue already."""
    ours = Ours(stage)
    await stage.declare_queue(ours.queue)
    await ours.publish(range(1))
    stage.fake.begin()
    began = time.monotonic()
    async with ours:
        figures.add("start: ready s", time.monotonic() - began)
        await stage.fake.wait_for(1, 30)
        figures.add("start: first message s", stage.fake.arrivals().times[0] - began)
        await ours.settled()


def _first_start() -> float:
    with tempfile.TemporaryDirectory(prefix="notifications-bench-") as folder:
        service = Service(Path(folder), {"DATABASE_DATA_DIR": folder, "LOG_LEVEL": "WARNING"})
        began = time.monotonic()
        service.start(deadline=60)
        taken = time.monotonic() - began
        service.close()
    return taken


def _help() -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "service", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - began
