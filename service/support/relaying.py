"""What a step of a conversation really sends, made from the tables at the time of sending."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from service.content.localisation import Localisation
from service.db.database import OUTAGE, Connection, Database
from service.delivery.jobs import Job
from service.delivery.planning import Suppressed
from service.desk_settings import SupportSettings
from service.senders.base import Message, NotSent, Retry, Throttled
from service.senders.relay import Action, Copy, Edit, File, Relay, Say, Thread
from service.support import queries
from service.support.card import OPERATORS_SHOWN, Cards
from service.support.steps import SOURCE, desk_address
from service.support.transcript import transcript
from service.support.values import Operator

FOLLOWS_SECONDS = 0.05
"""What changes or answers a message that was sent just now waits so long for its id."""
OUTAGE_SECONDS = 2.0
FRESH_SECONDS = 2.0
"""Nobody waits longer for the id of what is answered: it was no message of this conversation."""
TOPIC_NAME_CHARS = 128
_NOTHING = Suppressed("nothing_to_do", "what it is about is not there any more")
_LATER = Throttled(reason="what it follows is not settled yet", retry_after=FOLLOWS_SECONDS)

# The copy of a part at the other side, whether or not it is noted there already; none where copies were skipped.
_COPY = """
SELECT coalesce(c.id, CASE WHEN d.status = 'sent' AND cardinality(d.provider_ids) = jsonb_array_length(m.parts)
    THEN d.provider_ids[$2::int + 1]::bigint END) AS id, m.state
FROM ticket_message m
LEFT JOIN relayed_message c ON c.message_id = m.id AND c.part = $2 AND c.chat = $3
LEFT JOIN delivery d ON d.id = m.delivery_id
WHERE m.id = $1
"""
# What is answered, seen from the other chat; only within the same ticket. The first part stands for an unknown one.
_ANSWERED = """
SELECT m.id, greatest(r.part, 0) AS part FROM relayed_message r JOIN ticket_message m ON m.id = r.message_id
WHERE r.chat = $1 AND r.id = $2 AND m.ticket_id = $3
"""
# Copies that have left and are not noted yet: a quick answer may be to one of them.
_FRESH = """
SELECT m.id, d.status <> 'sent' AS under_way, CASE
    WHEN cardinality(d.provider_ids) = jsonb_array_length(m.parts) THEN array_position(d.provider_ids, $3::text) - 1
    WHEN $3 = ANY(d.provider_ids) THEN 0 END AS part
FROM ticket_message m JOIN delivery d ON d.id = m.delivery_id
WHERE m.ticket_id = $1 AND m.toward <> $2 AND m.state = 'sending' AND d.status IN ('sending', 'sent')
"""
_SOURCES = "SELECT id FROM relayed_message WHERE message_id = $1 AND chat = $2 ORDER BY part"


class Relaying:
    """Makes the message of a step. The engine asks for it just before it calls the sender."""

    def __init__(self, database: Database, localisation: Localisation, settings: SupportSettings) -> None:
        self._database = database
        self._settings = settings
        self._cards = Cards(localisation, settings.locale)

    async def message(self, job: Job) -> Message | NotSent | Suppressed:
        """What is sent, why not now, or why not at all."""
        step = job.content.relay or {}
        try:
            async with self._database.connection() as connection:
                ticket = await connection.fetchrow(queries.READ, step["ticket"])
                made = _NOTHING if ticket is None else await self._make(connection, job, ticket, step)
        except OUTAGE as error:
            return Retry(reason=f"the conversation is out of reach: {error}", retry_after=OUTAGE_SECONDS)
        return made if isinstance(made, NotSent | Suppressed) else replace(job.message(), relay=made)

    async def _make(  # noqa: PLR0911 - one for each step
        self, connection: Connection, job: Job, ticket: Any, step: dict[str, Any]
    ) -> Relay | NotSent | Suppressed:
        match step["step"]:
            case "message":
                return await self._say(connection, job, ticket, step["message"])
            case "edit":
                return await self._edit(connection, ticket, step)
            case "card":
                return await self._card(connection, job, ticket, picking=step.get("picking", False))
            case "topic":
                return Thread("open", f"#{ticket['id']} {ticket['name']}"[:TOPIC_NAME_CHARS])
            case "reopen":
                return Thread("reopen")
            case "close":
                return Thread("close")
            case "transcript":
                text = await transcript(connection, ticket)
                return File(f"ticket-{ticket['id']}.txt", text.encode())
        raise ValueError(f"{step['step']!r} is no step")

    async def _say(
        self, connection: Connection, job: Job, ticket: Any, message_id: int
    ) -> Relay | NotSent | Suppressed:
        row = await connection.fetchrow(queries.MESSAGE, message_id)
        if row is None:
            return _NOTHING
        answers = await self._reply_to(connection, job, ticket, row)
        if isinstance(answers, Throttled):
            return answers
        parts = orjson.loads(row["parts"])
        if row["chat"] is None or (parts[0].get("cut") and parts[0]["kind"] == "text"):
            rows = orjson.loads(row["buttons"] or "[]")
            actions = tuple(tuple(Action(**action) for action in line) for line in rows)
            return Say(parts[0]["text"], actions=actions, reply_to=answers)
        sources = await connection.fetch(_SOURCES, message_id, row["chat"])
        return Copy(
            row["chat"],
            tuple(source["id"] for source in sources),
            caption=parts[0]["text"] if parts[0].get("cut") else None,
            reply_to=answers,
        )

    async def _reply_to(
        self, connection: Connection, job: Job, ticket: Any, row: Any
    ) -> int | Throttled | None:
        """What it is shown as an answer to: a message of the conversation, or the card where there is no topic."""
        answers = None if row["reply_to"] is None else await self._answers(connection, job, ticket, row)
        if answers is None and row["toward"] == "desk" and ticket["thread"] is None:
            return await self._card_message(connection, ticket)
        return answers

    async def _answers(
        self, connection: Connection, job: Job, ticket: Any, row: Any
    ) -> int | Throttled | None:
        """The message at the other side that stands for the one that is answered."""
        found = await connection.fetchrow(_ANSWERED, row["chat"], row["reply_to"], ticket["id"])
        if found is None:
            fresh = await connection.fetch(_FRESH, ticket["id"], row["toward"], str(row["reply_to"]))
            found = next((copy for copy in fresh if copy["part"] is not None), None)
            young = datetime.now(UTC) - job.created_at < timedelta(seconds=FRESH_SECONDS)
            if found is None:
                return _LATER if young and any(copy["under_way"] for copy in fresh) else None
        chat = other_chat(ticket, row["toward"])
        copy = await connection.fetchrow(_COPY, found["id"], found["part"], chat)
        if copy["id"] is None and copy["state"] == "sending" and found["id"] < row["id"]:
            return _LATER
        answered: int | None = copy["id"]
        return answered

    async def _edit(
        self, connection: Connection, ticket: Any, step: dict[str, Any]
    ) -> Relay | NotSent | Suppressed:
        row = await connection.fetchrow(queries.MESSAGE, step["message"])
        if row is None:
            return _NOTHING
        copy = await connection.fetchrow(
            _COPY, step["message"], step["part"], other_chat(ticket, row["toward"])
        )
        if copy["id"] is None:
            return _LATER if copy["state"] == "sending" else _NOTHING
        part = orjson.loads(row["parts"])[step["part"]]
        return Edit(
            copy["id"],
            step["what"],
            text=part["text"],
            entities=tuple(part.get("entities", ())),
            kind=part["kind"],
            file=part.get("file"),
        )

    async def _card(
        self, connection: Connection, job: Job, ticket: Any, *, picking: bool
    ) -> Relay | NotSent | Suppressed:
        if desk_address(ticket) != job.address:
            return _NOTHING
        operator = await connection.fetchval(queries.OPERATOR, ticket["operator_id"])
        recent = await connection.fetch(
            queries.RECENT, ticket["sender"], ticket["chat"], SOURCE, self._settings.card_deliveries
        )
        banned = await connection.fetchval(queries.IS_BANNED, ticket["sender"], ticket["chat"])
        offered = await connection.fetch(queries.OPERATORS, OPERATORS_SHOWN) if picking else None
        card = self._cards.card(
            ticket,
            operator=operator,
            recent=recent,
            banned=bool(banned),
            offered=None if offered is None else [Operator(row["id"], row["name"]) for row in offered],
        )
        actions = tuple(tuple(Action(b.text, b.action) for b in row) for row in card.buttons)
        if ticket["card_delivery"] == job.id:
            return Say(card.text, actions=actions)
        shown = await self._card_message(connection, ticket)
        if isinstance(shown, Throttled):
            return shown
        return _NOTHING if shown is None else Edit(shown, "text", text=card.text, actions=actions)

    async def _card_message(self, connection: Connection, ticket: Any) -> int | Throttled | None:
        """The id of the header card; None: it could not be sent."""
        if ticket["card_message"] is not None:
            return int(ticket["card_message"])
        row = await connection.fetchrow(
            "SELECT status, provider_ids FROM delivery WHERE id = $1", ticket["card_delivery"]
        )
        if row is None or row["status"] in ("queued", "sending"):
            return None if row is None else _LATER
        return int(row["provider_ids"][0]) if row["provider_ids"] else None


def other_chat(ticket: Any, toward: str) -> str:
    """Where something leaves to."""
    chat: str = ticket["desk"] if toward == "desk" else ticket["chat"]
    return chat
