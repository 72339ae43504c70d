"""Lists: every row once, in order, by pages and filters; constant cost by windows."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from service.db.database import Database
from service.db.ids import uuid7
from service.delivery.listing import DeadFilter, DeliveryFilter, Listing, NotificationFilter
from tests.api.conftest import Call, Get, Send, problem_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def _all(get: Get, path: str, key: str = "id") -> list[Any]:
    """All items of a list by its pages of two."""
    items, cursor = [], ""
    while True:
        page = get(f"{path}{'&' if '?' in path else '?'}limit=2{cursor}")
        assert len(page["items"]) <= 2
        items += [item[key] for item in page["items"]]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"


def test_pages_show_every_row_once_the_newest_first(get: Get, send: Send) -> None:
    address = f"desk {uuid4()}"
    sent = [send(to=address) for _ in range(5)]
    path = f"/v1/deliveries?sender=CONSOLE&address={quote(address)}"
    assert _all(get, path, "notification_id") == sent[::-1]
    assert _all(get, "/v1/notifications")[:5] == sent[::-1]
    assert get(f"/v1/deliveries?notification={sent[0]}")["items"][0]["address"] == address


def test_lists_of_time_ranges(get: Get, send: Send) -> None:
    before = datetime.now(UTC)
    sent = send(category=f"c-{uuid4()}")
    after = get(f"/v1/notifications/{sent}")
    since, made = quote((before - timedelta(seconds=1)).isoformat()), quote(after["created_at"])
    assert sent in _all(get, f"/v1/notifications?since={since}")
    assert sent not in _all(get, f"/v1/notifications?until={since}")
    assert sent in _all(get, f"/v1/deliveries?since={made}", "notification_id")
    assert sent not in _all(get, f"/v1/deliveries?until={made}", "notification_id")
    assert _all(get, f"/v1/notifications?category={after['category']}") == [sent]


@pytest.mark.parametrize(
    "query",
    [
        "statu=sent",
        "status=nonsense",
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=!",
        "since=yesterday",
        "since=5",
        "address=%00",
        "notification=5",
    ],
)
def test_a_wrong_parameter_is_named(call: Call, query: str) -> None:
    problem = problem_of(call("GET", f"/v1/deliveries?{query}"), 422, "invalid_request")["problems"][0]
    assert problem["field"] == query.partition("=")[0]


def test_any_text_of_the_form_of_a_cursor_is_one(get: Get) -> None:
    assert get("/v1/deliveries?cursor=0") == {"items": [], "next": None}
    assert get("/v1/deliveries?cursor=zzzzzzzzzzzz&limit=1")["items"]
    assert get(f"/v1/notifications?cursor={'0' * 32}") == {"items": [], "next": None}


INSERT_NOTIFICATION = """
INSERT INTO notification (id, dedup_key, content_hash, request_id, source, content, route, category, created_at)
VALUES ($1, $2, $3, $4, 'http', '{"body": "x"}', '[]', $5, $6)
"""
INSERT_DELIVERY = """
INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown, behind, started,
    spacing, pacing_key, send_at, due_at, attempt, lost_leases, error_kind, error_code, created_at, finished_at)
VALUES ($1, $2, $3, 'a', 2, $4, false, false, false, 0, 'a', $5, $5, 1, 0, $6, $7, $5, $5)
RETURNING id
"""


class Rows:
    """Forty deliveries, one a minute: every fourth failed, half of those with 403; every tenth through VK."""

    async def insert(self, database: Database) -> None:
        self.all, self.failed, self.forbidden, self.vk = [], [], [], []
        async with database.transaction() as connection:
            for i in range(40):
                at = START + timedelta(minutes=i)
                notification = uuid7(int(at.timestamp() * 1e9))
                await connection.execute(INSERT_NOTIFICATION, notification, None, None, None, f"c{i % 4}", at)
                dead, sender = i % 4 == 0, "VK" if i % 10 == 0 else "TG"
                code = ("403" if i % 8 == 0 else "400") if dead else None
                status, kind = ("failed", "refused") if dead else ("sent", None)
                row = await connection.fetchval(
                    INSERT_DELIVERY, notification, 0, sender, status, at, kind, code
                )
                self.all.append(row)
                self.failed += [row] * dead
                self.forbidden += [row] * (code == "403")
                self.vk += [row] * (sender == "VK")


@pytest.fixture
async def rows(database: Database) -> Rows:
    made = Rows()
    await made.insert(database)
    return made


async def _walk(read: Any, chosen: Any, limit: int) -> tuple[list[int], int]:
    """All ids of a list, the pages it took, and the most rows of one page."""
    ids, pages, before = [], 0, None
    while True:
        page = await read(chosen, before, limit)
        pages += 1
        assert len(page.rows) <= limit
        ids += [row["id"] for row in page.rows]
        if page.next is None:
            return ids, pages
        before = page.next


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
@pytest.mark.parametrize("window_rows", [1, 5, 1000])
async def test_filters_without_an_index_find_the_same_in_any_window(
    database: Database, rows: Rows, window_rows: int, limit: int
) -> None:
    listing = Listing(database, window_rows=max(window_rows, limit + 1))
    assert (await _walk(listing.deliveries, DeliveryFilter(), limit))[0] == rows.all[::-1]
    assert (await _walk(listing.deliveries, DeliveryFilter(sender="VK"), limit))[0] == rows.vk[::-1]
    assert (await _walk(listing.deliveries, DeliveryFilter(status="failed"), limit))[0] == rows.failed[::-1]
    both = DeliveryFilter(status="failed", sender="VK")
    assert (await _walk(listing.deliveries, both, limit))[0] == sorted(
        set(rows.failed) & set(rows.vk), reverse=True
    )
    assert (await _walk(listing.dead_letters, DeadFilter(error_code="403"), limit))[0] == rows.forbidden[::-1]
    nothing = DeliveryFilter(sender="NOBODY")
    assert (await _walk(listing.deliveries, nothing, limit))[0] == []
    categories = await _walk(listing.notifications, NotificationFilter(category="c1"), limit)
    assert len(categories[0]) == 10


async def test_time_ranges_are_exact(database: Database, rows: Rows) -> None:
    listing = Listing(database)
    for first, last in ((0, 40), (10, 20), (39, 40), (40, 50), (5, 5)):
        chosen = DeliveryFilter(since=START + timedelta(minutes=first), until=START + timedelta(minutes=last))
        assert (await _walk(listing.deliveries, chosen, 7))[0] == rows.all[first:last][::-1]
    dead = DeadFilter(since=START + timedelta(minutes=8), until=START + timedelta(minutes=16, seconds=1))
    assert (await _walk(listing.dead_letters, dead, 7))[0] == rows.failed[2:5][::-1]


async def test_a_link_that_another_one_followed_is_no_dead_letter(database: Database, rows: Rows) -> None:
    async with database.connection() as connection:
        notification = await connection.fetchval(
            "SELECT notification_id FROM delivery WHERE id = $1", rows.failed[0]
        )
        await connection.execute(INSERT_DELIVERY, notification, 1, "VK", "sent", START, None, None)
    listing = Listing(database)
    assert (await _walk(listing.dead_letters, DeadFilter(), 7))[0] == rows.failed[1:][::-1]
    found = await listing.notification(notification)
    assert found is not None
    row, deliveries = found
    assert (row["status"], [delivery["position"] for delivery in deliveries]) == ("sent", [0, 1])


async def test_a_page_reads_no_more_than_its_window(database: Database, rows: Rows) -> None:
    listing = Listing(database, window_rows=10)
    page = await listing.deliveries(DeliveryFilter(sender="NOBODY"), None, 5)
    assert (list(page.rows), page.next) == ([], rows.all[-10])
