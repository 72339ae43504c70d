"""Pages of what is in the database, by key, the newest first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar

_ABOVE_ALL_NUMBERS = 2**63 - 1

T = TypeVar("T")
Row = Any
"""An `asyncpg.Record`."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and the key to pass as `before` for what follows; None: that was all."""

    rows: Sequence[T]
    next: Any


def below(before: int | None) -> int:
    """The number that a page's keys are less than."""
    return _ABOVE_ALL_NUMBERS if before is None else min(before, _ABOVE_ALL_NUMBERS)


def cut(found: Sequence[T], limit: int, key: Callable[[Any], Any] = itemgetter("id")) -> Page[T]:
    """A page out of up to `limit` + 1 rows."""
    return Page(found[:limit], key(found[limit - 1]) if len(found) > limit else None)
