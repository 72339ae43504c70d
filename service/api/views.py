"""What REST shows of the engine's rows."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from service.contract import EventError, Priority
from service.db.pages import Row
from service.delivery.listing import load_json
from service.senders.shown_address import shown_address

Status = Literal["queued", "sending", "sent", "failed", "expired", "cancelled", "suppressed", "unknown"]


class DeliveryView(BaseModel):
    """One notification to one address through one sender."""

    id: int
    notification_id: UUID
    request_id: str | None = Field(description="The producer's `id`")
    position: int = Field(description="Place in the fallback chain, from 0")
    sender: str
    address: str
    recipient: str | None = Field(description="The person it is for")
    priority: Priority
    status: Status
    attempt: int = Field(description="Attempts used up; being throttled uses none")
    provider_message_ids: list[str]
    error: EventError | None = Field(description="What the last attempt met with")
    send_at: datetime = Field(description="Not before this time")
    due_at: datetime = Field(description="When it is looked at next, while it waits")
    expires_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    acknowledged_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "DeliveryView":
        return cls(**_delivery_fields(row))


class DeliveryEvent(BaseModel):
    """One thing that happened to a delivery."""

    type: str = Field(description="As in the events that are published: accepted, sent, retrying, failed, …")
    time: datetime
    attempt: int = Field(description="Attempts used up by then")
    error: EventError | None


class DeliveryDetail(DeliveryView):
    """A delivery with what happened to it, the oldest first."""

    attempts: list[DeliveryEvent] = Field(description="Those of `events` that are answers of the provider")
    events: list[DeliveryEvent]

    @classmethod
    def of_log(cls, row: Row, log: list[Row]) -> "DeliveryDetail":
        events = _events(row, log)
        return cls(
            **_delivery_fields(row),
            events=events,
            attempts=[event for event in events if event.type in _ANSWERS],
        )


class Hop(BaseModel):
    """One link of a fallback chain."""

    sender: str
    address: str
    spacing_seconds: float = Field(description="Least time between two messages to this address")


_ANSWERS = frozenset({"sent", "retrying", "throttled", "failed", "unknown"})


def _delivery_fields(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "notification_id": row["notification_id"],
        "request_id": row["request_id"],
        "position": row["position"],
        "sender": row["sender"],
        "address": shown_address(row["sender"], row["address"]),
        "recipient": None if row["facts"] is None else load_json(row["facts"]).get("recipient"),
        "priority": Priority.of_lane(row["priority"]),
        "status": row["status"],
        "attempt": row["attempt"],
        "provider_message_ids": row["provider_ids"],
        "error": _error_of(row),
        "send_at": row["send_at"],
        "due_at": row["due_at"],
        "expires_at": row["expires_at"],
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
        "acknowledged_at": row["acknowledged_at"],
    }


def _error_of(row: Row) -> EventError | None:
    if row["error_kind"] is None:
        return None
    return EventError(kind=row["error_kind"], code=row["error_code"], reason=row["error_text"] or "")


def _events(row: Row, log: list[Row]) -> list[DeliveryEvent]:
    """What the log leaves out is told by the row: its beginning, and a success at the first attempt."""
    logged = [
        DeliveryEvent(type=entry["event"], time=entry["at"], attempt=entry["attempt"], error=_error_of(entry))
        for entry in log
    ]
    types = {event.type for event in logged}
    unwanted = row["status"] == "suppressed" and "suppressed" not in types
    first = DeliveryEvent(
        type="suppressed" if unwanted else "accepted",
        time=row["created_at"],
        attempt=0,
        error=_error_of(row) if unwanted else None,
    )
    events = [first, *logged]
    if row["status"] == "sent" and "sent" not in types:
        events.append(DeliveryEvent(type="sent", time=row["finished_at"], attempt=row["attempt"], error=None))
    return sorted(events, key=lambda event: event.time)
