"""The tables of mailings."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Text,
    Uuid,
    text,
)
from sqlmodel import Field, SQLModel

from service.db.columns import time_column

STATUSES = ("draft", "scheduled", "running", "paused", "finished", "cancelled", "failed")
CANARIES = ("none", "sending", "approval", "passed")


def _count() -> Column[Any]:
    return Column(BigInteger, nullable=False)


def _one_of(column: str, words: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"mailing_{column}")


class Mailing(SQLModel, table=True):
    """A broadcast, and what is known of its deliveries.

    `look_at`: when a runner has to look at it next; null where nothing is left to do. What was counted is
    kept so that each delivery is read once when it has ended: all with ids up to `counted_to` are in
    `tally`, but for those in `open`, of which `later` are not due soon. `pace` is what rates are told
    from. `next_slot`: where a cap of its own lets the next delivery leave.
    """

    __tablename__ = "mailing"
    __table_args__ = (
        _one_of("status", STATUSES),
        _one_of("canary", CANARIES),
        CheckConstraint("(started_at IS NULL) = (notification_id IS NULL)", name="mailing_started"),
        Index(
            "mailing_unfinished",
            "status",
            postgresql_where=text("status IN ('scheduled', 'running', 'paused')"),
        ),
        Index("mailing_next", "look_at", postgresql_where=text("look_at IS NOT NULL")),
        Index(
            "mailing_notification",
            "notification_id",
            unique=True,
            postgresql_where=text("notification_id IS NOT NULL"),
        ),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    source: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(sa_column=Column(Text, nullable=False))
    draft: str = Field(sa_column=Column(JSON, nullable=False))
    only_zones: list[str] | None = Field(default=None, sa_column=Column(ARRAY(Text)))
    notification_id: UUID | None = Field(default=None, sa_column=Column(Uuid))
    template_version: int | None = Field(default=None, sa_column=Column(BigInteger))
    canary: str = Field(sa_column=Column(Text, nullable=False))
    reason: str | None = Field(default=None, sa_column=Column(Text))
    planned: int | None = Field(default=None, sa_column=Column(BigInteger))
    made: int = Field(sa_column=_count())
    tally: str = Field(sa_column=Column(JSON, nullable=False))
    counted_to: int = Field(sa_column=_count())
    open: list[int] = Field(sa_column=Column(ARRAY(BigInteger), nullable=False))
    later: int = Field(sa_column=_count())
    pace: str = Field(sa_column=Column(JSON, nullable=False))
    next_slot: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    look_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    created_at: datetime = Field(sa_column=time_column())
    start_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    started_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    counted_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    ended_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    retired_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class MailingPart(SQLModel, table=True):
    """The walk through the people of one zone, or of all zones (`*`); `after`: up to whom it has come."""

    __tablename__ = "mailing_part"

    mailing_id: UUID = Field(
        sa_column=Column(Uuid, ForeignKey("mailing.id", ondelete="CASCADE"), primary_key=True)
    )
    zone: str = Field(sa_column=Column(Text, primary_key=True))
    planned: int = Field(sa_column=_count())
    made: int = Field(sa_column=_count())
    after: int = Field(sa_column=_count())
    done: bool = Field(nullable=False)
