"""The support desk's tables. Everything about a recipient's tickets goes with the recipient."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from service.db.columns import time_column


def _id() -> Column[Any]:
    return Column(BigInteger, Identity(always=True), primary_key=True)


class Ticket(SQLModel, table=True):
    """A conversation of one person with the desk. A person has one open ticket at a time.

    `desk` is the desk's chat and `thread` the topic in it. While `topic` is `opening`, `topic_delivery`
    makes it, and what is written waits; `plain` is a desk without topics. `card_delivery` sent the header
    card, `card_message` is its id. `about` is what the person answers: text and trail, as they were then.
    `idle_at`: when the person's silence is looked at next.
    """

    __tablename__ = "ticket"
    __table_args__ = (
        CheckConstraint("status IN ('open', 'closed')", name="ticket_status"),
        CheckConstraint("topic IN ('opening', 'ready', 'plain')", name="ticket_topic"),
        CheckConstraint("(topic = 'ready') = (thread IS NOT NULL)", name="ticket_thread"),
        CheckConstraint("(status = 'closed') = (closed_at IS NOT NULL)", name="ticket_closed"),
        CheckConstraint("rating BETWEEN 1 AND 5", name="ticket_rating"),
        CheckConstraint("(rating IS NULL) = (rated_at IS NULL)", name="ticket_rated"),
        Index("ticket_of_person", "sender", "chat", unique=True, postgresql_where=text("status = 'open'")),
        Index("ticket_chat", "sender", "chat", "id"),
        Index("ticket_recipient", "recipient_id"),
        Index("ticket_opened", "opened_at"),
        Index("ticket_closed_at", "closed_at", postgresql_where=text("status = 'closed'")),
        Index("ticket_thread_of_desk", "desk", "thread", postgresql_where=text("thread IS NOT NULL")),
        Index("ticket_open", "id", postgresql_where=text("status = 'open'")),
        Index("ticket_operator", "operator_id", "id"),
        Index("ticket_idle", "idle_at", postgresql_where=text("idle_at IS NOT NULL")),
        Index(
            "ticket_card",
            "card_delivery",
            postgresql_where=text("card_delivery IS NOT NULL AND card_message IS NULL"),
        ),
        Index("ticket_opening", "topic_delivery", postgresql_where=text("topic = 'opening'")),
    )

    id: int | None = Field(default=None, sa_column=_id())
    sender: str = Field(sa_column=Column(Text, nullable=False))
    chat: str = Field(sa_column=Column(Text, nullable=False))
    name: str = Field(sa_column=Column(Text, nullable=False))
    username: str | None = Field(default=None, sa_column=Column(Text))
    locale: str = Field(sa_column=Column(Text, nullable=False))
    recipient_id: int | None = Field(
        default=None, sa_column=Column(BigInteger, ForeignKey("recipient.id", ondelete="CASCADE"))
    )
    category: str | None = Field(default=None, sa_column=Column(Text))
    notification_id: UUID | None = Field(default=None, sa_column=Column(Uuid))
    delivery_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    about: str | None = Field(default=None, sa_column=Column(JSONB))
    status: str = Field(sa_column=Column(Text, nullable=False))
    desk: str = Field(sa_column=Column(Text, nullable=False))
    topic: str = Field(sa_column=Column(Text, nullable=False))
    thread: int | None = Field(default=None, sa_column=Column(BigInteger))
    topic_delivery: int | None = Field(default=None, sa_column=Column(BigInteger))
    card_delivery: int | None = Field(default=None, sa_column=Column(BigInteger))
    card_message: int | None = Field(default=None, sa_column=Column(BigInteger))
    operator_id: str | None = Field(default=None, sa_column=Column(Text))
    opened_at: datetime = Field(sa_column=time_column())
    claimed_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    first_reply_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    closed_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    closed_by: str | None = Field(default=None, sa_column=Column(Text))
    idle_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    warned: bool = Field(default=False, sa_column=Column(Boolean, nullable=False))
    rating: int | None = Field(default=None, sa_column=Column(SmallInteger))
    rated_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class TicketMessage(SQLModel, table=True):
    """One thing that was said. `toward` whom it is relayed; null: a note of the desk to itself.

    `parts` holds {kind, text, entities, file, unique} for each message of the channel, several for an album.
    A message waits for its delivery until `ready_at`, for its ticket's topic, and for what is before it.
    `repeats` counts how often it had to be relayed anew.
    """

    __tablename__ = "ticket_message"
    __table_args__ = (
        CheckConstraint("origin IN ('person', 'operator', 'service')", name="ticket_message_origin"),
        CheckConstraint("toward IN ('desk', 'person')", name="ticket_message_toward"),
        CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'failed', 'note')", name="ticket_message_state"
        ),
        CheckConstraint("(toward IS NULL) = (state = 'note')", name="ticket_message_note"),
        Index("ticket_message_ticket", "ticket_id", "id"),
        Index("ticket_message_waiting", "ready_at", postgresql_where=text("state = 'waiting'")),
        Index("ticket_message_sending", "delivery_id", postgresql_where=text("state = 'sending'")),
        Index("ticket_message_failed", "delivery_id", postgresql_where=text("state = 'failed'")),
        Index("ticket_message_album", "ticket_id", "album", postgresql_where=text("album IS NOT NULL")),
    )

    id: int | None = Field(default=None, sa_column=_id())
    ticket_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("ticket.id", ondelete="CASCADE"), nullable=False)
    )
    origin: str = Field(sa_column=Column(Text, nullable=False))
    toward: str | None = Field(default=None, sa_column=Column(Text))
    operator_id: str | None = Field(default=None, sa_column=Column(Text))
    chat: str | None = Field(default=None, sa_column=Column(Text))
    reply_to: int | None = Field(default=None, sa_column=Column(BigInteger))
    album: str | None = Field(default=None, sa_column=Column(Text))
    parts: str = Field(sa_column=Column(JSONB, nullable=False))
    buttons: str | None = Field(default=None, sa_column=Column(JSONB))
    state: str = Field(sa_column=Column(Text, nullable=False))
    ready_at: datetime = Field(sa_column=time_column())
    delivery_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    repeats: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    created_at: datetime = Field(sa_column=time_column())
    edited_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class RelayedMessage(SQLModel, table=True):
    """Where a part of a message is: in the chat where it was written, and in the one it was copied to.

    `part` is -1 for a copy of which nobody knows which part it is.
    """

    __tablename__ = "relayed_message"
    __table_args__ = (Index("relayed_message_part", "message_id", "part"),)

    chat: str = Field(sa_column=Column(Text, primary_key=True))
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    message_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("ticket_message.id", ondelete="CASCADE"), nullable=False)
    )
    part: int = Field(sa_column=Column(SmallInteger, nullable=False))


class SupportOperator(SQLModel, table=True):
    """A specialist who has acted at the desk."""

    __tablename__ = "support_operator"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    seen_at: datetime = Field(sa_column=time_column())


class SupportBan(SQLModel, table=True):
    """A person who may not write to the desk."""

    __tablename__ = "support_ban"
    __table_args__ = (UniqueConstraint("sender", "chat", name="support_ban_once"),)

    id: int | None = Field(default=None, sa_column=_id())
    sender: str = Field(sa_column=Column(Text, nullable=False))
    chat: str = Field(sa_column=Column(Text, nullable=False))
    operator_id: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=time_column())


class SupportDesk(SQLModel, table=True):
    """Where a desk's chat is now, after its group became a supergroup."""

    __tablename__ = "support_desk"

    chat: str = Field(sa_column=Column(Text, primary_key=True))
    moved_to: str = Field(sa_column=Column(Text, nullable=False))
