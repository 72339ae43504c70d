"""Kinds of columns that the tables of every package have."""

from typing import Any

from sqlalchemy import Column, DateTime


def time_column(*, nullable: bool = False) -> Column[Any]:
    """A moment, aware of its offset."""
    return Column(DateTime(timezone=True), nullable=nullable)
