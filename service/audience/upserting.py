"""Storing what is said of people: new ones are made, known ones changed where something differs.

A batch costs a constant number of statements, and none of them writes what is already so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from typing import Any, NamedTuple

import orjson

from service.audience import queries
from service.audience.people import QuietHours
from service.audience.profile import MuteInput, Profile
from service.db.database import Connection

SET_BY_HAND = "set by hand"
"""Why a contact is inactive that a profile says is so."""


@dataclass(frozen=True, slots=True)
class Upserted:
    """How many people were new, had something changed, and were so already."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: "Upserted") -> "Upserted":
        return Upserted(
            self.created + other.created, self.updated + other.updated, self.unchanged + other.unchanged
        )


class _Row(NamedTuple):
    """The columns of `recipient` that a profile gives, in the order of the statements."""

    external_id: str
    name: str | None
    locale: str | None
    zone: str | None
    attributes: dict[str, Any]
    muted: bool
    quiet_from: time | None
    quiet_until: time | None


class _Contact(NamedTuple):
    id: int
    sender: str
    address: str
    position: int
    active: bool
    is_device: bool


_COLUMNS = {
    "name": ("name",),
    "locale": ("locale",),
    "time_zone": ("zone",),
    "attributes": ("attributes",),
    "muted": ("muted",),
    "quiet_hours": ("quiet_from", "quiet_until"),
}


@dataclass(slots=True)
class _Changes:
    """What has to be written; tuples in the order of the statements' columns."""

    rows: list[_Row] = field(default_factory=list)
    gone_contacts: list[int] = field(default_factory=list)
    kept_contacts: list[tuple[int, int, bool]] = field(default_factory=list)
    new_contacts: list[tuple[int, str, str, int, bool]] = field(default_factory=list)
    remuted: list[int] = field(default_factory=list)
    mutes: list[tuple[int, str | None, str | None]] = field(default_factory=list)


async def upsert(connection: Connection, people: Mapping[str, Profile]) -> Upserted:
    """Store these profiles by external id, in the transaction of the connection."""
    rows = [_row_of(external_id, profile) for external_id, profile in people.items()]
    made = await connection.fetch(queries.INSERT_RECIPIENTS, *_row_arrays(rows))
    changes = _Changes()
    for row in made:
        _compare_lists(changes, row["id"], people[row["external_id"]], [], [])
    known = sorted(people.keys() - {row["external_id"] for row in made})
    updated = 0
    if known:
        await connection.execute(queries.LOCK, known)
        for stored in await connection.fetch(queries.READ, known):
            updated += _compare(changes, stored, people[stored["external_id"]])
    await _write(connection, changes)
    return Upserted(len(made), updated, len(known) - updated)


def _compare(changes: _Changes, stored: Any, profile: Profile) -> bool:
    """Add what differs from what is stored; whether anything does."""
    contacts = [_Contact(*values) for values in orjson.loads(stored["contacts"])]
    lists_differ = _compare_lists(changes, stored["id"], profile, contacts, orjson.loads(stored["mutes"]))
    before = _Row(
        **{name: stored[name] for name in _Row._fields if name != "attributes"},
        attributes=orjson.loads(stored["attributes"]),
    )
    after = _merged(before, profile)
    if lists_differ or after != before:
        changes.rows.append(after)
        return True
    return False


def _compare_lists(
    changes: _Changes,
    recipient_id: int,
    profile: Profile,
    contacts: Sequence[_Contact],
    mutes: Sequence[Sequence[str | None]],
) -> bool:
    given, differs = profile.model_fields_set, False
    if "contacts" in given:
        differs = _compare_contacts(changes, recipient_id, profile, contacts)
    if "mutes" in given:
        differs |= _compare_mutes(changes, recipient_id, profile.mutes, mutes)
    return differs


def _compare_contacts(
    changes: _Changes, recipient_id: int, profile: Profile, stored: Sequence[_Contact]
) -> bool:
    """A contact that stays keeps its id, and its state unless the profile says otherwise.

    Devices stay, named or not: apps register them, and whoever writes profiles need not know of them.
    """
    before = {(contact.sender, contact.address): contact for contact in stored}
    wanted: dict[tuple[str, str], bool | None] = {}
    for contact in profile.contacts:
        wanted.setdefault((contact.sender, contact.address), contact.active)
    kept, new = [], []
    for position, (key, said) in enumerate(wanted.items()):
        known = before.pop(key, None)
        if known is None:
            new.append((recipient_id, *key, position, said is not False))
        elif (state := (position, known.active if said is None else said)) != (known.position, known.active):
            kept.append((known.id, *state))
    gone = [contact.id for contact in before.values() if not contact.is_device]
    changes.kept_contacts += kept
    changes.new_contacts += new
    changes.gone_contacts += gone
    return bool(kept or new or gone)


def _compare_mutes(
    changes: _Changes, recipient_id: int, mutes: Iterable[MuteInput], stored: Sequence[Sequence[str | None]]
) -> bool:
    wanted = {(mute.category, mute.sender) for mute in mutes}
    if wanted == {(category, sender) for category, sender in stored}:
        return False
    changes.remuted.append(recipient_id)
    changes.mutes += [(recipient_id, *pair) for pair in wanted]
    return True


def _row_of(external_id: str, profile: Profile) -> _Row:
    quiet = None if profile.quiet_hours is None else QuietHours.parse(profile.quiet_hours)
    return _Row(
        external_id,
        profile.name,
        profile.locale,
        profile.time_zone,
        profile.attributes,
        profile.muted,
        None if quiet is None else quiet.start,
        None if quiet is None else quiet.end,
    )


def _merged(before: _Row, profile: Profile) -> _Row:
    said = _row_of(before.external_id, profile)
    given = (column for name in profile.model_fields_set for column in _COLUMNS.get(name, ()))
    return before._replace(**{column: getattr(said, column) for column in given})


async def _write(connection: Connection, changes: _Changes) -> None:
    if changes.rows:
        await connection.execute(queries.UPDATE_RECIPIENTS, *_row_arrays(changes.rows))
    if changes.gone_contacts:
        await connection.execute(queries.DELETE_CONTACTS, changes.gone_contacts)
    if changes.kept_contacts:
        await connection.execute(queries.UPDATE_CONTACTS, *_arrays(changes.kept_contacts), SET_BY_HAND)
    if changes.new_contacts:
        await connection.execute(queries.INSERT_CONTACTS, *_arrays(changes.new_contacts), SET_BY_HAND)
    if changes.remuted:
        await connection.execute(queries.DELETE_MUTES, changes.remuted)
    if changes.mutes:
        await connection.execute(queries.INSERT_MUTES, *_arrays(changes.mutes))


def _row_arrays(rows: Sequence[_Row]) -> list[tuple[Any, ...]]:
    return _arrays([row._replace(attributes=orjson.dumps(row.attributes).decode()) for row in rows])  # type: ignore[arg-type]


def _arrays(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))
