"""The service itself as a contestant: real processes, and everything it stores is counted afterwards."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import ExitStack
from types import MappingProxyType

import asyncpg

from tests.benchmarks import meters
from tests.benchmarks.contestants import STOP_SECONDS, Contestant
from tests.benchmarks.fake import TOKEN
from tests.benchmarks.stage import Stage
from tests.support.service import Service
from tests.support.waiting import wait_until

EVENTS = "notifications.events"
EVENTS_EACH = 2  # accepted, sent
_SETTLE_SECONDS = 60
_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
_SETTLED = """
SELECT NOT EXISTS (SELECT FROM delivery WHERE status IN ('queued', 'sending')) AND NOT EXISTS (SELECT FROM outbox)
"""


class Ours(Contestant):
    """`replicas` processes on one database and one queue; `events_kept`: a durable queue takes their events."""

    name = "ours"

    def __init__(
        self,
        stage: Stage,
        *,
        replicas: int = 1,
        events_kept: bool = False,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(stage)
        self._replicas = replicas
        self._events = f"{self.queue}.events" if events_kept else None
        self._env = env
        self._closing = ExitStack()
        self.services: list[Service] = []

    @property
    def pids(self) -> list[int]:
        return [service.pid for service in self.services if service.running]

    async def start(self) -> None:
        await self._stage.declare_queue(self.queue)
        if self._events is not None:
            await self._keep_events(self._events)
        self.url = self._closing.enter_context(self._stage.postgres.database())
        self.sql = await asyncpg.connect(self.url)
        self.services = [Service(self._stage.folder, self.environment) for _ in range(self._replicas)]
        for service in self.services:
            service.start(ready=False)
        for service in self.services:
            await asyncio.to_thread(service.wait_ready)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **self._stage.rabbit.env,
            "RABBITMQ_QUEUE_NAME": self.queue,
            "DATABASE_URL": self.url,
            "TG_API_URL": self._stage.fake.url,
            "TG_BOT_TOKEN": TOKEN,
            "ROLES": "api,worker",
            **dict.fromkeys(("TG_RATE", "TG_CHAT_RATE", "TG_GROUP_RATE"), "0"),
            "LOG_LEVEL": "WARNING",
            **self._env,
        }

    async def stop(self) -> None:
        with self._closing:
            for service in self.services:
                code = await asyncio.to_thread(service.terminate, STOP_SECONDS)
                assert code == 0, f"the service ended with {code}:\n{service.logs()[-4000:]}"
                complaints = [line for line in service.logs().splitlines() if _COMPLAINT.search(line)]
                assert not complaints, f"the service complained: {complaints[:5]}"
            await self.sql.close()

    async def settled(self) -> None:
        await wait_until(
            lambda: self.sql.fetchval(_SETTLED), _SETTLE_SECONDS, "everything is settled and reported"
        )

    async def assert_stored(self, count: int) -> None:
        """So many deliveries are in the database, all of them sent, and all their events are out."""
        statuses = dict(await self.sql.fetch("SELECT status, count(*) FROM delivery GROUP BY status"))
        assert statuses == {"sent": count}, f"{statuses} instead of {count} sent"
        assert await self.sql.fetchval("SELECT count(*) FROM notification") == count
        if self._events is not None:
            kept = await self._stage.depth(self._events)
            assert kept == EVENTS_EACH * count, f"{kept} events instead of {EVENTS_EACH * count}"
            await self._stage.delete_queue(self._events)

    def cpu(self) -> dict[str, float]:
        # Not what our own questions to the database cost.
        asking = self.sql.get_server_pid()
        return {**super().cpu(), "PostgreSQL": meters.cpu_seconds([self._stage.postgres.pid], without=asking)}

    async def _keep_events(self, queue: str) -> None:
        async with self._stage.amqp.channel() as channel:
            kept = await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
            await kept.bind(EVENTS, "#")
