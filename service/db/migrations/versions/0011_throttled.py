"""Since when a delivery is throttled."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("throttled_at", sa.DateTime(timezone=True), nullable=True))
