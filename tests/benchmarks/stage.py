"""The servers that a measurement needs, all private and on 127.0.0.1."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractConnection

from service.db.embedded import EmbeddedPostgres
from service.transports.rabbit_topology import declare
from tests.benchmarks.fake import FakeBotApi
from tests.support.brokers import RabbitNode
from tests.support.postgres import PostgresForTests


class DurablePostgres(PostgresForTests):
    """As the service starts it itself: fsync and synchronous_commit are on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = EmbeddedPostgres(folder, {"max_connections": "200"})

    @property
    def pid(self) -> int:
        return int((self.server.data / "postmaster.pid").read_text().split()[0])


class Stage:
    """RabbitMQ, PostgreSQL and the fake Bot API."""

    def __init__(
        self,
        folder: Path,
        rabbit: RabbitNode,
        postgres: DurablePostgres,
        fake: FakeBotApi,
        amqp: AbstractConnection,
    ) -> None:
        self.folder = folder
        self.rabbit = rabbit
        self.postgres = postgres
        self.fake = fake
        self.amqp = amqp
        self._numbers = count(1)

    async def rabbit_version(self) -> str:
        connection = self.amqp.transport.connection if self.amqp.transport else None
        return str(getattr(connection, "server_properties", {}).get("version", "unknown"))

    def unused_name(self, name: str) -> str:
        return f"{name}-{next(self._numbers)}"

    async def declare_queue(self, name: str) -> None:
        """A quorum queue in the service's own form, whoever consumes it."""
        assert not await declare(self.amqp, [name])

    async def depth(self, queue: str) -> int:
        """Messages that wait in the queue."""
        async with self.amqp.channel() as channel:
            found = await channel.declare_queue(queue, passive=True)
        return found.declaration_result.message_count or 0

    async def delete_queue(self, queue: str) -> None:
        async with self.amqp.channel() as channel:
            await channel.queue_delete(queue)


@asynccontextmanager
async def set_up() -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="notifications-bench-") as folder:
        path = Path(folder)
        rabbit, postgres = RabbitNode(path / "rabbit"), DurablePostgres(path / "postgres")
        fake = FakeBotApi()
        try:
            await asyncio.to_thread(rabbit.start)
            await asyncio.to_thread(postgres.start)
            async with await aio_pika.connect(rabbit.url) as amqp:
                yield Stage(path, rabbit, postgres, fake, amqp)
        finally:
            fake.close()
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(rabbit.close)
