"""Steps of a conversation become deliveries: rows of the same queue as every notification.

The row says which step it is and of what; what exactly is sent is made from the tables at the time of
sending (`relaying`), so that nothing of a conversation is stored twice and nothing old is shown.
"""

from typing import Any, Literal
from uuid import UUID

import orjson

from service.db.database import Connection
from service.db.ids import uuid7
from service.delivery.planning import SPACING_MARGIN, Hop, make_hop
from service.delivery.wakeups import CHANNEL
from service.desk_settings import SupportSettings
from service.senders.base import BaseSender

Step = Literal["message", "edit", "card", "topic", "reopen", "close", "transcript"]

CATEGORY = "support"
SOURCE = "support"
URGENT = 0
ZONE = "UTC"
"""Of the reader of a step: nothing in it shows a time."""

# The engine's own columns, as an accepted request would fill them; $7 is null or an idempotency key.
_INSERT = """
WITH made AS (
    INSERT INTO notification (id, dedup_key, content_hash, source, content, route, category, created_at)
    VALUES ($1, $7, CASE WHEN $7::text IS NOT NULL THEN '\\x00'::bytea END, $8, $3::json, '[]', $9, now())
    ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown, spacing,
    pacing_key, send_at, due_at, created_at, behind, started, attempt, lost_leases, facts)
SELECT id, 0, $2, $4, $10, 'queued', false, $5, $6, now() + $12 * interval '1 second',
    now() + $12 * interval '1 second', now(), false, false, 0, 0, $11::jsonb FROM made
RETURNING id, pg_notify($13, $14)
"""


class Steps:
    """Makes them, in the caller's transaction. The dispatcher hears of them at its commit."""

    def __init__(self, sender: BaseSender, settings: SupportSettings) -> None:
        self.sender = sender.name
        self._sender = sender
        self._desk_spacing = _spacing(settings.desk_rate)
        self._topic_spacing = _spacing(settings.topic_rate)

    async def to_person(self, connection: Connection, ticket: Any, step: Step, **of: Any) -> int | None:
        """A step in the person's chat. The delivery's id; None: it is there already."""
        hop = make_hop(self.sender, self._sender, ticket["chat"])
        return await self._add(connection, ticket, hop, step, of)

    async def to_desk(self, connection: Connection, ticket: Any, step: Step, **of: Any) -> int | None:
        """A step in the ticket's topic, or in the chat of a desk without topics."""
        hop = Hop(self.sender, desk_address(ticket), self._desk_spacing, self._pacing_key(ticket["desk"]))
        return await self._add(connection, ticket, hop, step, of)

    async def make_topic(self, connection: Connection, ticket: Any, delay_seconds: float = 0.0) -> int | None:
        """Ask for a topic. It has a budget of its own, so that nothing else waits for it."""
        key = f"{self._pacing_key(ticket['desk'])}#topics"
        hop = Hop(self.sender, ticket["desk"], self._topic_spacing, key)
        return await self._add(connection, ticket, hop, "topic", {}, delay_seconds)

    def _pacing_key(self, desk: str) -> str:
        return self._sender.pacing_key(desk)

    async def _add(
        self,
        connection: Connection,
        ticket: Any,
        hop: Hop,
        step: Step,
        of: dict[str, Any],
        delay_seconds: float = 0.0,
    ) -> int | None:
        key = of.pop("key", None)
        content = {
            "category": CATEGORY,
            "metadata": {"ticket": ticket["id"]},
            "relay": {"step": step, "ticket": ticket["id"], **of},
        }
        delivery: int | None = await connection.fetchval(
            _INSERT,
            UUID(str(uuid7())),
            self.sender,
            orjson.dumps(content).decode(),
            hop.address,
            hop.spacing,
            hop.pacing_key,
            key,
            SOURCE,
            CATEGORY,
            URGENT,
            orjson.dumps({"locale": ticket["locale"], "zone": ZONE}).decode(),
            delay_seconds,
            CHANNEL,
            f"due {self.sender}",
        )
        return delivery


def desk_address(ticket: Any) -> str:
    """Where the desk reads this ticket."""
    return ticket["desk"] if ticket["thread"] is None else f"{ticket['desk']}:{ticket['thread']}"


def _spacing(rate_a_minute: float) -> float:
    return 60 / rate_a_minute * SPACING_MARGIN if rate_a_minute else 0.0
