"""RabbitMQ: a queue of requests and one of events in, three topic exchanges out, over one connection."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from aio_pika import DeliveryMode
from aio_pika.abc import AbstractChannel as OuterChannel
from aio_pika.abc import AbstractConnection
from aiormq import spec
from aiormq.channel import Channel as InnerChannel
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
from faststream.security import BaseSecurity
from pydantic import WithJsonSchema

from service.broker_settings import RabbitSettings
from service.contract import NotificationEvent, RejectedMessage, TicketEvent
from service.delivery.events import Channel, OutgoingEvent
from service.transports.amqp_bulk import publish_all
from service.transports.amqp_leniency import read_odd_properties_as_nothing
from service.transports.arrivals import Arrival, Bury, take, take_events
from service.transports.base import EVENTS, REJECTED, TICKETS, Door, EventDoor
from service.transports.rabbit_consumer import Consumer
from service.transports.rabbit_topology import dead_exchange, declare
from service.transports.supervision import ConnectionLostError, SupervisedTransport

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
HEARTBEAT_SECONDS = 20
BURY_SECONDS = 30.0
SPECIFICATION_URL = "amqp://rabbitmq:5672/"
EXCHANGES: dict[Channel, str] = {"events": EVENTS, "rejected": REJECTED, "tickets": TICKETS}

# What the handler gets is the message with its envelope; what travels in it is a NotificationRequest.
Incoming = Annotated[RabbitMessage, WithJsonSchema({"title": "NotificationRequest"})]
IncomingEvent = Annotated[RabbitMessage, WithJsonSchema({"title": "DomainEvent"})]


class RabbitTransport(SupervisedTransport):
    """FastStream's broker holds the connection, the contract and the test client.

    Messages come from the subscription of the client below it: what the layers above add to each
    message costs more than all the rest of accepting it.
    """

    name = "rabbit"

    def __init__(self, settings: RabbitSettings, door: Door, events: EventDoor | None = None) -> None:
        super().__init__()
        read_odd_properties_as_nothing()
        self._settings = settings
        self._door = door
        self._event_door = events
        self._connection: AbstractConnection | None = None
        self._publishing: InnerChannel | None = None
        self._requests = self._consumer(settings.queue_name, "rabbit")
        self._events = self._consumer(settings.events_queue_name, "rabbit-events")
        self._consumers = [self._requests] if events is None else [self._requests, self._events]
        self._channels: list[OuterChannel] = []
        self._warnings: list[str] = []
        self.broker = self._make_broker()

    def _make_broker(self) -> RabbitBroker:
        broker = RabbitBroker(
            f"{self._settings.url}?heartbeat={HEARTBEAT_SECONDS}",
            timeout=CONNECT_SECONDS,
            security=_security(self._settings),
            on_close=[self._loss()],
            specification_url=SPECIFICATION_URL,
            description="RabbitMQ; with TLS (`amqps`) where `RABBITMQ_TLS` is set.",
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
        if self._event_door is not None:
            events = broker.subscriber(
                RabbitQueue(self._settings.events_queue_name, queue_type=QueueType.QUORUM, declare=False),
                ack_policy=AckPolicy.MANUAL,
                no_reply=True,
                decoder=_undecoded,
                title="receiveEventFromRabbit",
                description="What happened, for triggers. `RABBITMQ_EVENTS_QUEUE_NAME` names the queue.",
            )
            events(self.receive_event)
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
        broker.publisher(
            exchange=RabbitExchange(TICKETS, type=ExchangeType.TOPIC, durable=True),
            persist=True,
            mandatory=False,
            schema=TicketEvent,
            title="sendTicketToRabbit",
            description="What happens at the support desk. The routing key is the event's `type`; bind with `#` for all.",
        )
        return broker

    async def receive(self, message: Incoming) -> None:
        """FastStream's handler: what its test client calls."""
        await self._receive(message, self._requests)

    async def receive_event(self, message: IncomingEvent) -> None:
        """The same for events."""
        await self._receive(message, self._events)

    async def _receive(self, message: RabbitMessage, consumer: Consumer) -> None:
        async def bury(_: Arrival, reason: str) -> None:
            log.error("rabbit: %s", reason)
            await message.reject()

        arrival = consumer.arrival(message.body, message.raw_message.message_id)
        await self._take(consumer, (arrival,), bury)
        await message.ack()

    async def _take(self, consumer: Consumer, arrivals: Sequence[Arrival], bury: Bury) -> None:
        if consumer is self._requests:
            await take(self._door, arrivals, bury)
        elif self._event_door is not None:
            await take_events(self._door, self._event_door, arrivals, bury)

    def _consumer(self, queue: str, way: str) -> Consumer:
        async def take_in(arrivals: Sequence[Arrival]) -> None:
            await self._take(consumer, arrivals, partial(self._bury, queue))

        consumer = Consumer(queue, f"{way}:{queue}", self._settings.prefetch, take_in)
        return consumer

    async def _publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        amqp = self._publishing
        if amqp is None:
            raise ConnectionLostError(self.detail)
        await publish_all(amqp, EXCHANGES[channel], events)

    async def _open(self) -> str:
        self._connection = connection = await self.broker.connect()
        self._warnings = await declare(connection, [consumer.queue for consumer in self._consumers])
        for warning in self._warnings:
            log.warning("rabbit: %s", warning)
        self._publishing = await self._channel(connection)
        for consumer in self._consumers:
            await consumer.start(await self._channel(connection), self._loss())
        return self._describe()

    async def _channel(self, connection: AbstractConnection) -> InnerChannel:
        """A channel of the inner client, on which a message costs half of what it costs the layers above."""
        outer = await connection.channel()
        # Nothing is restored by the client: a session is replaced as a whole.
        outer.close_callbacks.add(self._loss())
        self._channels.append(outer)
        inner = await outer.get_underlay_channel()
        if not isinstance(inner, InnerChannel):
            raise TypeError(f"aio-pika's channel is made of {type(inner).__name__}")
        return inner

    async def _check(self) -> str:
        if self._connection is None:
            raise ConnectionLostError("the connection was lost")
        async with self._connection.channel() as channel:
            for consumer in self._consumers:
                queue = await channel.declare_queue(consumer.queue, passive=True)
                if not queue.declaration_result.consumer_count:
                    raise ConnectionLostError(f"nobody consumes the queue {consumer.queue!r} any more")
        return self._describe()

    def _describe(self) -> str:
        return "; ".join([f"consuming the queue {self._settings.queue_name!r}", *self._warnings])

    async def _stop_consuming(self) -> None:
        for consumer in self._consumers:
            await consumer.stop(connected=self.ready)

    async def _tear_down(self) -> None:
        broker = self.broker
        self._connection = self._publishing = None
        for consumer in self._consumers:
            consumer.drop()
        self._channels.clear()
        # A new one: a broker whose connection broke does not start again reliably.
        self.broker = self._make_broker()
        await broker.stop()

    async def _bury(self, queue: str, arrival: Arrival, reason: str) -> None:
        """Publish it to the dead-letter exchange, which works for a queue of any kind."""
        if self._publishing is None:
            raise ConnectionLostError(self.detail)
        await self._publishing.basic_publish(
            arrival.raw,
            exchange=dead_exchange(queue),
            routing_key=queue,
            properties=spec.Basic.Properties(
                delivery_mode=DeliveryMode.PERSISTENT.value, headers={"x-notifications-error": reason[:1000]}
            ),
            timeout=BURY_SECONDS,
        )


async def _undecoded(message: StreamMessage[Any]) -> StreamMessage[Any]:
    return message


def _security(settings: RabbitSettings) -> BaseSecurity | None:
    context = settings.tls_context
    return None if context is None else BaseSecurity(ssl_context=context)
