"""Leaving by a link: what it stops, doing it, taking it back."""

from dataclasses import dataclass

import orjson

from service.audience import queries
from service.db.database import Connection

LINK_PURPOSE = "unsubscribe"
"""What such links are signed for, and the beginning of their path."""


@dataclass(frozen=True, slots=True)
class Unsubscribing:
    """What a link stops: a category at a sender, either alone, or, when both are None, everything."""

    recipient_id: int
    category: str | None = None
    sender: str | None = None

    def to_link(self) -> str:
        """As the data of a signed link."""
        return orjson.dumps([self.recipient_id, self.category, self.sender]).decode()

    @classmethod
    def from_link(cls, data: str) -> "Unsubscribing":
        """The reverse of `to_link`."""
        return cls(*orjson.loads(data))


@dataclass(frozen=True, slots=True)
class Leaving:
    """Whose link it is: their locale (None: that of the settings), and whether they have left already."""

    locale: str | None
    done: bool


async def look(connection: Connection, link: Unsubscribing) -> Leaving | None:
    """None: the recipient was erased."""
    row = await connection.fetchrow(queries.LOOK, link.recipient_id, link.category, link.sender)
    return None if row is None else Leaving(row["locale"], row["done"])


async def leave(connection: Connection, link: Unsubscribing) -> None:
    """Stop it; once more changes nothing."""
    if link.category is None and link.sender is None:
        await connection.execute(queries.MUTE_ALL, link.recipient_id, True)
    else:
        await connection.execute(queries.LEAVE, link.recipient_id, link.category, link.sender)


async def come_back(connection: Connection, link: Unsubscribing) -> None:
    """Take exactly that back."""
    if link.category is None and link.sender is None:
        await connection.execute(queries.MUTE_ALL, link.recipient_id, False)
    else:
        await connection.execute(queries.COME_BACK, link.recipient_id, link.category, link.sender)
