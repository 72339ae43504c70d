"""Which delivery a message at a provider is: how an answer to it finds its notification."""

from dataclasses import dataclass
from uuid import UUID

from service.db.database import Connection

ROWS_LOOKED_AT = 2_000
"""Of an address, the newest ones: what was sent to one person in years."""
CONVERSATION = "support"
"""The source of what belongs to a conversation and is no notification."""

_FIND = """
SELECT d.id, d.notification_id, n.category
FROM (SELECT id, notification_id, provider_ids FROM delivery WHERE sender = $1 AND address = $2 ORDER BY id DESC LIMIT $4) d
JOIN notification n ON n.id = d.notification_id
WHERE $3 = ANY(d.provider_ids) AND n.source <> $5
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A delivery and its notification."""

    delivery_id: int
    notification_id: UUID
    category: str | None


async def delivery_of(connection: Connection, sender: str, address: str, provider_id: str) -> Found | None:
    """The notification of which a provider's message is a part. None: it is of none that is still known."""
    row = await connection.fetchrow(_FIND, sender, address, provider_id, ROWS_LOOKED_AT, CONVERSATION)
    return None if row is None else Found(row["id"], row["notification_id"], row["category"])
