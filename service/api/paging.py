"""Lists: `{"items": […], "next": cursor or null}`, the newest first.

A cursor is a key in disguise, and any text of its form is one: it cannot be wrong, only point elsewhere.
"""

from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE = len(_DIGITS)
_NEXT = "The `next` of the page before"


class Page(BaseModel, Generic[T]):
    """A page. It may hold fewer items than asked for, even none, while `next` is not null: go on."""

    items: list[T]
    next: str | None = Field(description="Pass it as `cursor` for what follows; null: that was all")


class Paging(BaseModel):
    """What every list takes. An unknown parameter is refused: a filter with a typo would match everything."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=500, description="Items on the page at most")


class NumberPaging(Paging):
    """A list in the order of numbers."""

    cursor: Annotated[str, Field(pattern=r"^[0-9a-z]{1,12}$")] | None = Field(None, description=_NEXT)

    @property
    def before(self) -> int | None:
        """The number to go on below."""
        return None if self.cursor is None else int(self.cursor, _BASE)


class UuidPaging(Paging):
    """A list in the order of UUIDs."""

    cursor: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = Field(None, description=_NEXT)

    @property
    def before(self) -> UUID | None:
        """The UUID to go on below."""
        return None if self.cursor is None else UUID(self.cursor)


def cursor_of(key: int | UUID | None) -> str | None:
    """The reverse of `before`."""
    if key is None:
        return None
    if isinstance(key, UUID):
        return key.hex
    digits = ""
    while key:
        key, digit = divmod(key, _BASE)
        digits = _DIGITS[digit] + digits
    return digits or "0"
