"""A producer names a person and a template over RabbitMQ: the person gets their own words, and may stop them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
from yarl import URL

from tests.conftest import StartService
from tests.support.brokers import RabbitNode
from tests.support.net import free_port
from tests.support.order_paid import PAID_AT, TEMPLATE
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

CHAT = "4242"
PARAMS = {"order": 17, "items": 21, "total": {"amount": "1234.50", "currency": "EUR"}, "at": PAID_AT}
TEXT = "Заказ 17\nОплачен 23 нояб. 23:30: 21 товар"
PERSON = {
    "locale": "ru",
    "time_zone": "Europe/Moscow",
    "contacts": [{"sender": "TG", "address": CHAT}],
}


@asynccontextmanager
async def _broker(url: str) -> AsyncIterator[tuple[aio_pika.abc.AbstractChannel, aio_pika.abc.AbstractQueue]]:
    """A producer's channel, and a queue that gets every event from now on."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        events = await channel.declare_queue(exclusive=True)
        await events.bind("notifications.events", "#")
        yield channel, events


async def _next_event(events: aio_pika.abc.AbstractQueue, kind: str) -> Any:
    """The next event of that type; those before it are let go."""

    async def found() -> Any:
        message = await events.get(fail=False, no_ack=True)
        event = None if message is None else json.loads(message.body)
        return event if event is not None and event["type"] == kind else None

    return await wait_until(found, 20, f"an event of the type {kind}")


async def test_an_order_is_paid_and_the_person_unsubscribes(
    start_service: StartService, rabbit_node: RabbitNode, telegram: TelegramProcess
) -> None:
    queue, port = f"notifications-{uuid4()}", free_port()
    service = start_service(
        {
            **rabbit_node.env,
            **telegram.env,
            "RABBITMQ_QUEUE_NAME": queue,
            "SERVER_PORT": str(port),
            "SERVER_PUBLIC_URL": f"http://127.0.0.1:{port}",
        }
    )
    for path, body in (("/v1/recipients/42", PERSON), ("/v1/templates/order-paid", TEMPLATE)):
        assert (await service.acall("PUT", path, body)).status in (200, 201)

    async def is_connected() -> bool:
        parts = (await service.acall("GET", "/health/ready", key=None)).json()["parts"]
        return bool(parts["rabbit"]["status"] == "ok")

    await wait_until(is_connected, 30, "RabbitMQ is connected")
    async with _broker(rabbit_node.url) as (channel, events):

        async def publish(**fields: Any) -> None:
            body = {"template": "order-paid", "params": PARAMS, "to": {"recipient": "42"}, **fields}
            message = aio_pika.Message(json.dumps(body).encode())
            await channel.default_exchange.publish(message, routing_key=queue)

        await publish(category="orders")
        sent = await _next_event(events, "sent")
        assert (sent["recipient"], sent["sender"], sent["address"]) == ("42", "TG", CHAT)
        (message,) = telegram.control("GET", "journal")["items"]
        assert (str(message["chat"]), message["text"]) == (CHAT, TEXT)
        ((button,),) = message["buttons"]
        assert button["text"] == "Отписаться"

        link = URL(button["url"])
        assert link.origin() == URL(service.url)
        page = await service.acall("GET", link.path, key=None)
        assert (page.status, page.headers["content-language"]) == (200, "ru")
        assert (await service.acall("GET", "/v1/recipients/42")).json()["mutes"] == []
        assert (await service.acall("POST", link.path, key=None)).status == 200

        await publish(category="orders", metadata={"order": 18})
        suppressed = await _next_event(events, "suppressed")
        assert (suppressed["recipient"], suppressed["metadata"]) == ("42", {"order": 18})
        assert (suppressed["error"]["kind"], suppressed["error"]["code"]) == ("suppressed", "category_muted")
        kept = (await service.acall("GET", f"/v1/notifications/{suppressed['id']}")).json()
        assert kept["status"] == "suppressed"

        # Another category still comes, with nothing in between.
        await publish(category="parcels")
        assert (await _next_event(events, "sent"))["category"] == "parcels"
        assert telegram.counts()["by_chat"] == {CHAT: 2}
