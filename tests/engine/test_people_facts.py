"""What the engine asks about people: right, and one statement whatever their number."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import time
from typing import Any

import pytest

from service.audience.facts import deactivate, load_people, revive, subscribers, topics_exist
from service.audience.people import QuietHours
from service.audience.profile import Profile
from service.audience.recipients import RecipientFilter, Recipients
from service.audience.topics import Topics
from service.audience.upserting import upsert
from service.db.database import Database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    """As the engine has it."""
    opened = await database.connect_ledger(plan_once=True)
    yield opened
    await opened.close()


async def _store(database: Database, people: Mapping[str, Mapping[str, Any]]) -> None:
    profiles = {external_id: Profile.model_validate(fields) for external_id, fields in people.items()}
    await Recipients(database).upsert(profiles)


@asynccontextmanager
async def _statements(connection: Any) -> AsyncIterator[list[str]]:
    """Those that the block sends."""
    seen: list[str] = []

    def note(record: Any) -> None:
        seen.append(record.query)

    with connection.query_logger(note):
        yield seen
        await asyncio.sleep(0)  # the driver tells in the next round of the loop


def _contact(address: str, sender: str = "TG") -> dict[str, str]:
    return {"sender": sender, "address": address}


async def test_a_person_is_what_was_stored(database: Database, connection: Any) -> None:
    await _store(
        database,
        {
            "full": {
                "name": "Anna",
                "locale": "ru",
                "time_zone": "Europe/Moscow",
                "attributes": {"plan": "pro"},
                "contacts": [_contact("2"), _contact("1", "VK"), {**_contact("3"), "active": False}],
                "muted": True,
                "mutes": [{"category": "news"}, {"category": "offers", "sender": "VK"}, {"sender": "TG"}],
                "quiet_hours": "22:00-08:00",
            },
            "bare": {},
        },
    )
    people = await load_people(connection, ["bare", "full", "nobody", "full"])
    assert people.keys() == {"bare", "full"}
    full, bare = people["full"], people["bare"]
    assert (full.locale, full.zone, full.attributes) == ("ru", "Europe/Moscow", {"plan": "pro"})
    assert [(c.sender, c.address, c.active) for c in full.contacts] == [
        ("TG", "2", True),
        ("VK", "1", True),
        ("TG", "3", False),
    ]
    assert full.muted
    assert full.mutes == {("news", None), ("offers", "VK"), (None, "TG")}
    assert full.quiet == QuietHours(time(22), time(8))
    assert (bare.locale, bare.zone, bare.attributes, bare.contacts) == (None, None, {}, ())
    assert (bare.muted, bare.mutes, bare.quiet) == (False, frozenset(), None)


async def test_a_batch_costs_one_statement_whatever_its_size(database: Database, connection: Any) -> None:
    people = {f"{number}": {"contacts": [_contact(f"{number}")]} for number in range(1_000)}
    await _store(database, people)
    await load_people(connection, [])  # the driver asks once what an array is
    for count in (1, 10, 1_000):
        chosen = list(people)[:count]
        async with _statements(connection) as sent:
            assert (await load_people(connection, chosen)).keys() == set(chosen)
        assert len(sent) == 1


async def test_storing_a_batch_costs_as_many_statements_whatever_its_size(connection: Any) -> None:
    def batch(count: int, address: str) -> dict[str, Profile]:
        fields = {"contacts": [_contact(address)], "mutes": [{"sender": address}], "name": address}
        return {f"{count}-{number}": Profile.model_validate(fields) for number in range(count)}

    async def cost(count: int, address: str) -> int:
        async with _statements(connection) as sent:
            await upsert(connection, batch(count, address))
        return len(sent)

    # The driver asks once what each kind of array is.
    await cost(2, "first")
    await cost(2, "second")
    for count in (1, 1_000):
        # Made; everything about them changed; nothing changed.
        assert [await cost(count, address) for address in ("first", "second", "second")] == [4, 8, 3]


async def test_a_topic_is_read_in_pages_each_one_statement(database: Database, connection: Any) -> None:
    topics = Topics(database)
    await topics.put("outages", "Outages")
    await topics.put("other", "Other")
    people = [f"{number}" for number in range(7)]
    await _store(database, {external_id: {"contacts": [_contact(external_id)]} for external_id in people})
    for external_id in people:
        await topics.subscribe("other" if external_id == "3" else "outages", external_id)
    found: list[str] = []
    after = 0
    await subscribers(connection, "none", 0, 4)  # the driver asks once what an array is
    async with _statements(connection) as sent:
        while page := await subscribers(connection, "outages", after, 4):
            found += [person.contacts[0].address for person in page]
            after = page[-1].id
    assert found == [external_id for external_id in people if external_id != "3"]
    assert len(sent) == 3
    assert await subscribers(connection, "none", 0, 4) == []
    assert await topics_exist(connection, ["outages", "none", "other"]) == {"outages", "other"}


async def test_contacts_die_with_a_reason_and_revive_by_their_address(
    database: Database, connection: Any
) -> None:
    await _store(
        database,
        {
            "one": {"contacts": [_contact("a"), _contact("b")]},
            "two": {"contacts": [_contact("a"), _contact("a", "VK")]},
        },
    )

    async def states() -> dict[tuple[str, str, str], bool]:
        people = await load_people(connection, ["one", "two"])
        return {
            (name, contact.sender, contact.address): contact.active
            for name, person in people.items()
            for contact in person.contacts
        }

    people = await load_people(connection, ["one", "two"])
    ids = [contact.id for person in people.values() for contact in person.contacts]
    assert set((await states()).values()) == {True}
    await deactivate(connection, [*ids, ids[0], 10**12], [*("gone" for _ in ids), "again", "nobody"])
    assert set((await states()).values()) == {False}
    await deactivate(connection, ids, ["later"] * len(ids))
    row = await Recipients(database).get("one")
    assert row is not None
    assert "later" not in row["contacts"]
    await revive(connection, "TG", "a")
    alive = {key for key, active in (await states()).items() if active}
    assert alive == {("one", "TG", "a"), ("two", "TG", "a")}


async def test_a_window_bounds_what_a_filter_looks_at(database: Database) -> None:
    people = {f"{number:02}": {"locale": "en" if number % 10 else "ru"} for number in range(40)}
    for external_id, fields in people.items():
        await _store(database, {external_id: fields})
    recipients = Recipients(database, window_rows=15)
    found: list[str] = []
    before: int | None = None
    pages = 0
    while pages == 0 or before is not None:
        page = await recipients.page(RecipientFilter(locale="ru"), before, 3)
        found += [row["external_id"] for row in page.rows]
        pages, before = pages + 1, page.next
    assert found == ["30", "20", "10", "00"]
    assert pages == 3
