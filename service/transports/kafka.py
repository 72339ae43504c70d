"""Kafka: a topic of requests and one of events in, three topics out.

A batch of records becomes one call of the engine, and its offsets are committed after the engine's
own commit. Records that were taken in and not committed (a crash, a rebalance) arrive again and are
recognised by topic, partition, offset and time.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from aiokafka import ConsumerRecord
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage, Topic
from faststream.kafka.security import parse_security
from faststream.kafka.subscriber.usecase import BatchSubscriber
from faststream.message import StreamMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from faststream.types import AsyncFunc
from pydantic import WithJsonSchema

from service.broker_settings import KafkaSettings
from service.contract import NotificationEvent, RejectedMessage, TicketEvent
from service.delivery.events import Channel, OutgoingEvent
from service.transports.arrivals import Arrival, take, take_events
from service.transports.base import EVENTS, REJECTED, TICKETS, Door, EventDoor
from service.transports.supervision import DRAIN_SECONDS, ConnectionLostError, SupervisedTransport

log = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
PING_SECONDS = 10.0
BURY_SECONDS = 30.0
GATHER_MILLISECONDS = 20
"""How long a poll waits for the first record."""
RECORD_MAX_BYTES = 16 * 1024 * 1024
SPECIFICATION_URL = "kafka:9092"
TOPICS: dict[Channel, str] = {"events": EVENTS, "rejected": REJECTED, "tickets": TICKETS}

# What the handler gets is a batch of records; what travels in each is a NotificationRequest.
Incoming = Annotated[KafkaMessage, WithJsonSchema({"title": "NotificationRequest"})]
IncomingEvents = Annotated[KafkaMessage, WithJsonSchema({"title": "DomainEvent"})]


class KafkaTransport(SupervisedTransport):
    """Requests from one topic as a member of a consumer group, events to topics."""

    name = "kafka"

    def __init__(self, settings: KafkaSettings, door: Door, events: EventDoor | None = None) -> None:
        super().__init__()
        self._settings = settings
        self._door = door
        self._event_door = events
        self._make_broker()

    def _make_broker(self) -> None:
        self.broker = KafkaBroker(
            self._settings.bootstrap_servers,
            enable_idempotence=True,
            max_request_size=RECORD_MAX_BYTES,
            linger_ms=0,
            graceful_timeout=DRAIN_SECONDS,
            security=_security(self._settings),
            specification_url=SPECIFICATION_URL,
            description="Kafka; with TLS and a login where `KAFKA_SECURITY_PROTOCOL` says so.",
            logger=None,
            apply_types=False,
        )
        self._subscriber = self._subscribe(
            self._settings.topic,
            self._settings.group_id,
            "receiveNotificationFromKafka",
            "Requests for notifications. `KAFKA_TOPIC` names the topic; the key is the producer's choice.",
        )
        self._subscriber(self.receive)
        self._subscribers = [self._subscriber]
        if self._event_door is not None:
            events = self._subscribe(
                self._settings.events_topic,
                f"{self._settings.group_id}-events",
                "receiveEventFromKafka",
                "What happened, for triggers. `KAFKA_EVENTS_TOPIC` names the topic; the key is the producer's choice.",
            )
            events(self.receive_events)
            self._subscribers.append(events)
        self.broker.publisher(
            EVENTS,
            schema=NotificationEvent,
            title="sendEventToKafka",
            description="What happens to deliveries. The key is the notification's id, so its events stay in order.",
        )
        self.broker.publisher(
            REJECTED,
            schema=RejectedMessage,
            title="sendRejectedToKafka",
            description="Messages that could not become notifications. The key is the rejection's id.",
        )
        self.broker.publisher(
            TICKETS,
            schema=TicketEvent,
            title="sendTicketToKafka",
            description="What happens at the support desk. The key is the ticket's, so its events stay in order.",
        )

    def _subscribe(self, topic: str, group_id: str, title: str, description: str) -> BatchSubscriber:
        return self.broker.subscriber(
            # Topics belong to the cluster's owner; most clusters make them at first use.
            Topic(topic, declare=False),
            group_id=group_id,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            batch=True,
            batch_timeout_ms=GATHER_MILLISECONDS,
            max_records=self._settings.batch_max_records,
            max_partition_fetch_bytes=RECORD_MAX_BYTES,
            no_reply=True,
            parser=_without_headers,
            decoder=_undecoded,
            title=title,
            description=description,
        )

    async def receive(self, message: Incoming) -> None:
        """Take a batch of requests in; commit the offsets after the commit."""
        bury = partial(self._bury, self._settings.topic)
        await self._take(message, take(self._door, _arrivals(message, "kafka"), bury))

    async def receive_events(self, message: IncomingEvents) -> None:
        """The same for a batch of events."""
        if self._event_door is not None:
            bury = partial(self._bury, self._settings.events_topic)
            arrivals = _arrivals(message, "kafka-events")
            await self._take(message, take_events(self._door, self._event_door, arrivals, bury))

    async def _take(self, message: KafkaMessage, taking: Coroutine[Any, Any, None]) -> None:
        try:
            await taking
        except Exception as error:  # noqa: BLE001 - whatever it was, the records must not be passed over
            log.error("kafka: a batch will be read again: %r", error)  # noqa: TRY400 - one line
            await message.nack()
            return
        try:
            await message.ack()
        except KafkaError as error:
            log.warning("kafka: offsets were not committed, their records will be recognised: %r", error)

    async def _publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        confirmations = [
            await self.broker.publish(
                event.body,
                topic=TOPICS[channel],
                key=event.subject.encode(),
                headers={"content-type": "application/json", "type": event.type},
                no_confirm=True,
            )
            for event in events
        ]
        await asyncio.gather(*confirmations)

    async def _open(self) -> str:
        await _probe(self._settings)
        await self.broker.start()
        return await self._check()

    async def _check(self) -> str:
        if not await self.broker.ping(PING_SECONDS):
            raise ConnectionLostError("the brokers do not answer")
        consumer = self._subscriber.consumer
        if consumer is None:
            raise ConnectionLostError("the consumer is gone")
        if not consumer.partitions_for_topic(self._settings.topic):
            return f"waiting for the topic {self._settings.topic!r}, which does not exist"
        partitions = len(consumer.assignment())
        return f"consuming {partitions} partitions of the topic {self._settings.topic!r}"

    async def _stop_consuming(self) -> None:
        for subscriber in self._subscribers:
            await subscriber.stop()

    async def _tear_down(self) -> None:
        broker, subscribers = self.broker, self._subscribers
        self._make_broker()
        # What is under way is not committed and will be read again. Left alone it would hold up the end of
        # the membership, and the group would wait for it.
        for task in (task for subscriber in subscribers for task in subscriber.tasks):
            task.cancel()
        await broker.stop()

    async def _bury(self, topic: str, arrival: Arrival, reason: str) -> None:
        async with asyncio.timeout(BURY_SECONDS):
            await self.broker.publish(
                arrival.raw,
                topic=f"{topic}.dead",
                headers={"x-notifications-error": reason[:1000]},
            )


def _records(message: KafkaMessage) -> Sequence[ConsumerRecord]:
    raw = message.raw_message
    return raw if isinstance(raw, tuple) else (raw,)


def _arrivals(message: KafkaMessage, way: str) -> list[Arrival]:
    return [_arrival(record, way) for record in _records(message)]


def _arrival(record: ConsumerRecord, way: str) -> Arrival:
    # The time tells a topic that was made anew, whose offsets start again.
    source = f"{way}:{record.topic}/{record.partition}/{record.offset}"
    return Arrival(record.value or b"", source, f"{source}/{record.timestamp}")


async def _without_headers(
    records: tuple[ConsumerRecord, ...], original: AsyncFunc
) -> StreamMessage[tuple[ConsumerRecord, ...]]:
    """Headers mean nothing here, and one that is not UTF-8 would make FastStream drop the batch."""
    message: StreamMessage[Any] = await original(tuple(replace(record, headers=()) for record in records))
    return message


async def _undecoded(message: StreamMessage[Any]) -> StreamMessage[Any]:
    return message


def _security(settings: KafkaSettings) -> BaseSecurity | None:
    context, password = settings.tls_context, settings.sasl_password
    if settings.sasl_username is None or password is None:
        return None if context is None else BaseSecurity(ssl_context=context)
    login = settings.sasl_username, password.get_secret_value()
    match settings.sasl_mechanism:
        case "SCRAM-SHA-256":
            return SASLScram256(*login, context)
        case "SCRAM-SHA-512":
            return SASLScram512(*login, context)
    return SASLPlaintext(*login, context)


async def _probe(settings: KafkaSettings) -> None:
    """Raise what is wrong when no server takes us; the client's own attempt says it to its log alone."""
    problem: Exception = OSError("no servers in KAFKA_BOOTSTRAP_SERVERS")
    for host, port, _ in collect_hosts(settings.bootstrap_servers):
        try:
            connection = await create_conn(
                host,
                port,
                request_timeout_ms=PROBE_SECONDS * 1000,
                **parse_security(_security(settings)),
            )
        except (OSError, TimeoutError, KafkaError) as error:
            problem = error
        else:
            await connection.close()
            return
    raise problem
