"""The bot's tables."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from service.db.columns import time_column


class BotUpdate(SQLModel, table=True):
    """An update of a bot: stored before Telegram is told so, handled once, in order within its `lane`.

    A lane is a chat, or a topic of a group. `body` is the update as Telegram sent it; it goes once the update
    is handled, whose id stays for as long as Telegram might repeat it. An update that fails again and again is
    put `aside` with the last `error`. `replies` are answers that have not left yet.
    """

    __tablename__ = "bot_update"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'done', 'aside')", name="bot_update_state"),
        CheckConstraint("(state = 'done') = (body IS NULL)", name="bot_update_body"),
        Index("bot_update_waiting", "bot", "lane", "id", postgresql_where=text("state = 'waiting'")),
        Index("bot_update_unsaid", "at", postgresql_where=text("replies IS NOT NULL")),
        Index("bot_update_aside", "bot", postgresql_where=text("state = 'aside'")),
        Index("bot_update_age", "at"),
    )

    bot: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    lane: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    body: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    replies: str | None = Field(default=None, sa_column=Column(JSONB))
    attempts: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    error: str | None = Field(default=None, sa_column=Column(Text))
    due_at: datetime = Field(sa_column=time_column())
    at: datetime = Field(sa_column=time_column())


class BotReport(SQLModel, table=True):
    """A person is about to describe a problem: what is known of it already."""

    __tablename__ = "bot_report"

    chat: str = Field(sa_column=Column(Text, primary_key=True))
    category: str | None = Field(default=None, sa_column=Column(Text))
    answered: str | None = Field(default=None, sa_column=Column(JSONB))
    at: datetime = Field(sa_column=time_column())
