"""RabbitMQ: a queue in, two topic exchanges out, over one connection."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aiormq import spec
from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.rabbit import (
    ExchangeType,
    QueueType,
    RabbitBroker,
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
)
from pydantic import WithJsonSchema

from service.contract import NotificationEvent, RejectedMessage
from service.delivery.events import Channel, OutgoingEvent
from service.settings import RabbitSettings
from service.transports.acks import AckGroup
from service.transports.arrivals import Arrival, take
from service.transports.base import EVENTS, REJECTED, Door
from service.transports.rabbit_topology import dead_exchange, declare
from service.transports.supervision import ConnectionLostError, SupervisedTransport

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
HEARTBEAT_SECONDS = 20
PUBLISH_SECONDS = 30.0
PUBLISHED_AT_ONCE = 500
SPECIFICATION_URL = "amqp://rabbitmq:5672/"
EXCHANGES: dict[Channel, str] = {"events": EVENTS, "rejected": REJECTED}

# What the handler gets is the message with its envelope; what travels in it is a NotificationRequest.
Incoming = Annotated[RabbitMessage, WithJsonSchema({"title": "NotificationRequest"})]


class RabbitTransport(SupervisedTransport):
    """FastStream's broker holds the connection, the contract and the test client.

    Messages come from the client's own subscription to `take_in`, which `receive` calls too: what
    FastStream adds to a message costs as much as all the rest of accepting it.
    """

    name = "rabbit"

    def __init__(self, settings: RabbitSettings, door: Door) -> None:
        super().__init__()
        self._settings = settings
        self._door = door
        self._source = f"rabbit:{settings.queue_name}"
        self._connection: AbstractConnection | None = None
        self._publishing: AbstractChannel | None = None
        self._queue: AbstractQueue | None = None
        self._consumer_tag = ""
        self._warnings: list[str] = []
        self._acks: WeakKeyDictionary[object, AckGroup] = WeakKeyDictionary()
        self._under_way = 0
        self._idle = asyncio.Event()
        self.broker = self._make_broker()

    def _make_broker(self) -> RabbitBroker:
        broker = RabbitBroker(
            f"{self._settings.url}?heartbeat={HEARTBEAT_SECONDS}",
            timeout=CONNECT_SECONDS,
            on_close=[lambda *_: self._on_lost()],
            specification_url=SPECIFICATION_URL,
            description="RabbitMQ",
            logger=None,
            apply_types=False,
        )
        subscriber = broker.subscriber(
            RabbitQueue(self._settings.queue_name, queue_type=QueueType.QUORUM, declare=False),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            decoder=_undecoded,
            title="receiveNotificationFromRabbit",
            description="Requests for notifications. `RABBITMQ_QUEUE_NAME` names the queue.",
        )
        subscriber(self.receive)
        broker.publisher(
            exchange=RabbitExchange(EVENTS, type=ExchangeType.TOPIC, durable=True),
            persist=True,
            mandatory=False,
            schema=NotificationEvent,
            title="sendEventToRabbit",
            description="What happens to deliveries. The routing key is the event's `type`; bind with `#` for all.",
        )
        broker.publisher(
            exchange=RabbitExchange(REJECTED, type=ExchangeType.TOPIC, durable=True),
            routing_key="rejected",
            persist=True,
            mandatory=False,
            schema=RejectedMessage,
            title="sendRejectedToRabbit",
            description="Messages that could not become notifications. The routing key is `rejected`.",
        )
        return broker

    async def receive(self, message: Incoming) -> None:
        """FastStream's handler."""
        await self.take_in(message.raw_message)

    async def take_in(self, message: AbstractIncomingMessage) -> None:
        """Take one request in; acknowledge it after the commit."""
        arrival = Arrival(message.body, self._source, self._dedup_key(message.message_id))
        acks = self._acks.setdefault(message.channel, AckGroup())

        async def bury(_: Arrival, reason: str) -> None:
            await self._bury(message, reason)

        self._under_way += 1
        try:
            await take(self._door, (arrival,), bury)
        except Exception as error:  # noqa: BLE001 - whatever it was, the message must not be lost
            log.error("rabbit: a message goes back to the queue: %r", error)  # noqa: TRY400 - one line
            acks.give_back(message)
            await message.nack()
        else:
            acks.finish(message)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def _dedup_key(self, message_id: str | None) -> str | None:
        # AMQP allows bytes here that a column cannot hold; nobody means those as an identity.
        if not message_id or not message_id.isprintable():
            return None
        return f"amqp:{self._settings.queue_name}:{message_id}"

    async def publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        if not self.ready or self._publishing is None:
            raise ConnectionLostError(self.detail)
        async with asyncio.timeout(PUBLISH_SECONDS):
            # The client's inner channel: an event costs it half of what it costs the layers above.
            amqp = await self._publishing.get_underlay_channel()
            for start in range(0, len(events), PUBLISHED_AT_ONCE):
                # Tasks start in their order, and the channel writes in that order.
                await asyncio.gather(
                    *(
                        amqp.basic_publish(
                            event.body,
                            exchange=EXCHANGES[channel],
                            routing_key=event.type,
                            properties=_properties(event),
                        )
                        for event in events[start : start + PUBLISHED_AT_ONCE]
                    )
                )

    async def _open(self) -> str:
        self._connection = connection = await self.broker.connect()
        self._warnings = await declare(connection, self._settings.queue_name)
        for warning in self._warnings:
            log.warning("rabbit: %s", warning)
        self._publishing = await connection.channel()
        await self._consume(await connection.channel())
        return self._describe()

    async def _consume(self, channel: AbstractChannel) -> None:
        await channel.set_qos(prefetch_count=self._settings.prefetch)
        # Not restored by the client: a session is replaced as a whole.
        channel.close_callbacks.add(lambda *_: self._on_lost())
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(lambda _: self._on_lost())
        self._queue = await channel.get_queue(self._settings.queue_name, ensure=False)
        self._consumer_tag = await self._queue.consume(self.take_in)

    async def _check(self) -> str:
        if self._connection is None:
            raise ConnectionLostError("the connection was lost")
        name = self._settings.queue_name
        async with self._connection.channel() as channel:
            queue = await channel.declare_queue(name, passive=True)
        if not queue.declaration_result.consumer_count:
            raise ConnectionLostError(f"nobody consumes the queue {name!r} any more")
        return self._describe()

    def _describe(self) -> str:
        return "; ".join([f"consuming the queue {self._settings.queue_name!r}", *self._warnings])

    async def _stop_consuming(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None and self.ready:
            await queue.cancel(self._consumer_tag)
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        for group in list(self._acks.values()):
            await group.flushed()

    async def _tear_down(self) -> None:
        broker = self.broker
        self._connection = self._publishing = self._queue = None
        # A new one: a broker whose connection broke does not start again reliably.
        self.broker = self._make_broker()
        await broker.stop()

    async def _bury(self, message: AbstractIncomingMessage, reason: str) -> None:
        """Publish it to the dead-letter exchange, which works for a queue of any kind."""
        if self._publishing is None:
            raise ConnectionLostError(self.detail)
        exchange = await self._publishing.get_exchange(dead_exchange(self._settings.queue_name), ensure=False)
        copy = Message(
            message.body,
            delivery_mode=DeliveryMode.PERSISTENT,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            message_id=message.message_id,
            headers={"x-notifications-error": reason[:1000]},
        )
        await exchange.publish(copy, routing_key=self._settings.queue_name, timeout=PUBLISH_SECONDS)


async def _undecoded(message: StreamMessage[Any]) -> StreamMessage[Any]:
    return message


def _properties(event: OutgoingEvent) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type="application/json", delivery_mode=DeliveryMode.PERSISTENT.value, message_type=event.type
    )
