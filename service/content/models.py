"""The tables of templates. A migration makes them; a test holds the two together."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Integer, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from service.db.columns import time_column


class Template(SQLModel, table=True):
    """Named content. `archived_at`: taken out of use; its versions stay, and a new version brings it back."""

    __tablename__ = "template"
    __table_args__ = (UniqueConstraint("key", name="template_key"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    key: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=time_column())
    archived_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))


class TemplateVersionRow(SQLModel, table=True):
    """One version, never changed. The one with the highest number is current.

    `params` and `variants` are lists of objects with the fields of `templates.Param` and `Variant`.
    """

    __tablename__ = "template_version"
    __table_args__ = (UniqueConstraint("template_id", "number", name="template_version_number"),)

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    template_id: int = Field(
        sa_column=Column(
            BigInteger, ForeignKey("template.id", name="template_version_template"), nullable=False
        )
    )
    number: int = Field(sa_column=Column(Integer, nullable=False))
    author: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=time_column())
    default_locale: str = Field(sa_column=Column(Text, nullable=False))
    params: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
    variants: list[dict[str, Any]] = Field(sa_column=Column(JSONB, nullable=False))
