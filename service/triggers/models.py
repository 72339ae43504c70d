"""The tables of triggers. What waits for the clock is a row of its own, so that the rules themselves cost nothing."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
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
from sqlmodel import Field, SQLModel

from service.db.columns import time_column
from service.triggers.rules import KINDS, STATES

OUTCOMES = ("made", "skipped", "failed")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Trigger(SQLModel, table=True):
    """A rule. `draft` is the whole of it as `rules.TriggerDraft` reads it; the rest is what statements ask for.

    `anchor_at` is what intervals count from. `runs` counts the occurrences that were fired. `list_id` is the uploaded
    list that its mailings are for.
    """

    __tablename__ = "trigger"
    __table_args__ = (
        UniqueConstraint("name", name="trigger_name"),
        CheckConstraint(_one_of("kind", KINDS), name="trigger_kind"),
        CheckConstraint(_one_of("state", STATES), name="trigger_state"),
        CheckConstraint("(kind = 'event') = (event IS NOT NULL)", name="trigger_event_name"),
        Index(
            "trigger_event_active", "event", postgresql_where=text("state = 'active' AND event IS NOT NULL")
        ),
        Index(
            "trigger_cancel_active",
            "cancel_event",
            postgresql_where=text("state = 'active' AND cancel_event IS NOT NULL"),
        ),
        Index(
            "trigger_zones",
            "zones_at",
            postgresql_where=text("state = 'active' AND kind = 'recipient-cron'"),
        ),
        Index("trigger_state_kind", "state", "kind", "id"),
        Index("trigger_list", "list_id", postgresql_where=text("list_id IS NOT NULL")),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    draft: str = Field(sa_column=Column(JSON, nullable=False))
    event: str | None = Field(default=None, sa_column=Column(Text))
    cancel_event: str | None = Field(default=None, sa_column=Column(Text))
    list_id: UUID | None = Field(default=None, sa_column=Column(Uuid))
    state: str = Field(sa_column=Column(Text, nullable=False))
    anchor_at: datetime = Field(sa_column=time_column())
    runs: int = Field(sa_column=Column(BigInteger, nullable=False))
    error: str | None = Field(default=None, sa_column=Column(Text))
    last_run_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    zones_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    created_at: datetime = Field(sa_column=time_column())
    updated_at: datetime = Field(sa_column=time_column())


class TriggerDue(SQLModel, table=True):
    """Something that waits for the clock: the next occurrence of a trigger (`repeats`, one for each zone of a
    recipient-cron), an occurrence that failed and is tried again, or an event whose delay runs.

    `occurrence` is the moment of the rule, `due_at` when to fire: later by jitter or for a retry. `held` while
    the trigger is paused. `correlation` is by what a cancelling event finds it.
    """

    __tablename__ = "trigger_due"
    __table_args__ = (
        Index("trigger_due_next", "due_at", postgresql_where=text("NOT held")),
        Index("trigger_due_clock", "trigger_id", "zone", unique=True, postgresql_where=text("repeats")),
        Index("trigger_due_waiting", "trigger_id", "correlation"),
        Index(
            "trigger_due_person",
            text("(event ->> 'recipient')"),
            postgresql_where=text("event IS NOT NULL"),
        ),
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    trigger_id: UUID = Field(
        sa_column=Column(
            Uuid, ForeignKey("trigger.id", name="trigger_due_trigger", ondelete="CASCADE"), nullable=False
        )
    )
    repeats: bool = Field(nullable=False)
    held: bool = Field(nullable=False)
    zone: str = Field(sa_column=Column(Text, nullable=False))
    occurrence: datetime = Field(sa_column=time_column())
    due_at: datetime = Field(sa_column=time_column())
    attempt: int = Field(sa_column=Column(SmallInteger, nullable=False))
    event: str | None = Field(default=None, sa_column=Column(JSON))
    correlation: str | None = Field(default=None, sa_column=Column(Text))


class TriggerRun(SQLModel, table=True):
    """What became of an occurrence. `error` says why it failed or was skipped; one row for all skipped in a row.

    `retry_at` is set where a failed one is tried again.
    """

    __tablename__ = "trigger_run"
    __table_args__ = (
        CheckConstraint(_one_of("outcome", OUTCOMES), name="trigger_run_outcome"),
        Index("trigger_run_trigger", "trigger_id", "id"),
        Index("trigger_run_age", "fired_at"),
    )

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    trigger_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    zone: str = Field(sa_column=Column(Text, nullable=False))
    occurrence: datetime = Field(sa_column=time_column())
    fired_at: datetime = Field(sa_column=time_column())
    attempt: int = Field(sa_column=Column(SmallInteger, nullable=False))
    outcome: str = Field(sa_column=Column(Text, nullable=False))
    notification_id: UUID | None = Field(default=None, sa_column=Column(Uuid))
    mailing_id: UUID | None = Field(default=None, sa_column=Column(Uuid))
    error: str | None = Field(default=None, sa_column=Column(Text))
    retry_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class SeenEvent(SQLModel, table=True):
    """An event that was taken in, by its own id or its broker's, so that a repeat is known."""

    __tablename__ = "seen_event"
    __table_args__ = (Index("seen_event_age", "at"),)

    key: str = Field(sa_column=Column(Text, primary_key=True))
    at: datetime = Field(sa_column=time_column())
