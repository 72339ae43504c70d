"""Pages of rows by their ids, the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ABOVE_ALL_IDS = 2**63 - 1

Row = Any
"""An `asyncpg.Record`."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the id to go on below; None: that was all."""

    rows: Sequence[Row]
    next: int | None


def below(before: int | None) -> int:
    """The id that a page's ids are less than."""
    return _ABOVE_ALL_IDS if before is None else min(before, _ABOVE_ALL_IDS)


def cut(rows: Sequence[Row], limit: int) -> Page:
    """A page out of up to `limit` + 1 rows."""
    return Page(rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else None)
