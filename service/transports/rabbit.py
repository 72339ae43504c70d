"""RabbitMQ: a quorum queue in, two topic exchanges out.

The queue has a delivery limit and a dead-letter exchange as the last net under a message that kills
its consumer again and again. A queue that exists with other arguments is consumed as it is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, ClassVar
from weakref import WeakKeyDictionary

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractRobustConnection
from aio_pika.abc import AbstractExchange as AmqpExchange
from aiormq import spec
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelPreconditionFailed
from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.rabbit import Channel as AmqpChannel
from faststream.rabbit import ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue
from pydantic import WithJsonSchema

from service.contract import NotificationEvent, RejectedMessage
from service.delivery.events import Channel, OutgoingEvent
from service.settings import RabbitSettings
from service.transports.acks import AckGroup
from service.transports.arrivals import Arrival, take
from service.transports.base import EVENTS, REJECTED, Door
from service.transports.supervision import ConnectionLost, SupervisedTransport

log = logging.getLogger(__name__)

DELIVERY_LIMIT = 100
"""Deliveries of one message before RabbitMQ itself puts it aside. Restarts of the service count too."""
CONNECT_SECONDS = 10.0
HEARTBEAT_SECONDS = 20
DRAIN_SECONDS = 60.0
PUBLISH_SECONDS = 30.0
PUBLISHED_AT_ONCE = 500
SPECIFICATION_URL = "amqp://rabbitmq:5672/"

OTHER_ARGUMENTS = (ChannelPreconditionFailed, ChannelAccessRefused, ChannelLockedResource)
Declaration = Callable[[AbstractChannel, bool], Awaitable[object]]

# What the handler gets is the whole message; what travels is a NotificationRequest (see asyncapi.py).
Incoming = Annotated[RabbitMessage, WithJsonSchema({"title": "NotificationRequest"})]


class RabbitTransport(SupervisedTransport):
    """Requests from one queue, events to exchanges, over one connection."""

    name: ClassVar[str] = "rabbit"

    def __init__(self, settings: RabbitSettings, door: Door) -> None:
        super().__init__()
        self._settings = settings
        self._door = door
        self._source = f"rabbit:{settings.queue_name}"
        self._warnings: list[str] = []
        self._connection: AbstractRobustConnection | None = None
        self._exchanges: dict[Channel, AmqpExchange] = {}
        self._make_broker()

    def _make_broker(self) -> None:
        queue = self._settings.queue_name
        self._acks: WeakKeyDictionary[object, AckGroup] = WeakKeyDictionary()
        self.broker = RabbitBroker(
            f"{self._settings.url}?heartbeat={HEARTBEAT_SECONDS}",
            timeout=CONNECT_SECONDS,
            graceful_timeout=DRAIN_SECONDS,
            on_close=[lambda *_: self._on_lost()],
            specification_url=SPECIFICATION_URL,
            description="RabbitMQ",
            logger=None,
            apply_types=False,
        )
        self._subscriber = self.broker.subscriber(
            # Declared by `_declare`, which knows what to do when it exists with other arguments.
            RabbitQueue(queue, queue_type=QueueType.QUORUM, declare=False),
            channel=AmqpChannel(prefetch_count=self._settings.prefetch),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            decoder=_undecoded,
            title="receiveNotificationFromRabbit",
            description=f"Requests for notifications. The queue is `RABBITMQ_QUEUE_NAME`, by default `{queue}`.",
        )
        self._subscriber(self.receive)
        self.broker.publisher(
            exchange=_exchange(EVENTS),
            schema=NotificationEvent,
            title="sendEventToRabbit",
            description="What happens to deliveries. The routing key is the event's type: bind with `#`, or `sent`.",
        )
        self.broker.publisher(
            exchange=_exchange(REJECTED),
            schema=RejectedMessage,
            title="sendRejectedToRabbit",
            description="Messages that could not become notifications. The routing key is `rejected`.",
        )

    async def receive(self, message: Incoming) -> None:
        """Take one request in; acknowledge it after the commit."""
        raw = message.raw_message
        arrival = Arrival(raw.body, self._source, self._dedup_key(raw.message_id))

        async def bury(_: Arrival, reason: str) -> None:
            await self._bury(message, reason)

        try:
            await take(self._door, (arrival,), bury)
        except Exception as error:
            log.error("rabbit: a message goes back to the queue: %r", error)
            await message.nack()
        self._acks.setdefault(raw.channel, AckGroup()).finish(raw)

    def _dedup_key(self, message_id: str | None) -> str | None:
        # A column cannot hold every byte that AMQP allows here, and nobody means those.
        if not message_id or not message_id.isprintable():
            return None
        return f"amqp:{self._settings.queue_name}:{message_id}"

    async def publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        exchange = self._exchanges.get(channel)
        if not self.ready or exchange is None:
            raise ConnectionLost(self.detail)
        async with asyncio.timeout(PUBLISH_SECONDS):
            amqp = await exchange.channel.get_underlay_channel()
            for start in range(0, len(events), PUBLISHED_AT_ONCE):
                # Tasks start in their order, and the channel writes in that order.
                await asyncio.gather(
                    *(
                        amqp.basic_publish(
                            event.body,
                            exchange=exchange.name,
                            routing_key=event.type,
                            properties=_properties(event),
                            wait=False,
                        )
                        for event in events[start : start + PUBLISHED_AT_ONCE]
                    )
                )

    async def _open(self) -> str:
        connection = await self.broker.connect()
        self._connection = connection
        self._warnings = await self._declare(connection)
        self._exchanges = {
            "events": await self.broker.declare_exchange(_exchange(EVENTS, declare=False)),
            "rejected": await self.broker.declare_exchange(_exchange(REJECTED, declare=False)),
        }
        await self.broker.start()
        for warning in self._warnings:
            log.warning("rabbit: %s", warning)
        return self._describe()

    async def _check(self) -> str:
        if self._connection is None:
            raise ConnectionLost("the connection was lost")
        async with self._connection.channel() as channel:
            queue = await channel.declare_queue(self._settings.queue_name, passive=True)
        if not queue.declaration_result.consumer_count:
            raise ConnectionLost(f"nobody consumes the queue {self._settings.queue_name!r} any more")
        return self._describe()

    def _describe(self) -> str:
        return "; ".join([f"consuming the queue {self._settings.queue_name!r}", *self._warnings])

    async def _stop_consuming(self) -> None:
        await self._subscriber.stop()
        for group in list(self._acks.values()):
            await group.flushed()

    async def _tear_down(self) -> None:
        broker, connection = self.broker, self._connection
        self._connection = None
        self._exchanges = {}
        # A new one: a broker whose connection broke does not reliably start again.
        self._make_broker()
        try:
            await broker.stop()
        finally:
            if connection is not None:
                await connection.close()

    async def _declare(self, connection: AbstractRobustConnection) -> list[str]:
        """Make what is missing; the answer says what exists in another form."""
        queue = self._settings.queue_name
        dead_exchange, dead_queue = f"{queue}.dlx", f"{queue}.dead"
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": dead_exchange,
        }

        async def dead_letters(channel: AbstractChannel, passive: bool) -> None:
            await channel.declare_exchange(dead_exchange, "fanout", durable=True, passive=passive)

        async def dead_letter_queue(channel: AbstractChannel, passive: bool) -> None:
            kept = await channel.declare_queue(
                dead_queue, durable=True, passive=passive, arguments={"x-queue-type": "quorum"}
            )
            if not passive:
                await kept.bind(dead_exchange)

        async def requests(channel: AbstractChannel, passive: bool) -> None:
            await channel.declare_queue(queue, durable=True, passive=passive, arguments=arguments)

        def exchange(name: str) -> Declaration:
            return lambda channel, passive: channel.declare_exchange(name, "topic", durable=True, passive=passive)

        steps: list[tuple[str, Declaration]] = [
            (f"the exchange {dead_exchange!r}", dead_letters),
            (f"the queue {dead_queue!r}", dead_letter_queue),
            (f"the queue {queue!r}", requests),
            (f"the exchange {EVENTS!r}", exchange(EVENTS)),
            (f"the exchange {REJECTED!r}", exchange(REJECTED)),
        ]
        return [warning for what, step in steps if (warning := await _declare_or_use(connection, what, step))]

    async def _bury(self, message: RabbitMessage, reason: str) -> None:
        """Publish it to the dead-letter exchange, which works for a queue of any kind."""
        raw = message.raw_message
        async with asyncio.timeout(PUBLISH_SECONDS):
            await self.broker.publish(
                Message(
                    raw.body,
                    delivery_mode=DeliveryMode.PERSISTENT,
                    content_type=raw.content_type,
                    content_encoding=raw.content_encoding,
                    message_id=raw.message_id,
                    headers={"x-notifications-error": reason[:1000]},
                ),
                exchange=RabbitExchange(f"{self._settings.queue_name}.dlx", declare=False),
                routing_key=self._settings.queue_name,
            )


async def _undecoded(message: StreamMessage[Any]) -> StreamMessage[Any]:
    return message


def _exchange(name: str, *, declare: bool = True) -> RabbitExchange:
    return RabbitExchange(name, type=ExchangeType.TOPIC, durable=True, declare=declare)


def _properties(event: OutgoingEvent) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type="application/json", delivery_mode=DeliveryMode.PERSISTENT.value, message_type=event.type
    )


async def _declare_or_use(connection: AbstractRobustConnection, what: str, declare: Declaration) -> str | None:
    """Declare on a channel of its own, which RabbitMQ closes when it disagrees; then use what is there."""
    try:
        async with connection.channel() as channel:
            await declare(channel, False)
    except OTHER_ARGUMENTS as error:
        async with connection.channel() as channel:
            await declare(channel, True)
        return (
            f"{what} exists in another form and is used as it is ({error}); "
            "to get the service's own form, let it run empty, delete it and restart the service"
        )
    return None
