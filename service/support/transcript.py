"""A ticket's conversation as a text file."""

from datetime import datetime
from typing import Any

import orjson

from service.db.database import Connection

MESSAGES_MAX = 10_000

_MESSAGES = """
SELECT m.origin, m.toward, m.parts, m.state, m.created_at, o.name
FROM ticket_message m LEFT JOIN support_operator o ON o.id = m.operator_id
WHERE m.ticket_id = $1 AND NOT (m.origin = 'service' AND m.toward = 'desk') ORDER BY m.id LIMIT $2
"""


async def transcript(connection: Connection, ticket: Any) -> str:
    """What was said, a line each, the oldest first; times are UTC. For the desk: it names specialists."""
    rows = await connection.fetch(_MESSAGES, ticket["id"], MESSAGES_MAX)
    head = [f"Ticket {ticket['id']}", f"Person: {ticket['name']} ({ticket['sender']} {ticket['chat']})"]
    if ticket["recipient"] is not None:
        head.append(f"Recipient: {ticket['recipient']}")
    head.append(f"Opened: {_time(ticket['opened_at'])}")
    if ticket["closed_at"] is not None:
        head.append(f"Closed: {_time(ticket['closed_at'])}, by {ticket['closed_by']}")
    return "\n".join([*head, "", *(_line(ticket, row) for row in rows), ""])


def _line(ticket: Any, row: Any) -> str:
    said = " ".join(_part(part) for part in orjson.loads(row["parts"]))
    # Nobody can write a line that looks like somebody else's.
    said = "\n    ".join(said.splitlines())
    who = {"person": ticket["name"], "operator": row["name"] or "?", "service": "·"}[row["origin"]]
    note = " (internal)" if row["toward"] is None else ""
    lost = " (not delivered)" if row["state"] == "failed" else ""
    return f"{_time(row['created_at'])} {who}{note}{lost}: {said}"


def _part(part: dict[str, Any]) -> str:
    text: str = part["text"]
    return text if part["kind"] == "text" else f"[{part['kind']}] {text}".rstrip()


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
