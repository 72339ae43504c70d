"""A producer publishes the seed's message, and the person is told: once, on record, and reported back."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.conftest import StartService
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.service import Service
from tests.support.telegram import CHAT, TelegramProcess
from tests.support.waiting import wait_until

SEED = b'{"title": "Backup failed", "body": "disk full", "sender": "TG"}'
Events = Callable[[], Awaitable[list[dict[str, Any]]]]


async def _ready_part(service: Service, name: str) -> None:
    async def is_ok() -> bool:
        parts = (await service.acall("GET", "/health/ready", key=None)).json()["parts"]
        return bool(parts[name]["status"] == "ok")

    await wait_until(is_ok, 30, f"{name} is connected")


async def _told_once(service: Service, telegram: TelegramProcess, events: Events, source: str) -> None:
    """The chat has the message once; REST and the events say so."""
    await wait_until(telegram.texts, 20, "the chat has the message")
    assert telegram.counts()["by_chat"] == {CHAT: 1}
    assert "Backup failed" in telegram.texts()[0]
    assert "disk full" in telegram.texts()[0]

    async def settled() -> Any:
        items = (await service.acall("GET", "/v1/notifications")).json()["items"]
        return items if items and items[0]["status"] == "sent" else None

    (notification,) = await wait_until(settled, 10, "REST shows it as sent")
    assert notification["source"].startswith(source)

    async def reported() -> list[dict[str, Any]]:
        return [event for event in await events() if event["type"] == "sent"]

    (sent,) = await wait_until(reported, 10, "a sent event")
    assert sent["id"] == notification["id"]
    assert sent["provider_message_ids"]
    assert [event["type"] for event in await events()] == ["accepted", "sent"]
    assert telegram.counts()["by_chat"] == {CHAT: 1}


@asynccontextmanager
async def _rabbit_events(channel: aio_pika.abc.AbstractChannel) -> AsyncIterator[Events]:
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind("notifications.events", "#")
    seen: list[dict[str, Any]] = []

    async def events() -> list[dict[str, Any]]:
        while message := await queue.get(fail=False, no_ack=True):
            seen.append(json.loads(message.body))
        return seen

    yield events


async def test_rabbitmq(
    start_service: StartService, rabbit_node: RabbitNode, telegram: TelegramProcess
) -> None:
    queue = f"notifications-{uuid4()}"
    service = start_service({**rabbit_node.env, **telegram.env, "RABBITMQ_QUEUE_NAME": queue})
    await _ready_part(service, "rabbit")
    connection = await aio_pika.connect(rabbit_node.url)
    async with connection, connection.channel() as channel, _rabbit_events(channel) as events:
        await channel.default_exchange.publish(aio_pika.Message(SEED), routing_key=queue)
        await _told_once(service, telegram, events, "rabbit")


@asynccontextmanager
async def _kafka_events(bootstrap: str) -> AsyncIterator[Events]:
    consumer = AIOKafkaConsumer(
        "notifications.events", bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="latest"
    )
    await consumer.start()
    await consumer.seek_to_end()
    seen: list[dict[str, Any]] = []

    async def events() -> list[dict[str, Any]]:
        for records in (await consumer.getmany(timeout_ms=50)).values():
            seen.extend(json.loads(record.value) for record in records)
        return seen

    try:
        yield events
    finally:
        await consumer.stop()


async def test_kafka(start_service: StartService, kafka_mock: KafkaMock, telegram: TelegramProcess) -> None:
    topic = f"notifications-{uuid4()}"
    own = {"KAFKA_TOPIC": topic, "KAFKA_GROUP_ID": topic}
    service = start_service({**kafka_mock.env, **telegram.env, **own})
    await _ready_part(service, "kafka")
    async with _kafka_events(kafka_mock.bootstrap) as events:
        producer = AIOKafkaProducer(bootstrap_servers=kafka_mock.bootstrap)
        await producer.start()
        try:
            await producer.send_and_wait(topic, SEED)
        finally:
            await producer.stop()
        await _told_once(service, telegram, events, "kafka")


async def test_http_and_the_same_id_again(start_service: StartService, telegram: TelegramProcess) -> None:
    service = start_service(telegram.env)
    message = {**json.loads(SEED), "id": "backup-17"}
    first = await service.acall("POST", "/v1/notifications", message)
    again = await service.acall("POST", "/v1/notifications", message)
    assert (first.status, again.status) == (202, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    other = await service.acall("POST", "/v1/notifications", {**message, "body": "disk on fire"})
    assert other.status == 409
    await wait_until(telegram.texts, 20, "the chat has the message")
    assert telegram.counts()["accepted"] == 1


async def test_a_crash_between_acceptance_and_sending(
    start_service: StartService, telegram: TelegramProcess
) -> None:
    service = start_service(
        {**telegram.env, "DELIVERY_LEASE_SECONDS": "6", "DELIVERY_SEND_TIMEOUT_SECONDS": "2"}
    )
    bodies = [f"message {number}" for number in range(4)]
    for body in bodies:
        accepted = await service.acall("POST", "/v1/notifications", {"body": body, "sender": "TG"})
        assert accepted.status == 202
    # A chat gets a message a second: most are accepted and not sent yet.
    await wait_until(telegram.texts, 20, "the first is sent")
    service.kill()
    told = telegram.counts()["accepted"]
    assert told < len(bodies)

    service.start()
    await wait_until(lambda: set(telegram.texts()) == set(bodies), 90, "all are sent")
    # In the order of acceptance; only what was under way at the crash may have come twice.
    assert list(dict.fromkeys(telegram.texts())) == bodies
    assert telegram.counts()["duplicates"] <= 1
