"""Ticket events: they leave through the outbox, in order for each ticket."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from service.contract.tickets import TicketEventType
from service.db.database import Connection
from service.db.ids import uuid7

_OUTBOX = """
INSERT INTO outbox (transport, channel, types, subjects, bodies)
SELECT transport, 'tickets', ARRAY[$2::text], ARRAY[$3::text], ARRAY[$4::text] FROM unnest($1::text[]) AS transport
"""


class Telling:
    """Writes events into the outboxes of these transports, in the caller's transaction."""

    def __init__(self, transports: Sequence[str]) -> None:
        self._transports = list(transports)

    async def tell(self, connection: Connection, ticket: Any, event: TicketEventType, **more: Any) -> None:
        """`ticket` is its row after the change; `more` are further fields of a `TicketEvent`."""
        if not self._transports:
            return
        body = {
            "event_id": uuid7(),
            "type": event.value,
            "time": datetime.now(UTC),
            "ticket": ticket["id"],
            "sender": ticket["sender"],
            "address": ticket["chat"],
            "recipient": ticket["recipient"],
            "category": ticket["category"],
            "notification_id": _text(ticket["notification_id"]),
            "operator": ticket["operator_id"],
            **more,
        }
        await connection.execute(
            _OUTBOX,
            self._transports,
            event.value,
            f"ticket:{ticket['id']}",
            orjson.dumps(body, option=orjson.OPT_UTC_Z).decode(),
        )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
