"""RabbitMQ, seen by a producer and a listener."""

from typing import Any, ClassVar, Self
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractQueue
from aiormq import spec
from pydantic import SecretStr

from service.broker_settings import RabbitSettings
from tests.contract.transport_suite import TransportRig
from tests.support.brokers import RabbitNode


class _NotUtf8(str):
    """A text that goes over the wire as bytes that are no text."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe\xfd"


_ODD_PROPERTIES = (
    spec.Basic.Properties(content_type=_NotUtf8("odd"), content_encoding="br", message_id="\0\u2028' OR 1=1"),
    spec.Basic.Properties(message_id=_NotUtf8("odd"), correlation_id="\0", reply_to="nowhere"),
    spec.Basic.Properties(headers={_NotUtf8("odd"): 1}, priority=255, message_type="\1"),
    spec.Basic.Properties(headers={"a": bytearray(b"\xff"), "b": {"c": [1, None]}, "x-death": "soon"}),
)


class RabbitRig(TransportRig):
    name = "rabbit"
    huge_bytes: ClassVar = 10 * 1024 * 1024

    def __init__(self, node: RabbitNode) -> None:
        self.node = node
        self.queue = f"requests-{uuid4()}"
        self.events_queue = f"{self.queue}-domain"
        self.password = "guest"
        self._seen: dict[str, list[bytes]] = {"events": [], "rejected": [], "dead": []}

    def settings(self) -> dict[str, Any]:
        password = SecretStr(self.password)
        return {
            "rabbit": RabbitSettings(
                host="127.0.0.1",
                port=self.node.port,
                password=password,
                queue_name=self.queue,
                events_queue_name=self.events_queue,
            )
        }

    async def __aenter__(self) -> Self:
        async with await self.connect() as connection, connection.channel() as channel:
            for name in ("events", "rejected"):
                # Durable, so that it is there after a restart of the broker.
                exchange = await channel.declare_exchange(f"notifications.{name}", "topic", durable=True)
                listener = await channel.declare_queue(f"{self.queue}-{name}", durable=True)
                await listener.bind(exchange, "#")
        return self

    async def __aexit__(self, *_: object) -> None:
        async with await self.connect() as connection, connection.channel() as channel:
            for name in (
                *("", "-events", "-rejected", ".dead", ".due", ".due.dead"),
                *("-domain", "-domain.dead"),
            ):
                await channel.queue_delete(f"{self.queue}{name}")
            for name in (".dlx", ".due", "-domain.dlx"):
                await channel.exchange_delete(f"{self.queue}{name}")

    async def connect(self) -> aio_pika.abc.AbstractConnection:
        return await aio_pika.connect(self.node.url)

    async def publish(self, *bodies: bytes) -> None:
        await self._send(self.queue, bodies)

    async def publish_events(self, *bodies: bytes) -> None:
        await self._send(self.events_queue, bodies)

    async def _send(self, queue: str, bodies: tuple[bytes, ...]) -> None:
        async with await self.connect() as connection, connection.channel() as channel:
            for body in bodies:
                await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), queue)

    async def publish_oddly(self, body: bytes) -> None:
        async with await self.connect() as connection, connection.channel() as channel:
            raw = await channel.get_underlay_channel()
            for properties in _ODD_PROPERTIES:
                await raw.basic_publish(body, routing_key=self.queue, properties=properties)

    async def untaken(self) -> int:
        async with await self.connect() as connection, connection.channel() as channel:
            queue = await channel.get_queue(self.queue)
            return queue.declaration_result.message_count or 0

    async def events(self, channel: str) -> list[bytes]:
        return await self._read(channel, f"{self.queue}-{channel}")

    async def dead_letters(self) -> list[bytes]:
        return await self._read("dead", f"{self.queue}.dead")

    async def _read(self, name: str, queue: str) -> list[bytes]:
        async with await self.connect() as connection, connection.channel() as channel:
            self._seen[name] += await _drain(channel, queue)
        return self._seen[name]

    def down(self) -> None:
        self.node.stop()

    def up(self) -> None:
        if not self.node.running:
            self.node.start()


async def _drain(channel: AbstractChannel, name: str) -> list[bytes]:
    queue: AbstractQueue = await channel.get_queue(name)
    found = []
    while (message := await queue.get(fail=False, no_ack=True)) is not None:
        found.append(message.body)
    return found
