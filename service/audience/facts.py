"""What the engine asks about people and tells about their contacts, on a connection of its own.

Each call is one statement of index look-ups, whatever the number of people.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from service.audience import queries
from service.audience.people import Contact, Person, QuietHours
from service.db.database import Connection


async def load_people(connection: Connection, external_ids: Iterable[str]) -> dict[str, Person]:
    """The people of these ids, by id; unknown ids are left out."""
    rows = await connection.fetch(queries.LOAD_PEOPLE, list(external_ids))
    return {row["external_id"]: person_of(row) for row in rows}


async def subscribers(connection: Connection, topic: str, after: int, limit: int) -> list[Person]:
    """The next people of a topic: those with the lowest `Person.id` above `after`. Fewer than `limit`: the end."""
    return [person_of(row) for row in await connection.fetch(queries.SUBSCRIBERS, topic, after, limit)]


async def topics_exist(connection: Connection, names: Iterable[str]) -> set[str]:
    """Those of the names that are topics."""
    return {row["name"] for row in await connection.fetch(queries.TOPICS_EXIST, list(names))}


async def deactivate(connection: Connection, contact_ids: Sequence[int], reasons: Sequence[str]) -> None:
    """These contacts lead nowhere any more, each for its reason. What is inactive keeps its first reason."""
    await connection.execute(queries.DEACTIVATE, contact_ids, reasons)


async def revive(connection: Connection, sender: str, *addresses: str) -> None:
    """These addresses gave a sign of life: every contact with one of them is active again."""
    await connection.execute(queries.REVIVE, sender, addresses)


async def silence(connection: Connection, sender: str, *addresses: str, reason: str) -> None:
    """These addresses want no messages: every contact with one of them is inactive, until it is revived."""
    await connection.execute(queries.SILENCE, sender, addresses, reason)


def person_of(row: Any) -> Person:
    """A row of `LOAD_PEOPLE` or `SUBSCRIBERS`."""
    contacts = zip(
        row["ids"] or (), row["senders"] or (), row["addresses"] or (), row["actives"] or (), strict=True
    )
    mutes = zip(row["categories"] or (), row["muted_senders"] or (), strict=True)
    return Person(
        id=row["id"],
        external_id=row["external_id"],
        locale=row["locale"],
        zone=row["zone"],
        attributes=orjson.loads(row["attributes"]),
        contacts=tuple(Contact(*contact) for contact in contacts),
        muted=row["muted"],
        mutes=frozenset(mutes),
        quiet=quiet_of(row),
    )


def quiet_of(row: Any) -> QuietHours | None:
    """The quiet hours in a row with the recipient's columns."""
    return None if row["quiet_from"] is None else QuietHours(row["quiet_from"], row["quiet_until"])
