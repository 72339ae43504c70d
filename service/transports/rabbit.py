"""RabbitMQ: a queue in, three topic exchanges out, over one connection."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Annotated, Any

from aio_pika import DeliveryMode
from aio_pika.abc import AbstractChannel as OuterChannel
from aio_pika.abc import AbstractConnection
from aiormq import spec
from aiormq.abc import DeliveredMessage
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
from pydantic import WithJsonSchema

from service.contract import NotificationEvent, RejectedMessage, TicketEvent
from service.delivery.events import Channel, OutgoingEvent
from service.settings import RabbitSettings
from service.transports.acks import AckGroup
from service.transports.amqp_bulk import consume, publish_all
from service.transports.amqp_leniency import read_odd_properties_as_nothing
from service.transports.arrivals import Arrival, take
from service.transports.base import EVENTS, REJECTED, TICKETS, Door
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


class RabbitTransport(SupervisedTransport):
    """FastStream's broker holds the connection, the contract and the test client.

    Messages come from the subscription of the client below it: what the layers above add to each
    message costs more than all the rest of accepting it.
    """

    name = "rabbit"

    def __init__(self, settings: RabbitSettings, door: Door) -> None:
        super().__init__()
        read_odd_properties_as_nothing()
        self._settings = settings
        self._door = door
        self._source = f"rabbit:{settings.queue_name}"
        self._connection: AbstractConnection | None = None
        self._publishing: InnerChannel | None = None
        self._consuming: InnerChannel | None = None
        self._consumer_tag = ""
        self._channels: list[OuterChannel] = []
        self._warnings: list[str] = []
        self._acks: AckGroup | None = None
        self._arrived: list[tuple[int, Arrival]] = []
        self._taking: set[asyncio.Task[None]] = set()
        self.broker = self._make_broker()

    def _make_broker(self) -> RabbitBroker:
        broker = RabbitBroker(
            f"{self._settings.url}?heartbeat={HEARTBEAT_SECONDS}",
            timeout=CONNECT_SECONDS,
            on_close=[self._loss()],
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

        async def bury(_: Arrival, reason: str) -> None:
            log.error("rabbit: %s", reason)
            await message.reject()

        await take(self._door, (self._arrival(message.body, message.raw_message.message_id),), bury)
        await message.ack()

    def _deliver(self, message: DeliveredMessage) -> None:
        """The client's own subscription: what arrives together is taken in together."""
        tag = message.delivery_tag
        if self._acks is None or tag is None or message.channel is not self._consuming:
            return
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._start_taking, self._acks)
        self._arrived.append((tag, self._arrival(message.body, message.header.properties.message_id)))

    def _start_taking(self, acks: AckGroup) -> None:
        arrived, self._arrived = self._arrived, []
        taking = asyncio.create_task(self._take(acks, arrived), name="rabbit intake of a batch")
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)

    async def _take(self, acks: AckGroup, arrived: Sequence[tuple[int, Arrival]]) -> None:
        try:
            await take(self._door, [arrival for _, arrival in arrived], self._bury)
        except Exception as error:  # noqa: BLE001 - whatever it was, the messages must not be lost
            log.error("rabbit: %d messages go back to the queue: %r", len(arrived), error)  # noqa: TRY400 - one line
            for tag, _ in arrived:
                await acks.give_back(tag)
        else:
            acks.finish(tag for tag, _ in arrived)

    def _arrival(self, body: bytes, message_id: str | None) -> Arrival:
        # AMQP allows characters that a column cannot hold; nobody means those as an identity.
        known = message_id and message_id.isprintable()
        return Arrival(
            body, self._source, f"amqp:{self._settings.queue_name}:{message_id}" if known else None
        )

    async def _publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        amqp = self._publishing
        if amqp is None:
            raise ConnectionLostError(self.detail)
        await publish_all(amqp, EXCHANGES[channel], events)

    async def _open(self) -> str:
        self._connection = connection = await self.broker.connect()
        self._warnings = await declare(connection, self._settings.queue_name)
        for warning in self._warnings:
            log.warning("rabbit: %s", warning)
        self._publishing = await self._channel(connection)
        await self._consume(await self._channel(connection))
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

    async def _consume(self, channel: InnerChannel) -> None:
        self._acks = AckGroup(channel)
        self._consuming = channel
        channel.on_consumer_cancel_callbacks.add(self._loss())
        await channel.basic_qos(prefetch_count=self._settings.prefetch)
        self._consumer_tag = await consume(channel, self._settings.queue_name, self._deliver)

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
        if self._consuming is not None and self.ready:
            await self._consuming.basic_cancel(self._consumer_tag)
        while self._arrived or self._taking:
            await asyncio.wait(self._taking or {asyncio.create_task(asyncio.sleep(0))})
        if self._acks is not None:
            await self._acks.flushed()

    async def _tear_down(self) -> None:
        broker = self.broker
        self._connection = self._publishing = self._consuming = self._acks = None
        self._channels.clear()
        # A new one: a broker whose connection broke does not start again reliably.
        self.broker = self._make_broker()
        await broker.stop()

    async def _bury(self, arrival: Arrival, reason: str) -> None:
        """Publish it to the dead-letter exchange, which works for a queue of any kind."""
        if self._publishing is None:
            raise ConnectionLostError(self.detail)
        await self._publishing.basic_publish(
            arrival.raw,
            exchange=dead_exchange(self._settings.queue_name),
            routing_key=self._settings.queue_name,
            properties=spec.Basic.Properties(
                delivery_mode=DeliveryMode.PERSISTENT.value, headers={"x-notifications-error": reason[:1000]}
            ),
            timeout=BURY_SECONDS,
        )


async def _undecoded(message: StreamMessage[Any]) -> StreamMessage[Any]:
    return message
