"""Ways in and out over brokers: RabbitMQ, Kafka, both or neither. The only package that knows FastStream.

A message is handed to the engine and acknowledged; nothing is decided or kept here.
"""

from service.settings import Settings
from service.transports.base import Door, EventDoor, Transport

__all__ = ["Door", "EventDoor", "Transport", "build_transports", "configured_transports"]


def configured_transports(settings: Settings) -> list[str]:
    """The names of the transports that the settings name, without importing their clients."""
    configured = {"rabbit": settings.rabbit.host, "kafka": settings.kafka.bootstrap_servers}
    return [name for name, address in configured.items() if address]


def build_transports(settings: Settings, intake: Door, events: EventDoor | None = None) -> list[Transport]:
    """The transports that the settings name. Nothing is connected yet. Without `events` those are not consumed."""
    transports: list[Transport] = []
    # Imported when used: each brings its client along.
    for name in configured_transports(settings):
        match name:
            case "rabbit":
                from service.transports.rabbit import RabbitTransport  # noqa: PLC0415

                transports.append(RabbitTransport(settings.rabbit, intake, events))
            case "kafka":
                from service.transports.kafka import KafkaTransport  # noqa: PLC0415

                transports.append(KafkaTransport(settings.kafka, intake, events))
    return transports
