"""Contacts that are registered devices."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("platform", "app", "device_name"):
        op.add_column("contact", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("contact", sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        "contact_device",
        "contact",
        "seen_at IS NOT NULL OR (platform IS NULL AND app IS NULL AND device_name IS NULL)",
    )
    op.create_index(
        "contact_device_once",
        "contact",
        ["address", "sender"],
        unique=True,
        postgresql_where=sa.text("seen_at IS NOT NULL"),
    )
