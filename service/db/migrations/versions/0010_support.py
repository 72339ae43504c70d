"""The support desk: tickets, what is said in them, specialists, bans."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "support_ban",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("operator_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sender", "chat", name="support_ban_once"),
    )
    op.create_table(
        "support_desk",
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("moved_to", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chat"),
    )
    op.create_table(
        "support_operator",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "ticket",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("recipient_id", sa.BigInteger(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("notification_id", sa.Uuid(), nullable=True),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("about", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("desk", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("thread", sa.BigInteger(), nullable=True),
        sa.Column("topic_delivery", sa.BigInteger(), nullable=True),
        sa.Column("card_delivery", sa.BigInteger(), nullable=True),
        sa.Column("card_message", sa.BigInteger(), nullable=True),
        sa.Column("operator_id", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_reply_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("idle_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("warned", sa.Boolean(), nullable=False),
        sa.Column("rating", sa.SmallInteger(), nullable=True),
        sa.Column("rated_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'closed') = (closed_at IS NOT NULL)", name="ticket_closed"),
        sa.CheckConstraint("(topic = 'ready') = (thread IS NOT NULL)", name="ticket_thread"),
        sa.CheckConstraint("status IN ('open', 'closed')", name="ticket_status"),
        sa.CheckConstraint("topic IN ('opening', 'ready', 'plain')", name="ticket_topic"),
        sa.CheckConstraint("(rating IS NULL) = (rated_at IS NULL)", name="ticket_rated"),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name="ticket_rating"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipient.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ticket_card",
        "ticket",
        ["card_delivery"],
        unique=False,
        postgresql_where=sa.text("card_delivery IS NOT NULL AND card_message IS NULL"),
    )
    op.create_index("ticket_chat", "ticket", ["sender", "chat", "id"], unique=False)
    op.create_index(
        "ticket_closed_at",
        "ticket",
        ["closed_at"],
        unique=False,
        postgresql_where=sa.text("status = 'closed'"),
    )
    op.create_index(
        "ticket_idle", "ticket", ["idle_at"], unique=False, postgresql_where=sa.text("idle_at IS NOT NULL")
    )
    op.create_index(
        "ticket_of_person",
        "ticket",
        ["sender", "chat"],
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index(
        "ticket_open", "ticket", ["id"], unique=False, postgresql_where=sa.text("status = 'open'")
    )
    op.create_index("ticket_opened", "ticket", ["opened_at"], unique=False)
    op.create_index(
        "ticket_opening",
        "ticket",
        ["topic_delivery"],
        unique=False,
        postgresql_where=sa.text("topic = 'opening'"),
    )
    op.create_index("ticket_operator", "ticket", ["operator_id", "id"], unique=False)
    op.create_index("ticket_recipient", "ticket", ["recipient_id"], unique=False)
    op.create_index(
        "ticket_thread_of_desk",
        "ticket",
        ["desk", "thread"],
        unique=False,
        postgresql_where=sa.text("thread IS NOT NULL"),
    )
    op.create_table(
        "ticket_message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("ticket_id", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("toward", sa.Text(), nullable=True),
        sa.Column("operator_id", sa.Text(), nullable=True),
        sa.Column("chat", sa.Text(), nullable=True),
        sa.Column("reply_to", sa.BigInteger(), nullable=True),
        sa.Column("album", sa.Text(), nullable=True),
        sa.Column("parts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("buttons", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("repeats", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(toward IS NULL) = (state = 'note')", name="ticket_message_note"),
        sa.CheckConstraint("origin IN ('person', 'operator', 'service')", name="ticket_message_origin"),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'failed', 'note')", name="ticket_message_state"
        ),
        sa.CheckConstraint("toward IN ('desk', 'person')", name="ticket_message_toward"),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ticket_message_album",
        "ticket_message",
        ["ticket_id", "album"],
        unique=False,
        postgresql_where=sa.text("album IS NOT NULL"),
    )
    op.create_index(
        "ticket_message_failed",
        "ticket_message",
        ["delivery_id"],
        unique=False,
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index(
        "ticket_message_sending",
        "ticket_message",
        ["delivery_id"],
        unique=False,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index("ticket_message_ticket", "ticket_message", ["ticket_id", "id"], unique=False)
    op.create_index(
        "ticket_message_waiting",
        "ticket_message",
        ["ready_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "relayed_message",
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["ticket_message.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chat", "id"),
    )
    op.create_index("relayed_message_part", "relayed_message", ["message_id", "part"], unique=False)
    # Keys that may do everything still may.
    op.execute(
        "UPDATE api_key SET scopes = scopes || ARRAY['support'] WHERE scopes @> ARRAY['send', 'read', 'manage'] AND NOT scopes @> ARRAY['support']"
    )
