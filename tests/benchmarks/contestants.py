"""Who is measured: the service and the baselines, each as processes of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.benchmarks import messages, meters
from tests.benchmarks.fake import TOKEN
from tests.benchmarks.stage import Stage
from tests.support.service import ROOT

STOP_SECONDS = 40.0
_BASELINES = "tests.benchmarks.baselines"


class Contestant:
    """Brings the messages of a queue to the provider. `async with` starts it and, at the end, stops it
    and looks whether the queue is empty.
    """

    name = ""
    command: Sequence[str] = ()
    share = 1.0
    """Of the messages of a run: slow ones get fewer."""

    def __init__(self, stage: Stage, *, prefetch: int = 100, concurrency: int = 50) -> None:
        self._stage = stage
        self.queue = stage.unused_name(self.name)
        self._limits = {"PREFETCH": str(prefetch), "CONCURRENCY": str(concurrency)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> list[int]:
        """The roots of its process trees; each leads a process group."""
        return [] if self._process is None else [self._process.pid]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        await self.stop()
        if error is None:
            left = await self._stage.depth(self.queue)
            assert not left, f"{left} messages of {self.name} are still in the queue"
            await self._stage.delete_queue(self.queue)

    async def start(self) -> None:
        await self._stage.declare_queue(self.queue)
        self.launch()

    def launch(self) -> None:
        with (self._stage.folder / f"{self.queue}.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command], cwd=ROOT, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def environment(self) -> Mapping[str, str]:
        own = {"AMQP_URL": self._stage.rabbit.url, "QUEUE": self.queue}
        bot = {"TG_API_URL": self._stage.fake.url, "TG_BOT_TOKEN": TOKEN}
        return {"PATH": os.environ["PATH"], "HOME": str(self._stage.folder), **own, **bot, **self._limits}

    async def stop(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    async def publish(self, numbers: range) -> None:
        await messages.publish(self._stage.amqp, self.queue, messages.bodies(numbers))

    async def settled(self) -> None:
        """Return when nothing is left to do for what the provider got."""

    def freeze(self) -> None:
        """Stop its processes where they are, so that a queue can be filled without their work being counted."""
        for pid in self.pids:
            os.killpg(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.pids:
            os.killpg(pid, signal.SIGCONT)

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: of its own processes, and of the servers."""
        return {
            "own": meters.cpu_seconds(self.pids),
            "PostgreSQL": meters.cpu_seconds([self._stage.postgres.pid]),
            "RabbitMQ": meters.cpu_seconds([self._stage.rabbit.pid]),
            "provider": meters.cpu_seconds([self._stage.fake.pid]),
        }


class Minimal(Contestant):
    name = "A"
    command = (f"{_BASELINES}.minimal",)


class FastStreamAiogram(Contestant):
    name = "C1"
    command = (f"{_BASELINES}.faststream_aiogram",)
    share = 0.25


class TaskQueue(Contestant):
    """One with a message format of its own: it publishes and declares its queue itself."""

    async def start(self) -> None:
        self.launch()

    async def publish(self, numbers: range) -> None:
        module = next(word for word in self.command if word.startswith(_BASELINES))
        publishing = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            str(numbers.start),
            str(len(numbers)),
            cwd=ROOT,
            env=self.environment,
        )
        assert await publishing.wait() == 0, f"{self.name} cannot publish"


class CeleryApprise(TaskQueue):
    name = "B"
    command = (
        "celery",
        "-A",
        f"{_BASELINES}.celery_apprise",
        "worker",
        "-P",
        "prefork",
        "-c",
        "2",
        "-l",
        "WARNING",
    )
    share = 0.1


class DramatiqRequests(TaskQueue):
    name = "C2"
    command = ("dramatiq", f"{_BASELINES}.dramatiq_requests", "-p", "2", "-t", "8")
    share = 0.25
