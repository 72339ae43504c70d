"""The tables of recipients. Everything about a person goes with their row."""

from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from service.db.columns import time_column


def _recipient_id(*, primary_key: bool = False) -> Column[Any]:
    target = ForeignKey("recipient.id", ondelete="CASCADE")
    return Column(BigInteger, target, nullable=False, primary_key=primary_key)


class Recipient(SQLModel, table=True):
    """A person, by the id that producers know them by.

    Quiet hours are times of the clock in `zone`; where both are the same there are none. A column that
    is null leaves it to the settings.
    """

    __tablename__ = "recipient"
    __table_args__ = (
        CheckConstraint("(quiet_from IS NULL) = (quiet_until IS NULL)", name="recipient_quiet_pair"),
        UniqueConstraint("external_id", name="recipient_external_id"),
        Index("recipient_zone", text("coalesce(zone, '')"), "id"),
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    external_id: str = Field(sa_column=Column(Text, nullable=False))
    name: str | None = Field(default=None, sa_column=Column(Text))
    locale: str | None = Field(default=None, sa_column=Column(Text))
    zone: str | None = Field(default=None, sa_column=Column(Text))
    attributes: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    muted: bool = Field(default=False, nullable=False)
    quiet_from: time | None = Field(default=None, sa_column=Column(Time))
    quiet_until: time | None = Field(default=None, sa_column=Column(Time))
    created_at: datetime = Field(sa_column=time_column())
    updated_at: datetime = Field(sa_column=time_column())


class Contact(SQLModel, table=True):
    """A recipient's address for one sender; `position` is their order of preference, from 0.

    With `seen_at` it is a device that an app registered, and last heard of then: its address, the push
    token, is that of no other recipient's device.
    """

    __tablename__ = "contact"
    __table_args__ = (
        UniqueConstraint("recipient_id", "sender", "address", name="contact_once"),
        CheckConstraint(
            "active = (inactive_at IS NULL) AND active = (inactive_reason IS NULL)", name="contact_inactive"
        ),
        CheckConstraint(
            "seen_at IS NOT NULL OR (platform IS NULL AND app IS NULL AND device_name IS NULL)",
            name="contact_device",
        ),
        Index("contact_address", "address", "sender"),
        Index(
            "contact_device_once",
            "address",
            "sender",
            unique=True,
            postgresql_where=text("seen_at IS NOT NULL"),
        ),
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    recipient_id: int = Field(sa_column=_recipient_id())
    sender: str = Field(sa_column=Column(Text, nullable=False))
    address: str = Field(sa_column=Column(Text, nullable=False))
    position: int = Field(sa_column=Column(SmallInteger, nullable=False))
    active: bool = Field(default=True, nullable=False)
    inactive_reason: str | None = Field(default=None, sa_column=Column(Text))
    inactive_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    platform: str | None = Field(default=None, sa_column=Column(Text))
    app: str | None = Field(default=None, sa_column=Column(Text))
    device_name: str | None = Field(default=None, sa_column=Column(Text))
    seen_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class Topic(SQLModel, table=True):
    """A named list that recipients subscribe to."""

    __tablename__ = "topic"
    __table_args__ = (UniqueConstraint("name", name="topic_name"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    name: str = Field(sa_column=Column(Text, nullable=False))
    title: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=time_column())


class Subscription(SQLModel, table=True):
    """A recipient is on a topic's list. The key's order is that of a fan-out.

    The other index is a hash, so that no plan goes through it in the order of recipients instead.
    """

    __tablename__ = "subscription"
    __table_args__ = (Index("subscription_recipient", "recipient_id", postgresql_using="hash"),)

    topic_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("topic.id", ondelete="CASCADE"), primary_key=True)
    )
    recipient_id: int = Field(sa_column=_recipient_id(primary_key=True))
    at: datetime = Field(sa_column=time_column())


class Mute(SQLModel, table=True):
    """What a recipient does not want: a category, a sender, or a category through one sender."""

    __tablename__ = "mute"
    __table_args__ = (
        CheckConstraint("category IS NOT NULL OR sender IS NOT NULL", name="mute_of_something"),
        UniqueConstraint(
            "recipient_id", "category", "sender", name="mute_once", postgresql_nulls_not_distinct=True
        ),
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    recipient_id: int = Field(sa_column=_recipient_id())
    category: str | None = Field(default=None, sa_column=Column(Text))
    sender: str | None = Field(default=None, sa_column=Column(Text))


class AudienceList(SQLModel, table=True):
    """An uploaded list of people: whole once `members` is set, and of no use before."""

    __tablename__ = "audience_list"

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    members: int | None = Field(default=None, sa_column=Column(BigInteger))
    created_at: datetime = Field(sa_column=time_column())


class AudienceMember(SQLModel, table=True):
    """A recipient is on an uploaded list. Who was erased since is on no page of it."""

    __tablename__ = "audience_member"

    list_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    recipient_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))


class ContactLink(SQLModel, table=True):
    """A link by which a recipient gives a chat of theirs to this service, once."""

    __tablename__ = "contact_link"
    __table_args__ = (
        Index("contact_link_recipient", "recipient_id"),
        Index("contact_link_expiry", "expires_at"),
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    recipient_id: int = Field(sa_column=_recipient_id())
    sender: str = Field(sa_column=Column(Text, nullable=False))
    expires_at: datetime = Field(sa_column=time_column())
    used_by: str | None = Field(default=None, sa_column=Column(Text))
    created_at: datetime = Field(sa_column=time_column())


class ContactRequest(SQLModel, table=True):
    """Somebody unknown asks for notifications in a chat of theirs, and waits for a decision."""

    __tablename__ = "contact_request"
    __table_args__ = (UniqueConstraint("sender", "address", name="contact_request_once"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    sender: str = Field(sa_column=Column(Text, nullable=False))
    address: str = Field(sa_column=Column(Text, nullable=False))
    name: str = Field(sa_column=Column(Text, nullable=False))
    locale: str | None = Field(default=None, sa_column=Column(Text))
    at: datetime = Field(sa_column=time_column())


class ChannelAccount(SQLModel, table=True):
    """What a sender's own account is called in its channel, as `my_bot`: links lead there."""

    __tablename__ = "channel_account"

    sender: str = Field(sa_column=Column(Text, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=time_column())
