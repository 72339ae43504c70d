"""What REST shows of tickets."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, Field

from service.db.pages import Row


class OperatorView(BaseModel):
    """A specialist."""

    id: str
    name: str | None


class TicketView(BaseModel):
    """A conversation of one person with the desk."""

    id: int
    status: Literal["open", "closed"]
    sender: str
    address: str = Field(description="The person's address for that sender")
    name: str
    username: str | None
    locale: str
    recipient: str | None = Field(description="The person, where they are a recipient")
    category: str | None
    notification_id: UUID | None = Field(description="The notification that the person answers")
    operator: OperatorView | None = Field(description="Who has it")
    opened_at: datetime
    claimed_at: datetime | None
    first_reply_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None = Field(description="operator, person, inactivity or api")
    rating: int | None = Field(description="From 1 to 5")

    @classmethod
    def of(cls, row: Row) -> "TicketView":
        return cls(**ticket_fields(row))


class PartView(BaseModel):
    """One message of the channel."""

    kind: str = Field(description="text, photo, video, document, voice, sticker, …")
    text: str


class MessageView(BaseModel):
    """What was said; an album has several parts."""

    id: int
    origin: Literal["person", "operator", "service"]
    toward: Literal["desk", "person"] | None = Field(description="null: a note of the desk to itself")
    operator: OperatorView | None
    parts: list[PartView]
    state: Literal["waiting", "sending", "sent", "failed", "note"]
    delivery_id: int | None = Field(description="Its delivery, under /v1/deliveries")
    created_at: datetime
    edited_at: datetime | None

    @classmethod
    def of(cls, row: Row) -> "MessageView":
        return cls(
            id=row["id"],
            origin=row["origin"],
            toward=row["toward"],
            operator=operator_of(row),
            parts=[PartView(kind=part["kind"], text=part["text"]) for part in orjson.loads(row["parts"])],
            state=row["state"],
            delivery_id=row["delivery_id"],
            created_at=row["created_at"],
            edited_at=row["edited_at"],
        )


class AnsweredView(BaseModel):
    """The notification that the person answers, as it was when they did."""

    title: str
    body: str
    category: str | None
    delivery_id: int
    trail: list[dict[str, Any]] = Field(description="What became of it on each of its ways")


class TicketDetail(TicketView):
    """A ticket with its newest messages, the newest first; all of them are under `/messages`."""

    answers: AnsweredView | None
    messages: list[MessageView]


class Figures(BaseModel):
    """Times are seconds; null where there is nothing to count."""

    tickets: int
    open: int
    closed: int
    first_reply_median: float | None
    first_reply_p90: float | None
    resolution_median: float | None
    resolution_p90: float | None
    rating_mean: float | None
    ratings: int


class OperatorFigures(Figures):
    """Of the tickets that a specialist has."""

    operator: OperatorView


def ticket_fields(row: Row) -> dict[str, Any]:
    names = (
        "id", "status", "sender", "name", "username", "locale", "recipient", "category", "notification_id",
        "opened_at", "claimed_at", "first_reply_at", "closed_at", "closed_by", "rating",
    )  # fmt: skip
    return {"address": row["chat"], "operator": operator_of(row), **{name: row[name] for name in names}}


def operator_of(row: Row) -> OperatorView | None:
    if row["operator_id"] is None:
        return None
    return OperatorView(id=row["operator_id"], name=row["operator_name"])


def figures_of(row: Row) -> dict[str, Any]:
    return {
        "tickets": row["tickets"],
        "open": row["open"],
        "closed": row["closed"],
        "first_reply_median": row["first_reply"],
        "first_reply_p90": row["first_reply_p90"],
        "resolution_median": row["resolution"],
        "resolution_p90": row["resolution_p90"],
        "rating_mean": row["rating"],
        "ratings": row["ratings"],
    }
