"""The engine's tables. Migrations are made from these; a test holds the two together.

Foreign keys are left out on purpose between `notification`, `delivery` and `delivery_log`: they are
written together by single statements and removed together by retention, and the check would cost
more than the insert itself.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from service.db.columns import time_column

ACTIVE = "status IN ('queued', 'sending')"
STATUSES = ("queued", "sending", "sent", "failed", "expired", "cancelled", "suppressed", "unknown")
_STATUS_LIST = ", ".join(f"'{status}'" for status in STATUSES)


class Notification(SQLModel, table=True):
    """One accepted request: its content, shared by its deliveries.

    `id` is a UUIDv7, so that age is a range of the primary key. `dedup_key` is the named key of
    `delivery.dedup`; `content_hash` tells a repeat from another message under the same key.
    `route` is the fallback chain: [[sender, address, spacing seconds, pacing key], …]; a link that is
    several devices of a person is a list of such hops.
    """

    __tablename__ = "notification"
    __table_args__ = (
        Index(
            "notification_dedup_key", "dedup_key", unique=True, postgresql_where=text("dedup_key IS NOT NULL")
        ),
        CheckConstraint("(dedup_key IS NULL) = (content_hash IS NULL)", name="notification_dedup_pair"),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    dedup_key: str | None = Field(default=None, sa_column=Column(Text))
    content_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    request_id: str | None = Field(default=None, sa_column=Column(Text))
    source: str = Field(sa_column=Column(Text, nullable=False))
    content: str = Field(sa_column=Column(JSON, nullable=False))
    route: str = Field(sa_column=Column(JSONB, nullable=False))
    category: str | None = Field(default=None, sa_column=Column(Text))
    created_at: datetime = Field(sa_column=time_column())


class Delivery(SQLModel, table=True):
    """One notification to one address through one sender: the row that waits, is leased and settled.

    Order within a lane (sender, address, priority) is the order of `id`. `due_at` is when to look
    at the row next; `behind` marks that it waits only for an earlier row of its lane. `spacing` is
    the least number of seconds between two messages with the same `pacing_key`. `facts` say for whom
    it is: recipient, locale, zone, quiet, escalate_after, the places of the chain that are several
    `devices` and, where a request has many readers, the `route` of this one. Devices of one place have
    a row each. At `escalate_at` it is asked whether the next sender's turn has come: for what was sent
    and not acknowledged, and for what failed at one of several devices. Since `throttled_at` its
    provider has done nothing but throttle it.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUS_LIST})", name="delivery_status"),
        CheckConstraint(
            "(lease_token IS NULL) = (lease_until IS NULL) AND (lease_token IS NULL) = (status <> 'sending')",
            name="delivery_lease",
        ),
        CheckConstraint(
            "(finished_at IS NULL) = (status IN ('queued', 'sending', 'unknown'))", name="delivery_finished"
        ),
        Index("delivery_notification", "notification_id", "id"),
        Index("delivery_address", "sender", "address", "id"),
        Index(
            "delivery_due", "sender", "priority", "due_at", "id", postgresql_where=text("status = 'queued'")
        ),
        Index("delivery_lane", "sender", "address", "priority", "id", postgresql_where=text(ACTIVE)),
        Index(
            "delivery_behind",
            "sender",
            "address",
            "priority",
            "id",
            postgresql_where=text("status = 'queued' AND behind"),
        ),
        Index("delivery_leased", "lease_until", postgresql_where=text("status = 'sending'")),
        Index(
            "delivery_expiring",
            "expires_at",
            postgresql_where=text("status = 'queued' AND expires_at IS NOT NULL"),
        ),
        Index("delivery_failed", "id", postgresql_where=text("status = 'failed'")),
        Index("delivery_unknown", "id", postgresql_where=text("status = 'unknown'")),
        Index("delivery_escalating", "escalate_at", postgresql_where=text("escalate_at IS NOT NULL")),
        Index("delivery_recipient", "recipient_id", "id", postgresql_where=text("recipient_id IS NOT NULL")),
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    notification_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    position: int = Field(sa_column=Column(SmallInteger, nullable=False))
    sender: str = Field(sa_column=Column(Text, nullable=False))
    address: str = Field(sa_column=Column(Text, nullable=False))
    priority: int = Field(sa_column=Column(SmallInteger, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    hold_unknown: bool = Field(default=False, nullable=False)
    behind: bool = Field(default=False, nullable=False)
    started: bool = Field(default=False, nullable=False)
    spacing: float = Field(default=0.0, sa_column=Column(Float, nullable=False))
    pacing_key: str = Field(sa_column=Column(Text, nullable=False))
    send_at: datetime = Field(sa_column=time_column())
    due_at: datetime = Field(sa_column=time_column())
    expires_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    attempt: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    lost_leases: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    lease_token: UUID | None = Field(default=None, sa_column=Column(Uuid))
    lease_until: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    provider_ids: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default="{}"))
    error_kind: str | None = Field(default=None, sa_column=Column(Text))
    error_code: str | None = Field(default=None, sa_column=Column(Text))
    error_text: str | None = Field(default=None, sa_column=Column(Text))
    created_at: datetime = Field(sa_column=time_column())
    finished_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    recipient_id: int | None = Field(default=None, sa_column=Column(BigInteger))
    facts: str | None = Field(default=None, sa_column=Column(JSONB))
    escalate_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    acknowledged_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    throttled_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class FanOut(SQLModel, table=True):
    """A request to a topic whose subscribers do not all have their deliveries yet.

    `after` is the recipient up to whom they have. `request` is the request as it was accepted.
    """

    __tablename__ = "fan_out"

    notification_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    topic: str = Field(sa_column=Column(Text, nullable=False))
    request: str = Field(sa_column=Column(JSON, nullable=False))
    template_version: int | None = Field(default=None, sa_column=Column(BigInteger))
    after: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=time_column())


class Hold(SQLModel, table=True):
    """A notification of which nothing may be sent for now; see `delivery.holds`."""

    __tablename__ = "hold"

    notification_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    since: datetime = Field(sa_column=time_column())


class DeliveryLog(SQLModel, table=True):
    """What happened to a delivery besides acceptance and a first-time success, which its own row tells."""

    __tablename__ = "delivery_log"
    __table_args__ = (Index("delivery_log_delivery", "delivery_id", "id"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    delivery_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    at: datetime = Field(sa_column=time_column())
    event: str = Field(sa_column=Column(Text, nullable=False))
    attempt: int = Field(sa_column=Column(SmallInteger, nullable=False))
    error_kind: str | None = Field(default=None, sa_column=Column(Text))
    error_code: str | None = Field(default=None, sa_column=Column(Text))
    error_text: str | None = Field(default=None, sa_column=Column(Text))


class Outbox(SQLModel, table=True):
    """Events of one commit that still have to be published through one transport.

    Three arrays of equal length, an element an event: its type, what it is about (a notification's
    id: events about the same thing keep their order), and its JSON.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_next", "transport", "id"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    transport: str = Field(sa_column=Column(Text, nullable=False))
    channel: str = Field(sa_column=Column(Text, nullable=False))
    types: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    subjects: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    bodies: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))


class PacingBucket(SQLModel, table=True):
    """When the next message of an account or address may leave (GCRA's theoretical arrival time)."""

    __tablename__ = "pacing_bucket"

    bucket: str = Field(sa_column=Column(Text, primary_key=True))
    next_at: datetime = Field(sa_column=time_column())


class SenderState(SQLModel, table=True):
    """A sender that a person paused or its provider halted; no row: it works."""

    __tablename__ = "sender_state"
    __table_args__ = (CheckConstraint("state IN ('paused', 'halted')", name="sender_state_known"),)

    sender: str = Field(sa_column=Column(Text, primary_key=True))
    state: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    since: datetime = Field(sa_column=time_column())


class Rejection(SQLModel, table=True):
    """A message that could not become a notification, kept whole for replay."""

    __tablename__ = "rejection"

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    at: datetime = Field(sa_column=time_column())
    source: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    problems: str = Field(sa_column=Column(JSON, nullable=False))
    raw: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    replayed_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    notification_id: UUID | None = Field(default=None, sa_column=Column(Uuid))
