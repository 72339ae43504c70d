"""What the support desk reports, so that another help desk can be attached."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class TicketEventType(StrEnum):
    """What happened to a ticket."""

    OPENED = "opened"
    CLAIMED = "claimed"
    RELEASED = "released"
    HANDED_OVER = "handed_over"
    MESSAGE = "message"
    EDITED = "edited"
    UNDELIVERED = "undelivered"
    CLOSED = "closed"
    REOPENED = "reopened"
    RATED = "rated"
    BANNED = "banned"


class TicketPart(BaseModel):
    """One message of the channel: a text, or a file with its caption."""

    kind: str = Field(description="text, photo, video, document, voice, sticker, …")
    text: str = ""


class TicketMessageBody(BaseModel):
    """What was said. An album has several parts; one may be announced while the rest is on its way."""

    id: int
    origin: Literal["person", "operator", "service"]
    toward: Literal["desk", "person"] | None = Field(description="null: a note of the desk to itself")
    operator: str | None = Field(None, description="The specialist who wrote it")
    parts: tuple[TicketPart, ...]


class TicketEvent(BaseModel):
    """One change of one ticket, published at least once, in order for each ticket.

    A consumer recognises a repeat by `event_id`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "01940000-0000-7000-8000-000000000003",
                    "type": "message",
                    "time": "2030-01-01T12:00:00.000000Z",
                    "ticket": 17,
                    "sender": "TG",
                    "address": "123456789",
                    "recipient": "42",
                    "category": "payment",
                    "notification_id": "01940000-0000-7000-8000-000000000000",
                    "operator": "987654321",
                    "message": {
                        "id": 230,
                        "origin": "person",
                        "toward": "desk",
                        "parts": [{"kind": "text", "text": "It says that my card was refused"}],
                    },
                }
            ]
        }
    )

    event_id: UUID
    type: TicketEventType
    time: datetime
    ticket: int
    sender: str
    address: str = Field(description="The person's address for that sender")
    recipient: str | None = Field(None, description="The person, where they are a recipient")
    category: str | None = None
    notification_id: UUID | None = Field(None, description="The notification that the person answers")
    operator: str | None = Field(None, description="Whose ticket it is")
    by: str | None = Field(None, description="Who did it: a specialist's id, person, inactivity")
    message: TicketMessageBody | None = None
    reason: str | None = Field(None, description="Why it was not delivered")
    rating: int | None = Field(None, ge=1, le=5)
