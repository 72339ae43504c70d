"""What goes out: the events of the engine, and the shape in which a transport gets them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import orjson

from service.contract import EventType
from service.db.ids import uuid7
from service.senders.shown_address import shown_address

Channel = Literal["events", "rejected", "tickets"]


@dataclass(slots=True)
class OutgoingEvent:
    """One message to publish. `type` is the event type (`sent`), `subject` what it is about: events of
    one subject must arrive in order. `body` is the JSON of a `NotificationEvent`, `RejectedMessage` or
    `TicketEvent`.
    """

    type: str
    subject: str
    body: bytes


class Publisher(Protocol):
    """What the outbox relay needs of a transport."""

    name: str

    @property
    def ready(self) -> bool:
        """Whether publishing makes sense now: connected."""
        ...

    async def publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        """Publish in order and return when the broker has confirmed every one; raise otherwise."""
        ...


@dataclass(slots=True)
class Subject:
    """What an event is about: a delivery, or (with the later fields empty) its notification."""

    notification_id: UUID
    request_id: str | None
    sender: str
    address: str | None
    category: str | None
    metadata: dict[str, Any]
    delivery_id: int | None = None
    recipient: str | None = None


def event_json(
    event: str,
    about: Subject,
    *,
    at: datetime,
    attempt: int = 0,
    parts: Sequence[str] = (),
    error: tuple[str, str | None, str] | None = None,
) -> str:
    """The JSON of a `NotificationEvent`; `error` is its kind, code and reason."""
    body: dict[str, Any] = {
        "event_id": uuid7(),
        "type": event,
        "time": at,
        "id": str(about.notification_id),  # the driver's own UUID class is unknown to orjson
        "request_id": about.request_id,
        "delivery_id": about.delivery_id,
        "sender": about.sender,
        "address": about.address and shown_address(about.sender, about.address),
        "recipient": about.recipient,
        "attempt": attempt,
        "provider_message_ids": parts,
        "error": None if error is None else {"kind": error[0], "code": error[1], "reason": error[2]},
        "category": about.category,
        "metadata": about.metadata,
    }
    return orjson.dumps(body, option=orjson.OPT_UTC_Z).decode()


def sender_event_json(event: EventType, sender: str, reason: str | None, *, at: datetime) -> str:
    """The JSON of a `NotificationEvent` that is about a sender as a whole."""
    body = {
        "event_id": uuid7(),
        "type": event,
        "time": at,
        "sender": sender,
        "error": None if reason is None else {"kind": "halted", "code": None, "reason": reason},
    }
    return orjson.dumps(body, option=orjson.OPT_UTC_Z).decode()
