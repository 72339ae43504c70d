"""Triggers by state and kind, and the lists they are for; mailings that are not over."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trigger", sa.Column("list_id", sa.Uuid(), nullable=True))
    op.execute(
        """UPDATE trigger SET list_id = replace(draft #>> '{action,mailing,audience,uploaded}', 'urn:uuid:', '')::uuid
        WHERE draft #>> '{action,mailing,audience,uploaded}' IS NOT NULL"""
    )
    op.create_index("trigger_list", "trigger", ["list_id"], postgresql_where=sa.text("list_id IS NOT NULL"))
    op.create_index("trigger_state_kind", "trigger", ["state", "kind", "id"])
    op.create_index(
        "mailing_unfinished",
        "mailing",
        ["status"],
        postgresql_where=sa.text("status IN ('scheduled', 'running', 'paused')"),
    )
