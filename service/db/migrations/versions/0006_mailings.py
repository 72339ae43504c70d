"""Mailings, the parts of their walks, holds, and uploaded lists of people."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audience_list",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("members", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audience_member",
        sa.Column("list_id", sa.UUID(), nullable=False),
        sa.Column("recipient_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("list_id", "recipient_id"),
    )
    op.create_index("recipient_zone", "recipient", [sa.text("coalesce(zone, '')"), "id"], unique=False)
    op.create_table(
        "hold",
        sa.Column("notification_id", sa.UUID(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("notification_id"),
    )
    # Its rows are counted in the order in which they were made.
    op.drop_index("delivery_notification", "delivery")
    op.create_index("delivery_notification", "delivery", ["notification_id", "id"], unique=False)
    op.create_table(
        "mailing",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("draft", sa.JSON(), nullable=False),
        sa.Column("only_zones", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("notification_id", sa.UUID(), nullable=True),
        sa.Column("template_version", sa.BigInteger(), nullable=True),
        sa.Column("canary", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("planned", sa.BigInteger(), nullable=True),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("tally", sa.JSON(), nullable=False),
        sa.Column("counted_to", sa.BigInteger(), nullable=False),
        sa.Column("open", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("later", sa.BigInteger(), nullable=False),
        sa.Column("pace", sa.JSON(), nullable=False),
        sa.Column("next_slot", sa.DateTime(timezone=True), nullable=True),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('draft', 'scheduled', 'running', 'paused', 'finished', 'cancelled', 'failed')",
            name="mailing_status",
        ),
        sa.CheckConstraint("canary IN ('none', 'sending', 'approval', 'passed')", name="mailing_canary"),
        sa.CheckConstraint("(started_at IS NULL) = (notification_id IS NULL)", name="mailing_started"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "mailing_next", "mailing", ["look_at"], unique=False, postgresql_where=sa.text("look_at IS NOT NULL")
    )
    op.create_index(
        "mailing_notification",
        "mailing",
        ["notification_id"],
        unique=True,
        postgresql_where=sa.text("notification_id IS NOT NULL"),
    )
    op.create_table(
        "mailing_part",
        sa.Column("mailing_id", sa.UUID(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("after", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["mailing_id"], ["mailing.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("mailing_id", "zone"),
    )
