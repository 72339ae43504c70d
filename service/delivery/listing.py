"""Every statement that REST reads with, paged by key: the newest first, `before` the last one seen.

The cost of a page does not grow with the tables. A filter that has an index is answered from it;
any other is applied to a window of the newest `WINDOW_ROWS` rows before the cursor. A page may
therefore be short, or empty, while its `next` says that there is more to look through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from service.db.database import Database
from service.db.ids import uuid7_floor
from service.db.pages import Page, Row, cut
from service.delivery.dedup import explicit_key

WINDOW_ROWS = 20_000
QUEUE_COUNT_LIMIT = 100_000
EVENTS_SHOWN = 1_000
DELIVERIES_SHOWN = 1_000
EXPORTED_ROWS = 10_000
# Transactions that run at once get ids and times in different orders. Less than a window, so that a page reaches its range.
_ID_SLACK = 10_000


@dataclass(frozen=True, slots=True)
class NotificationFilter:
    """None means any. `since` and `until` are about acceptance."""

    request_id: str | None = None
    category: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """None means any. `since` and `until` are about when the delivery was made."""

    status: str | None = None
    sender: str | None = None
    address: str | None = None
    notification: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """None means any. `since` and `until` are about when the delivery failed."""

    sender: str | None = None
    error_kind: str | None = None
    error_code: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """What waits at a sender, counted up to `QUEUE_COUNT_LIMIT`.

    Its next message may leave at `next_at`, by the account's budget and the provider's throttling; None: at once.
    """

    waiting: int
    sending: int
    oldest_due_at: datetime | None
    next_at: datetime | None


@dataclass(slots=True)
class _Query:
    """A page's statement: `near` conditions follow an index, `far` ones are applied to its window.

    A condition has one `?` for its value; those in `near_fixed` and `far_fixed` have none.
    """

    table: str
    window_rows: int
    near_fixed: list[str] = field(default_factory=list)
    far_fixed: list[str] = field(default_factory=list)
    _near: list[tuple[str, Any]] = field(default_factory=list)
    _far: list[tuple[str, Any]] = field(default_factory=list)

    def near(self, condition: str, value: Any) -> None:
        """None as the value leaves the condition out."""
        if value is not None:
            self._near.append((condition, value))

    def far(self, condition: str, value: Any) -> None:
        if value is not None:
            self._far.append((condition, value))

    @property
    def filtered(self) -> bool:
        """Whether a page may hold less than its window."""
        return bool(self._far or self.far_fixed)

    @property
    def near_values(self) -> list[Any]:
        return [value for _, value in self._near]

    @property
    def values(self) -> list[Any]:
        return [value for _, value in (*self._near, *self._far)]

    def window(self) -> str:
        where = _conditions(self.near_fixed, self._near, 1)
        return f"SELECT * FROM {self.table} WHERE {where} ORDER BY id DESC LIMIT {self.window_rows}"  # noqa: S608

    def page(self, limit: int) -> str:
        where = _conditions(self.far_fixed, self._far, 1 + len(self._near))
        return f"SELECT * FROM ({self.window()}) w WHERE {where} ORDER BY id DESC LIMIT {limit}"  # noqa: S608

    def window_end(self) -> str:
        return f"SELECT id FROM ({self.window()}) w ORDER BY id DESC OFFSET {self.window_rows - 1}"  # noqa: S608


def _conditions(fixed: Sequence[str], valued: Sequence[tuple[str, Any]], first: int) -> str:
    numbered = (text.replace("?", f"${number}") for number, (text, _) in enumerate(valued, first))
    return " AND ".join((*fixed, *numbered)) or "true"


_NOTIFICATION_COLUMNS = """
SELECT p.id, p.request_id, p.source, p.content, p.route, p.category, p.created_at, last.status
FROM ({page}) p
LEFT JOIN LATERAL (
    SELECT d.status FROM delivery d WHERE d.notification_id = p.id
    ORDER BY d.position DESC, d.status = 'sent' DESC, d.status <> 'failed' DESC LIMIT 1
) last ON true
ORDER BY p.id DESC
"""
_DELIVERY_COLUMNS = """
SELECT p.*, n.request_id FROM ({page}) p LEFT JOIN notification n ON n.id = p.notification_id ORDER BY p.id DESC
"""
_LATER_HOP = """NOT EXISTS (
    SELECT 1 FROM delivery l WHERE l.notification_id = w.notification_id
      AND (l.position > w.position OR l.position = w.position AND l.status = 'sent')
      AND l.recipient_id IS NOT DISTINCT FROM w.recipient_id)"""
# Deliveries are numbered as they are made, so a moment is near the first id of a notification of that moment.
_ID_BEFORE = """
SELECT min(id) FROM delivery WHERE notification_id = (
    SELECT notification_id FROM delivery WHERE notification_id < $1 ORDER BY notification_id DESC LIMIT 1)
"""
_ID_AFTER = """
SELECT min(id) FROM delivery WHERE notification_id = (
    SELECT notification_id FROM delivery WHERE notification_id >= $1 ORDER BY notification_id LIMIT 1)
"""
_EVENTS = """
SELECT at, event, attempt, error_kind, error_code, error_text FROM delivery_log
WHERE delivery_id = $1 ORDER BY id LIMIT $2
"""
_DELIVERIES_TO = """
SELECT d.*, n.request_id, n.content FROM delivery d JOIN notification n ON n.id = d.notification_id
WHERE d.recipient_id = $1 ORDER BY d.id DESC LIMIT $2
"""
_REJECTIONS = """
SELECT id, at, source, reason, problems, size, replayed_at, notification_id FROM rejection
WHERE ($1::uuid IS NULL OR id < $1) AND id >= $2 ORDER BY id DESC LIMIT $3
"""
_QUEUES = """
SELECT s.sender,
    (SELECT count(*) FROM (
        SELECT 1 FROM delivery d WHERE d.sender = s.sender AND d.status = 'queued' LIMIT $2) q) AS waiting,
    (SELECT count(*) FROM (
        SELECT 1 FROM delivery d WHERE d.sender = s.sender AND d.status = 'sending' LIMIT $2) q) AS sending,
    (SELECT min(due_at) FROM (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS lane(priority)
        CROSS JOIN LATERAL (
            SELECT d.due_at FROM delivery d
            WHERE d.sender = s.sender AND d.status = 'queued' AND d.priority = lane.priority
            ORDER BY d.due_at LIMIT 1) q) AS oldest_due_at,
    (SELECT b.next_at FROM pacing_bucket b WHERE b.bucket = 'account:' || s.sender AND b.next_at > now()) AS next_at
FROM unnest($1::text[]) AS s(sender)
"""
_FIRST_UUID = UUID(int=0)


class Listing:
    """Reads for people and programs; nothing here changes a row."""

    def __init__(self, database: Database, *, window_rows: int = WINDOW_ROWS) -> None:
        self._database = database
        self._window_rows = window_rows

    async def notifications(self, chosen: NotificationFilter, before: UUID | None, limit: int) -> Page[Row]:
        """Notifications, each with the status of the last link of its chain."""
        query = _Query("notification", self._window_rows)
        if chosen.request_id is not None:
            query.near("dedup_key = ?", explicit_key(chosen.request_id))
        query.near("id >= ?", chosen.since and uuid7_floor(chosen.since))
        query.near("id < ?", chosen.until and uuid7_floor(chosen.until))
        query.near("id < ?", before)
        query.far("category = ?", chosen.category)
        return await self._page(query, _NOTIFICATION_COLUMNS, limit)

    async def notification(self, notification_id: UUID) -> tuple[Row, list[Row]] | None:
        """One notification and its deliveries, `DELIVERIES_SHOWN` at most, in the order of its chain."""
        query = _Query("notification", self._window_rows)
        query.near("id = ?", notification_id)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_NOTIFICATION_COLUMNS.format(page=query.page(1)), *query.values)
            if row is None:
                return None
            deliveries = await connection.fetch(
                """SELECT d.*, n.request_id FROM delivery d JOIN notification n ON n.id = d.notification_id
                WHERE d.notification_id = $1 ORDER BY d.position, d.id LIMIT $2""",
                notification_id,
                DELIVERIES_SHOWN,
            )
        return row, deliveries

    async def deliveries(self, chosen: DeliveryFilter, before: int | None, limit: int) -> Page[Row]:
        """Deliveries of any state."""
        query = _Query("delivery", self._window_rows)
        indexed = self._choose_index(query, chosen)
        for column in ("status", "sender", "address", "notification"):
            if column not in indexed:
                name = "notification_id" if column == "notification" else column
                query.far(f"{name} = ?", getattr(chosen, column))
        query.near("id < ?", before)
        query.far("created_at >= ?", chosen.since)
        query.far("created_at < ?", chosen.until)
        if chosen.since is not None or chosen.until is not None:
            await self._bound_by_time(query, chosen.since, chosen.until)
        return await self._page(query, _DELIVERY_COLUMNS, limit)

    @staticmethod
    def _choose_index(query: _Query, chosen: DeliveryFilter) -> Iterable[str]:
        """Which columns of the filter an index answers in the order of ids."""
        if chosen.notification is not None:
            query.near("notification_id = ?", chosen.notification)
            return ("notification",)
        if chosen.sender is not None and chosen.address is not None:
            query.near("sender = ?", chosen.sender)
            query.near("address = ?", chosen.address)
            return ("sender", "address")
        if chosen.status in {"failed", "unknown"}:
            # Written out, since a partial index is not found by a parameter.
            query.near_fixed.append(f"status = '{chosen.status}'")
            return ("status",)
        return ()

    async def _bound_by_time(self, query: _Query, since: datetime | None, until: datetime | None) -> None:
        async with self._database.connection() as connection:
            if since is not None:
                first = await connection.fetchval(_ID_BEFORE, uuid7_floor(since))
                query.near("id > ?", first and first - _ID_SLACK)
            if until is not None:
                last = await connection.fetchval(_ID_AFTER, uuid7_floor(until))
                query.near("id < ?", last and last + _ID_SLACK)

    async def delivery(self, delivery_id: int) -> tuple[Row, list[Row]] | None:
        """One delivery and its log: everything but acceptance and a success at the first attempt."""
        query = _Query("delivery", self._window_rows)
        query.near("id = ?", delivery_id)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_DELIVERY_COLUMNS.format(page=query.page(1)), *query.values)
            if row is None:
                return None
            return row, await connection.fetch(_EVENTS, delivery_id, EVENTS_SHOWN)

    async def deliveries_to(self, recipient_id: int) -> list[Row]:
        """The newest `EXPORTED_ROWS` deliveries to a person, with the `content` of their notifications."""
        async with self._database.connection() as connection:
            rows: list[Row] = await connection.fetch(_DELIVERIES_TO, recipient_id, EXPORTED_ROWS)
            return rows

    async def dead_letters(self, chosen: DeadFilter, before: int | None, limit: int) -> Page[Row]:
        """Deliveries that failed where their chain ended, and reached no other device of their reader."""
        query = _Query(
            "delivery", self._window_rows, near_fixed=["status = 'failed'"], far_fixed=[_LATER_HOP]
        )
        query.near("id < ?", before)
        query.far("sender = ?", chosen.sender)
        query.far("error_kind = ?", chosen.error_kind)
        query.far("error_code = ?", chosen.error_code)
        query.far("finished_at >= ?", chosen.since)
        query.far("finished_at < ?", chosen.until)
        return await self._page(query, _DELIVERY_COLUMNS, limit)

    async def rejections(
        self, since: datetime | None, until: datetime | None, before: UUID | None, limit: int
    ) -> Page[Row]:
        """Rejected messages without their bodies."""
        ends = [end for end in (before, until and uuid7_floor(until)) if end is not None]
        start = uuid7_floor(since) if since is not None else _FIRST_UUID
        async with self._database.connection() as connection:
            rows = await connection.fetch(_REJECTIONS, min(ends, default=None), start, limit + 1)
        return cut(rows, limit)

    async def rejection(self, rejection_id: UUID) -> Row | None:
        """One rejected message with its body in `raw`."""
        async with self._database.connection() as connection:
            return await connection.fetchrow("SELECT * FROM rejection WHERE id = $1", rejection_id)

    async def queues(self, senders: Sequence[str]) -> dict[str, QueueState]:
        """What waits at each of these senders."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_QUEUES, senders, QUEUE_COUNT_LIMIT)
        return {
            row["sender"]: QueueState(row["waiting"], row["sending"], row["oldest_due_at"], row["next_at"])
            for row in rows
        }

    async def _page(self, query: _Query, columns: str, limit: int) -> Page[Row]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(columns.format(page=query.page(limit + 1)), *query.values)
            if len(rows) > limit or not query.filtered:
                return cut(rows, limit)
            return Page(rows, await connection.fetchval(query.window_end(), *query.near_values))


def load_json(value: str | None) -> Any:
    """A JSON column as Python values."""
    return orjson.loads(value) if value is not None else None
