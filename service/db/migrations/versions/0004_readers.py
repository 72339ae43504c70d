"""Deliveries to recipients, and topics that fan out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("recipient_id", sa.BigInteger(), nullable=True))
    op.add_column("delivery", sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("delivery", sa.Column("escalate_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("delivery", sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "delivery_escalating",
        "delivery",
        ["escalate_at"],
        unique=False,
        postgresql_where=sa.text("escalate_at IS NOT NULL"),
    )
    op.create_index(
        "delivery_recipient",
        "delivery",
        ["recipient_id", "id"],
        unique=False,
        postgresql_where=sa.text("recipient_id IS NOT NULL"),
    )
    op.create_table(
        "fan_out",
        sa.Column("notification_id", sa.UUID(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("template_version", sa.BigInteger(), nullable=True),
        sa.Column("after", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("notification_id"),
    )
