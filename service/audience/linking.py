"""Linking: a person comes to a bot by a signed link, and the chat becomes their contact."""

from service.audience import queries
from service.db.database import Connection

LINK_PURPOSE = "start"
"""What such links are signed for; their data are the recipient's row id in digits."""


async def link(connection: Connection, recipient_id: int, sender: str, address: str) -> bool:
    """Add the contact behind the others, or make it active again. False: the recipient was erased."""
    return await connection.fetchval(queries.LINK, recipient_id, sender, address) is not None
