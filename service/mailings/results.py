"""What became of each delivery of a mailing, as CSV."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

from service.senders.shown_address import shown_address

COLUMNS = (
    "recipient", "sender", "address", "status", "attempt", "error_kind", "error_code", "error_text",
    "created_at", "finished_at",
)  # fmt: skip


async def csv_of(pieces: AsyncIterator[Sequence[Any]]) -> AsyncIterator[bytes]:
    """A header, then a line a delivery; times are RFC 3339 in UTC. The next sender of a chain is a line of its own."""
    yield _lines([COLUMNS])
    async for rows in pieces:
        yield _lines([[_text(row, name) for name in COLUMNS] for row in rows])


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _text(row: Any, name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    if name == "address":
        return shown_address(row["sender"], value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
