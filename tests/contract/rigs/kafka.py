"""Kafka's protocol, seen by a producer and a listener."""

import asyncio
from typing import Any, ClassVar, Self
from uuid import uuid4

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, Producer, TopicPartition

from service.broker_settings import KafkaSettings
from tests.contract.transport_suite import TransportRig
from tests.support.brokers import KafkaMock

TIMEOUT = 20.0
Headers = list[tuple[str, bytes | None]]
_ODD_HEADERS: tuple[Headers, ...] = (
    [("a", b"\xff\xfe")],
    [("a", None), ("a", b"twice")],
    [("content-type", b"\x00"), ("", b"")],
    [("correlation_id", b"\xff"), ("reply_to", b"nowhere")],
)


class KafkaRig(TransportRig):
    name = "kafka"
    # A partition of the mock holds 5 MiB.
    huge_bytes: ClassVar = 4 * 1024 * 1024

    def __init__(self, mock: KafkaMock) -> None:
        self.mock = mock
        self.topic = f"requests-{uuid4()}"
        self.events_topic = f"{self.topic}-domain"
        self.group = f"service-{uuid4()}"
        self._started: dict[str, dict[int, int]] = {}

    def settings(self) -> dict[str, Any]:
        return {
            "kafka": KafkaSettings(
                bootstrap_servers=self.mock.bootstrap,
                topic=self.topic,
                events_topic=self.events_topic,
                group_id=self.group,
            )
        }

    async def __aenter__(self) -> Self:
        # One partition: order over the whole topic.
        self.mock.create_topic(self.topic, 1)
        self.mock.create_topic(f"{self.topic}.dead", 1)
        self.mock.create_topic(self.events_topic, 1)
        self._started = {
            name: await asyncio.to_thread(self._ends, f"notifications.{name}")
            for name in ("events", "rejected")
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def publish(self, *bodies: bytes) -> None:
        await asyncio.to_thread(self._produce, self.topic, bodies, [])

    async def publish_events(self, *bodies: bytes) -> None:
        await asyncio.to_thread(self._produce, self.events_topic, bodies, [])

    async def publish_oddly(self, body: bytes) -> None:
        for headers in _ODD_HEADERS:
            await asyncio.to_thread(self._produce, self.topic, (body,), headers)

    def _produce(self, topic: str, bodies: tuple[bytes, ...], headers: Headers) -> None:
        producer = Producer(
            {"bootstrap.servers": self.mock.bootstrap, "message.max.bytes": 100_000_000, "acks": "all"}
        )
        for body in bodies:
            producer.produce(topic, body, headers=headers)
        assert producer.flush(TIMEOUT) == 0

    async def untaken(self) -> int:
        return await asyncio.to_thread(self._lag)

    def _lag(self) -> int:
        consumer = self._consumer(self.group)
        try:
            (committed,) = consumer.committed([TopicPartition(self.topic, 0)], timeout=TIMEOUT)
            low, high = consumer.get_watermark_offsets(TopicPartition(self.topic, 0), timeout=TIMEOUT)
            return int(high - (low if committed.offset == OFFSET_INVALID else committed.offset))
        finally:
            consumer.close()

    async def events(self, channel: str) -> list[bytes]:
        return await asyncio.to_thread(self._read, f"notifications.{channel}", self._started[channel])

    async def dead_letters(self) -> list[bytes]:
        return await asyncio.to_thread(self._read, f"{self.topic}.dead", {})

    def _read(self, topic: str, starts: dict[int, int]) -> list[bytes]:
        consumer = self._consumer(f"listener-{uuid4()}")
        try:
            found = []
            for partition, end in self._ends(topic).items():
                start = starts.get(partition, 0)
                if start >= end:
                    continue
                consumer.assign([TopicPartition(topic, partition, start)])
                while start < end and (record := consumer.poll(TIMEOUT)) is not None:
                    if record.error():
                        raise KafkaException(record.error())
                    found.append(record.value())
                    start = record.offset() + 1
            return found
        finally:
            consumer.close()

    def _ends(self, topic: str) -> dict[int, int]:
        consumer = self._consumer(f"listener-{uuid4()}")
        try:
            partitions = consumer.list_topics(topic, timeout=TIMEOUT).topics[topic].partitions
            return {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT)[1]
                for number in partitions
            }
        finally:
            consumer.close()

    def _consumer(self, group: str) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.mock.bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )

    def down(self) -> None:
        self.mock.down()

    def up(self) -> None:
        self.mock.up()
