"""What REST reads of the desk: tickets by page, one with its messages, and figures.

A filter with an index bounds what is looked at; the others are applied to a window of the newest tickets.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from service.db.database import Database
from service.db.pages import Page, Row, cut
from service.support.transcript import transcript

WINDOW_ROWS = 20_000

_COLUMNS = """
SELECT t.*, r.external_id AS recipient, o.name AS operator_name
FROM {source} t LEFT JOIN recipient r ON r.id = t.recipient_id LEFT JOIN support_operator o ON o.id = t.operator_id
"""
_WINDOW = """(
    SELECT * FROM ticket WHERE ($1::bigint IS NULL OR id < $1)
        AND ($3::text IS NULL OR chat = $3)
        AND ($4::text IS NULL OR recipient_id = (SELECT id FROM recipient WHERE external_id = $4))
        AND ($5::text IS NULL OR operator_id = $5)
        AND ($6::text IS NULL OR status = $6)
    ORDER BY id DESC LIMIT {rows})"""
_PAGE = (
    _COLUMNS.format(source=_WINDOW.format(rows=WINDOW_ROWS))
    + """
WHERE ($7::text IS NULL OR t.category = $7) AND ($8::bool IS NULL OR (t.operator_id IS NULL) = $8)
    AND ($9::timestamptz IS NULL OR t.opened_at >= $9) AND ($10::timestamptz IS NULL OR t.opened_at < $10)
ORDER BY t.id DESC LIMIT $2
"""
)
_WINDOW_END = f"SELECT count(*) AS rows, min(id) AS last FROM {_WINDOW.format(rows=WINDOW_ROWS)} w WHERE $2::int IS NOT NULL"  # noqa: S608 - of constants
_ONE = _COLUMNS.format(source="ticket") + "WHERE t.id = $1"
_COUNT_OF = (
    "SELECT count(*) FROM ticket WHERE recipient_id = (SELECT id FROM recipient WHERE external_id = $1)"
)
_MESSAGES = """
SELECT m.*, o.name AS operator_name FROM ticket_message m LEFT JOIN support_operator o ON o.id = m.operator_id
WHERE m.ticket_id = $1 AND ($2::bigint IS NULL OR m.id < $2) ORDER BY m.id DESC LIMIT $3
"""

# Seconds; a ticket without an answer or an end counts in neither.
_FIGURES = """
SELECT {group} count(*) AS tickets, count(*) FILTER (WHERE status = 'open') AS open,
    count(*) FILTER (WHERE status = 'closed') AS closed,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM first_reply_at - opened_at)) AS first_reply,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM first_reply_at - opened_at)) AS first_reply_p90,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM closed_at - opened_at)) AS resolution,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM closed_at - opened_at)) AS resolution_p90,
    avg(rating)::float8 AS rating, count(rating) AS ratings
FROM ticket t {join} WHERE opened_at >= $1 AND opened_at < $2
"""
_TOTAL = _FIGURES.format(group="", join="")
_BY_OPERATOR = (
    _FIGURES.format(
        group="t.operator_id, o.name AS operator_name,",
        join="LEFT JOIN support_operator o ON o.id = t.operator_id",
    )
    + "AND t.operator_id IS NOT NULL GROUP BY t.operator_id, o.name ORDER BY count(*) DESC, t.operator_id LIMIT 1000"
)


@dataclass(frozen=True, slots=True)
class TicketFilter:
    """None means any. `since` and `until` are about opening; `unclaimed`: whether nobody has it."""

    status: Literal["open", "closed"] | None = None
    operator: str | None = None
    recipient: str | None = None
    address: str | None = None
    category: str | None = None
    unclaimed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


class TicketListing:
    """Reads; each call is one or two statements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, chosen: TicketFilter, before: int | None, limit: int) -> Page[Row]:
        """The newest first."""
        near = (chosen.address, chosen.recipient, chosen.operator, chosen.status)
        far = (chosen.category, chosen.unclaimed, chosen.since, chosen.until)
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, before, limit + 1, *near, *far)
            if len(rows) > limit:
                return cut(rows, limit)
            window = await connection.fetchrow(_WINDOW_END, before, limit, *near)
        more = window is not None and window["rows"] == WINDOW_ROWS
        return Page(rows, window["last"] if more and window is not None else None)

    async def get(self, ticket: int) -> Row | None:
        async with self._database.connection() as connection:
            return await connection.fetchrow(_ONE, ticket)

    async def count_of(self, recipient: str) -> int:
        """How many tickets a recipient has."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(_COUNT_OF, recipient))

    async def messages(self, ticket: int, before: int | None, limit: int) -> Page[Row]:
        """What was said, the newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_MESSAGES, ticket, before, limit + 1)
        return cut(rows, limit)

    async def transcript(self, ticket: int) -> str | None:
        """The conversation as text; None: there is no such ticket."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_ONE, ticket)
            return None if row is None else await transcript(connection, row)

    async def statistics(self, since: datetime, until: datetime) -> tuple[Row, list[Row]]:
        """Figures of the tickets opened in that time: of all, and of each specialist."""
        async with self._database.connection() as connection:
            total = await connection.fetchrow(_TOTAL, since, until)
            return total, await connection.fetch(_BY_OPERATOR, since, until)
