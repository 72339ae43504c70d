"""Triggers, what waits for their clock, their history, and the events that were taken in."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trigger",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("draft", sa.JSON(), nullable=False),
        sa.Column("event", sa.Text(), nullable=True),
        sa.Column("cancel_event", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("anchor_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("zones_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('once', 'interval', 'cron', 'recipient-cron', 'event')", name="trigger_kind"
        ),
        sa.CheckConstraint("state IN ('active', 'paused', 'finished', 'failed')", name="trigger_state"),
        sa.CheckConstraint("(kind = 'event') = (event IS NOT NULL)", name="trigger_event_name"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="trigger_name"),
    )
    op.create_index(
        "trigger_event_active",
        "trigger",
        ["event"],
        unique=False,
        postgresql_where=sa.text("state = 'active' AND event IS NOT NULL"),
    )
    op.create_index(
        "trigger_cancel_active",
        "trigger",
        ["cancel_event"],
        unique=False,
        postgresql_where=sa.text("state = 'active' AND cancel_event IS NOT NULL"),
    )
    op.create_index(
        "trigger_zones",
        "trigger",
        ["zones_at"],
        unique=False,
        postgresql_where=sa.text("state = 'active' AND kind = 'recipient-cron'"),
    )
    op.create_table(
        "trigger_due",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("trigger_id", sa.UUID(), nullable=False),
        sa.Column("repeats", sa.Boolean(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("event", sa.JSON(), nullable=True),
        sa.Column("correlation", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trigger_id"], ["trigger.id"], name="trigger_due_trigger", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "trigger_due_next", "trigger_due", ["due_at"], unique=False, postgresql_where=sa.text("NOT held")
    )
    op.create_index(
        "trigger_due_clock",
        "trigger_due",
        ["trigger_id", "zone"],
        unique=True,
        postgresql_where=sa.text("repeats"),
    )
    op.create_index("trigger_due_waiting", "trigger_due", ["trigger_id", "correlation"], unique=False)
    op.create_index(
        "trigger_due_person",
        "trigger_due",
        [sa.text("(event ->> 'recipient')")],
        unique=False,
        postgresql_where=sa.text("event IS NOT NULL"),
    )
    op.create_table(
        "trigger_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("trigger_id", sa.UUID(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("notification_id", sa.UUID(), nullable=True),
        sa.Column("mailing_id", sa.UUID(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("outcome IN ('made', 'skipped', 'failed')", name="trigger_run_outcome"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("trigger_run_trigger", "trigger_run", ["trigger_id", "id"], unique=False)
    op.create_index("trigger_run_age", "trigger_run", ["fired_at"], unique=False)
    op.create_table(
        "seen_event",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("seen_event_age", "seen_event", ["at"], unique=False)
