"""What the service reports back: events of deliveries, and rejected messages."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.contract.problems import FieldProblem


class EventType(StrEnum):
    """What happened to a delivery, or to a sender as a whole."""

    ACCEPTED = "accepted"
    SENT = "sent"
    RETRYING = "retrying"
    THROTTLED = "throttled"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    REQUEUED = "requeued"
    SENDER_HALTED = "sender.halted"
    SENDER_PAUSED = "sender.paused"
    SENDER_RESUMED = "sender.resumed"


class EventError(BaseModel):
    """Why a delivery was not sent."""

    kind: str = Field(
        description="refused, gone, retry, throttled, halted, unknown, expired, lost, suppressed: the class of the outcome"
    )
    code: str | None = Field(None, description="The provider's own code, as 403")
    reason: str


class NotificationEvent(BaseModel):
    """One change of one delivery, published at least once, in order for each delivery.

    A consumer recognises a repeat by `event_id`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "01940000-0000-7000-8000-000000000001",
                    "type": "sent",
                    "time": "2030-01-01T12:00:00.000000Z",
                    "id": "01940000-0000-7000-8000-000000000000",
                    "request_id": "order-17-paid",
                    "delivery_id": 42,
                    "sender": "TG",
                    "address": "123456789",
                    "attempt": 1,
                    "provider_message_ids": ["1001"],
                    "metadata": {"order": 17},
                }
            ]
        }
    )

    event_id: UUID
    type: EventType
    time: datetime
    id: UUID | None = Field(None, description="The notification; null when the event is about a sender")
    request_id: str | None = Field(None, description="The producer's `id`")
    delivery_id: int | None = None
    sender: str
    address: str | None = None
    recipient: str | None = Field(None, description="The person it is for, where it is a recipient")
    attempt: int = 0
    provider_message_ids: tuple[str, ...] = ()
    error: EventError | None = None
    category: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class RejectedMessage(BaseModel):
    """A message that could not become a notification. It is kept and can be replayed over REST."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01940000-0000-7000-8000-000000000002",
                    "time": "2030-01-01T12:00:00.000000Z",
                    "source": "rabbit:notifications",
                    "reason": "bdy: is not a field of this message",
                    "problems": [
                        {
                            "field": "bdy",
                            "problem": "is not a field of this message",
                            "code": "extra_forbidden",
                        }
                    ],
                    "body": '{"title": "Backup failed", "bdy": "disk full", "sender": "TG"}',
                    "encoding": "utf-8",
                    "size": 62,
                    "truncated": False,
                }
            ]
        }
    )

    id: UUID
    time: datetime
    source: str = Field(description="Way in, as rabbit:notifications or kafka:notifications/0/17")
    reason: str
    problems: tuple[FieldProblem, ...] = ()
    body: str = Field(description="The raw message, or its beginning")
    encoding: Literal["utf-8", "base64"] = "utf-8"
    size: int = Field(description="Size of the raw message, bytes")
    truncated: bool = Field(False, description="`body` holds only the beginning; REST has the whole")
