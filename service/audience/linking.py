"""How a chat comes to belong to a recipient: by a link that was made for them, by being let in, or by itself.

Every function works on the caller's connection, in its transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from service.audience.queries import REPLACED
from service.db.database import Connection
from service.db.pages import Page, Row, below, cut

LINK_PURPOSE = "link"
"""What such links are signed for."""

_MAKE = """
INSERT INTO contact_link (recipient_id, sender, expires_at, created_at)
SELECT id, $2, $3, now() FROM recipient WHERE external_id = $1 RETURNING id
"""
_USE = """
SELECT l.recipient_id, l.sender, l.used_by, r.external_id
FROM contact_link l JOIN recipient r ON r.id = l.recipient_id WHERE l.id = $1 FOR UPDATE OF l, r
"""
_USED = "UPDATE contact_link SET used_by = $2 WHERE id = $1"
_FORGET_LINKS = """
DELETE FROM contact_link WHERE id IN (SELECT id FROM contact_link WHERE expires_at < now() ORDER BY expires_at LIMIT $1)
"""
_TAKE_FROM_OTHERS = "DELETE FROM contact WHERE sender = $1 AND address = $2 AND recipient_id <> $3"
_REPLACE_OTHERS = """
UPDATE contact SET active = false, inactive_at = coalesce(inactive_at, now()), inactive_reason = $4
WHERE recipient_id = $3 AND sender = $1 AND address <> $2 AND inactive_reason IS DISTINCT FROM $4
"""
_GIVE = """
INSERT INTO contact (recipient_id, sender, address, position, active)
VALUES ($3, $1, $2, (SELECT least(coalesce(max(position) + 1, 0), 32767) FROM contact WHERE recipient_id = $3), true)
ON CONFLICT (recipient_id, sender, address)
DO UPDATE SET active = true, inactive_at = NULL, inactive_reason = NULL
"""
_INTRODUCE = """
UPDATE recipient SET name = coalesce(name, $2), locale = coalesce(locale, $3), updated_at = now()
WHERE id = $1 AND ((name IS NULL AND $2::text IS NOT NULL) OR (locale IS NULL AND $3::text IS NOT NULL))
"""
_WELCOME = """
INSERT INTO recipient (external_id, name, locale, attributes, muted, created_at, updated_at)
VALUES ($1, $2, $3, '{}', false, now(), now())
ON CONFLICT (external_id) DO UPDATE SET updated_at = recipient.updated_at RETURNING id
"""
_OWNER = """
SELECT r.id, r.external_id, r.name, r.locale, r.zone, r.muted, r.quiet_from, r.quiet_until, c.active,
    (SELECT coalesce(array_agg(m.category), '{}') FROM mute m
        WHERE m.recipient_id = r.id AND m.category IS NOT NULL AND m.sender IS NULL) AS muted_categories
FROM contact c JOIN recipient r ON r.id = c.recipient_id
WHERE c.sender = $1 AND c.address = $2 AND c.inactive_reason IS DISTINCT FROM $3 ORDER BY c.active DESC, c.id DESC LIMIT 1
"""
_END = """
UPDATE contact SET active = false, inactive_at = now(), inactive_reason = $3
WHERE sender = $1 AND address = $2 AND active
"""
_ASK = """
INSERT INTO contact_request (sender, address, name, locale, at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (sender, address) DO UPDATE SET name = excluded.name, locale = excluded.locale
"""
_REQUESTS = "SELECT id, sender, address, name, locale, at FROM contact_request WHERE id < $1 ORDER BY id DESC LIMIT $2"
# Their ids follow the time of asking.
_FORGET_REQUESTS = """
DELETE FROM contact_request WHERE id IN (
    SELECT id FROM (SELECT id, at FROM contact_request ORDER BY id LIMIT $2) oldest
    WHERE at < now() - $1 * interval '1 day')
"""
_DECIDE = "DELETE FROM contact_request WHERE id = $1 RETURNING sender, address, name, locale"
_CALLED = """
INSERT INTO channel_account (sender, name, at) VALUES ($1, $2, now())
ON CONFLICT (sender) DO UPDATE SET name = excluded.name, at = now()
"""
_ACCOUNT = "SELECT name FROM channel_account WHERE sender = $1"

Used = Literal["linked", "again", "spent", "taken", "gone"]
"""What became of a link: the chat is the recipient's; it is so by this link already; it was so, and is not any
more; another chat used it before; there is no such link."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Whoever is at the other end of a chat, as the channel tells. `locale` is BCP 47."""

    sender: str
    address: str
    name: str | None = None
    locale: str | None = None


async def make_link(
    connection: Connection, external_id: str, sender: str, expires_at: datetime
) -> int | None:
    """A link to be signed; its id. None: nobody has that external id."""
    made: int | None = await connection.fetchval(_MAKE, external_id, sender, expires_at)
    return made


async def use_link(connection: Connection, link_id: int, guest: Guest) -> Used:
    """The guest followed the link, which is used once: to follow it again changes nothing."""
    link = await connection.fetchrow(_USE, link_id)
    if link is None or link["sender"] != guest.sender:
        return "gone"
    if link["used_by"] is None:
        await connection.execute(_USED, link_id, guest.address)
        await give(connection, link["recipient_id"], guest)
        return "linked"
    if link["used_by"] != guest.address:
        return "taken"
    person = await owner(connection, guest.sender, guest.address)
    return "again" if person is not None and person["id"] == link["recipient_id"] else "spent"


async def forget_links(connection: Connection, most: int) -> None:
    """Remove expired ones."""
    await connection.execute(_FORGET_LINKS, most)


async def give(connection: Connection, recipient_id: int, guest: Guest) -> None:
    """The chat is that recipient's and nobody else's; it takes the place of their other chats of the channel."""
    await connection.execute(_TAKE_FROM_OTHERS, guest.sender, guest.address, recipient_id)
    await connection.execute(_REPLACE_OTHERS, guest.sender, guest.address, recipient_id, REPLACED)
    await connection.execute(_GIVE, guest.sender, guest.address, recipient_id)
    await connection.execute(_INTRODUCE, recipient_id, guest.name, guest.locale)
    await connection.execute(
        "DELETE FROM contact_request WHERE sender = $1 AND address = $2", guest.sender, guest.address
    )


async def welcome(connection: Connection, guest: Guest, external_id: str | None = None) -> str:
    """The chat becomes a contact of the recipient with that external id, or of a new one; the id."""
    external_id = external_id or f"{guest.sender.lower()}-{guest.address}"
    recipient_id = await connection.fetchval(_WELCOME, external_id, guest.name, guest.locale)
    await give(connection, recipient_id, guest)
    return external_id


async def owner(connection: Connection, sender: str, address: str) -> Any:
    """Whose chat it is: a row with the recipient's own columns, `active` and `muted_categories`; None: nobody's, or left for another chat."""
    return await connection.fetchrow(_OWNER, sender, address, REPLACED)


async def end(connection: Connection, sender: str, address: str, reason: str) -> None:
    """Nothing reaches that chat any more."""
    await connection.execute(_END, sender, address, reason)


async def ask(connection: Connection, guest: Guest) -> None:
    """The guest waits to be let in; once, however often they ask."""
    await connection.execute(_ASK, guest.sender, guest.address, guest.name or guest.address, guest.locale)


async def requests(connection: Connection, before: int | None, limit: int) -> Page[Row]:
    """Those who wait, the latest first."""
    return cut(await connection.fetch(_REQUESTS, below(before), limit + 1), limit)


async def forget_requests(connection: Connection, days: float, most: int) -> None:
    """Remove those that nothing was decided about for so long; whoever asked may ask again."""
    await connection.execute(_FORGET_REQUESTS, days, most)


async def decided(connection: Connection, request_id: int) -> Guest | None:
    """Take a request off the list. None: there is none."""
    row: Row | None = await connection.fetchrow(_DECIDE, request_id)
    return None if row is None else Guest(row["sender"], row["address"], row["name"], row["locale"])


async def set_account(connection: Connection, sender: str, name: str) -> None:
    """What the sender's account is called."""
    await connection.execute(_CALLED, sender, name)


async def account(connection: Connection, sender: str) -> str | None:
    """None: it is not known yet."""
    name: str | None = await connection.fetchval(_ACCOUNT, sender)
    return name
