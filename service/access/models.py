"""The tables of access."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUuid  # noqa: N811 - a column type
from sqlmodel import Field, SQLModel

from service.db.columns import time_column


class ApiKey(SQLModel, table=True):
    """One API key: the sha256 of it, never itself. `origin`: made by a call, or the value of ADMIN_API_KEY."""

    __tablename__ = "api_key"
    __table_args__ = (
        CheckConstraint("origin IN ('made', 'setting')", name="api_key_origin"),
        Index("api_key_hash", "hash", unique=True),
        Index("api_key_setting", "origin", unique=True, postgresql_where=text("origin = 'setting'")),
    )

    id: UUID = Field(sa_column=Column(PgUuid, primary_key=True))
    name: str = Field(sa_column=Column(Text, nullable=False))
    origin: str = Field(sa_column=Column(Text, nullable=False))
    prefix: str = Field(sa_column=Column(Text, nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    scopes: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    created_at: datetime = Field(sa_column=time_column())
    expires_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    revoked_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class AuditEntry(SQLModel, table=True):
    """One management write: written before it is done, with its outcome after.

    `outcome` is null while it runs, and for ever when the process died in the middle.
    """

    __tablename__ = "audit_entry"

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    at: datetime = Field(sa_column=time_column())
    actor: str = Field(sa_column=Column(Text, nullable=False))
    action: str = Field(sa_column=Column(Text, nullable=False))
    target: str | None = Field(default=None, sa_column=Column(Text))
    details: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    outcome: str | None = Field(default=None, sa_column=Column(Text))


class ServiceSecret(SQLModel, table=True):
    """A secret that the service made for itself at its first start, shared by all its processes."""

    __tablename__ = "service_secret"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    value: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = Field(sa_column=time_column())
