"""What people and specialists write: recognised, kept, and relayed to the other side.

Every method works in the caller's transaction and may be called again with the same message: a chat's
own ids tell that it is known.
"""

from datetime import timedelta
from typing import Any

import orjson

from service.contract.tickets import TicketEventType
from service.db.database import Connection
from service.desk_settings import SupportSettings
from service.support import queries
from service.support.messages import Messages, part_of
from service.support.tickets import Tickets
from service.support.values import Incoming, Operator, Wrote
from service.support.wording import Wordings, shortened


class Conversation:
    """Messages and their edits, from both sides."""

    def __init__(
        self, settings: SupportSettings, *, tickets: Tickets, messages: Messages, words: Wordings
    ) -> None:
        self._settings = settings
        self._words = words
        self._tickets = tickets
        self._messages = messages

    # --- people ----------------------------------------------------------------------------------

    async def person_wrote(self, connection: Connection, written: Incoming) -> Wrote:
        """A person's message goes to the ticket they have open, or to the closed one that it answers."""
        if await self._tickets.is_banned(connection, written.chat):
            return "banned"
        ticket = await self._ticket_of_person(connection, written)
        if ticket is None:
            return "no_ticket"
        if await connection.fetchval(queries.IS_KNOWN, written.chat, written.message):
            return "repeated"
        if ticket["idle_at"] is not None:
            await connection.execute(
                "UPDATE ticket SET idle_at = NULL, warned = false WHERE id = $1", ticket["id"]
            )
        await self._relay(connection, ticket, written, part_of(written), origin="person", toward="desk")
        return "relayed"

    async def has_part_of(self, connection: Connection, written: Incoming) -> bool:
        """Whether an earlier part of that album is in the ticket that the person has open."""
        return written.album is not None and bool(
            await connection.fetchval(
                queries.HAS_PART_OF, self._messages.steps.sender, written.chat, written.album
            )
        )

    async def person_edited(self, connection: Connection, written: Incoming) -> bool:
        """The desk gets the new form. False: the person is banned, that message is of no ticket, or unchanged."""
        if await self._tickets.is_banned(connection, written.chat):
            return False
        return await self._edited(connection, written, None)

    async def _ticket_of_person(self, connection: Connection, written: Incoming) -> Any:
        ticket_id = await self._tickets.open_of(connection, written.chat)
        if ticket_id is None and written.reply_to is not None:
            ticket_id = await self._reopened(connection, written.chat, written.reply_to)
        ticket = None if ticket_id is None else await self._tickets.lock(connection, ticket_id)
        return ticket if ticket is not None and ticket["status"] == "open" else None

    async def _reopened(self, connection: Connection, chat: str, reply_to: int) -> int | None:
        """The ticket of the message that is answered, if it was closed not long ago."""
        ticket_id = await self._tickets.of_message(connection, chat, reply_to)
        if ticket_id is None:
            return None
        recent = await connection.fetchval(
            "SELECT closed_at > now() - $2::interval FROM ticket WHERE id = $1 AND chat = $3",
            ticket_id, timedelta(hours=self._settings.reopen_hours), chat,
        )  # fmt: skip
        return ticket_id if recent and await self._tickets.reopen(connection, ticket_id) else None

    # --- specialists -----------------------------------------------------------------------------

    async def operator_wrote(self, connection: Connection, written: Incoming, operator: Operator) -> Wrote:
        """A specialist's message in a topic, or in answer to a relayed one, goes to the person.

        What begins with the mark stays at the desk, and so do single lines that begin with it.
        """
        ticket = await self._ticket_of_desk(connection, written)
        if ticket is None:
            return "no_ticket"
        if await connection.fetchval(queries.IS_KNOWN, written.chat, written.message):
            return "repeated"
        await self._tickets.seen(connection, operator)
        outward = self._outward(written)
        if outward is None or ticket["status"] == "closed":
            await self._keep(connection, ticket, written, operator)
            if outward is not None and ticket["topic"] == "plain":
                await self._messages.say(connection, ticket, "desk", self._words.desk_is_closed(ticket))
            return "internal"
        ticket = await self._claimed(connection, ticket, operator)
        part = part_of(written, None if outward == written.text else outward)
        await self._relay(
            connection, ticket, written, part, origin="operator", toward="person", operator=operator.id
        )
        await self.answered(connection, ticket)
        return "relayed"

    async def operator_edited(self, connection: Connection, written: Incoming) -> bool:
        """The person gets the new form. False: that message is of no ticket, internal, or unchanged."""
        outward = self._outward(written)
        if outward is None:
            await self._keep_back(connection, written)
            return False
        return await self._edited(connection, written, outward)

    async def reply(
        self, connection: Connection, ticket_id: int, text: str, operator: Operator
    ) -> int | None:
        """A specialist who works elsewhere answers; the desk reads it too. The message's id; None: no open ticket."""
        ticket = await self._tickets.lock(connection, ticket_id)
        if ticket is None or ticket["status"] == "closed":
            return None
        await self._tickets.seen(connection, operator)
        ticket = await self._claimed(connection, ticket, operator)
        part = {"kind": "text", "text": text}
        message = await self._messages.add(
            connection, ticket, part, origin="operator", toward="person", operator=operator.id
        )
        await self._messages.say(connection, ticket, "desk", shortened(f"{operator.name}: {text}", 4_096))
        await self.answered(connection, ticket)
        return message

    async def answered(self, connection: Connection, ticket: Any) -> None:
        """From now on the person's silence counts."""
        await connection.execute(
            """UPDATE ticket SET first_reply_at = coalesce(first_reply_at, now()), warned = false,
                idle_at = now() + nullif($2::float8, 0) * interval '1 hour' WHERE id = $1""",
            ticket["id"], self._settings.warn_hours,
        )  # fmt: skip

    async def _claimed(self, connection: Connection, ticket: Any, operator: Operator) -> Any:
        """The ticket, which whoever answers has where nobody had it."""
        if ticket["operator_id"] is not None or not self._settings.claim_by_reply:
            return ticket
        await self._tickets.claim(connection, ticket["id"], operator)
        return await self._tickets.lock(connection, ticket["id"])

    async def _keep(self, connection: Connection, ticket: Any, written: Incoming, operator: Operator) -> None:
        """A note of the desk to itself, and with it the album that it is a part of."""
        if written.album is not None:
            await connection.execute(queries.KEEP_ALBUM, ticket["id"], written.chat, written.album)
        await self._relay(
            connection, ticket, written, part_of(written),
            origin="operator", toward=None, operator=operator.id,
        )  # fmt: skip

    async def _keep_back(self, connection: Connection, written: Incoming) -> None:
        """What became internal before it left stays at the desk: a copy would hold its new form."""
        found = await connection.fetchrow(queries.EDITED, written.chat, written.message)
        if found is None or found["toward"] != "person":
            return
        ticket = await self._tickets.lock(connection, found["ticket_id"])
        await connection.execute(queries.KEEP_BACK, found["id"])
        await self._messages.plan(connection, ticket)

    async def _ticket_of_desk(self, connection: Connection, written: Incoming) -> Any:
        desk = await self._tickets.desk_chat(connection)
        if written.chat != desk:
            return None
        ticket_id = None
        if written.thread is not None:
            ticket_id = await self._tickets.of_thread(connection, desk, written.thread)
        if ticket_id is None and written.reply_to is not None:
            ticket_id = await self._tickets.of_message(connection, desk, written.reply_to)
        if ticket_id is None and written.album is not None:
            ticket_id = await connection.fetchval(
                """SELECT ticket_id FROM ticket_message WHERE album = $1 AND chat = $2
                ORDER BY id DESC LIMIT 1""",
                written.album, written.chat,
            )  # fmt: skip
        return None if ticket_id is None else await self._tickets.lock(connection, ticket_id)

    def _outward(self, written: Incoming) -> str | None:
        """The text that the person may read; None: the message is internal."""
        mark = self._settings.internal_mark
        if written.text.lstrip().startswith(mark):
            return None
        lines = written.text.split("\n")
        kept = [line for line in lines if not line.lstrip().startswith(mark)]
        if len(kept) == len(lines):
            return written.text
        # The caption of one part of an album cannot be changed while the album is copied.
        return None if written.album is not None else "\n".join(kept).strip()

    # --- both ------------------------------------------------------------------------------------

    async def _relay(
        self,
        connection: Connection,
        ticket: Any,
        written: Incoming,
        part: dict[str, Any],
        *,
        origin: str,
        toward: str | None,
        operator: str | None = None,
    ) -> None:
        wait = self._settings.album_seconds if written.album is not None else 0.0
        if written.album and await self._messages.grow(connection, ticket, part, written, wait):
            return
        await self._messages.add(
            connection, ticket, part,
            origin=origin, toward=toward, operator=operator, written=written, wait_seconds=wait,
        )  # fmt: skip

    async def _edited(self, connection: Connection, written: Incoming, outward: str | None) -> bool:
        found = await connection.fetchrow(queries.EDITED, written.chat, written.message)
        if found is None or found["toward"] is None:
            return False
        ticket = await self._tickets.lock(connection, found["ticket_id"])
        found = await connection.fetchrow(queries.EDITED, written.chat, written.message)
        old = orjson.loads(found["old"])
        part = part_of(written, None if outward in (None, written.text) else outward)
        what = _changed(old, part)
        if what is None:
            return False
        await connection.execute(queries.EDIT, found["id"], str(found["part"]), orjson.dumps(part).decode())
        await self._messages.tell(
            connection, ticket, found["id"], part,
            origin=found["origin"], toward=found["toward"], event=TicketEventType.EDITED,
        )  # fmt: skip
        # What has not left yet leaves in its new form.
        if found["state"] in ("sending", "sent"):
            steps = self._messages.steps
            send = steps.to_desk if found["toward"] == "desk" else steps.to_person
            await send(connection, ticket, "edit", message=found["id"], part=found["part"], what=what)
        return True


def _changed(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """What an edit changed, as far as it can be changed at the other side; None: nothing."""
    if old.get("unique") != new.get("unique"):
        return "media"
    if old["text"] == new["text"] and old.get("entities") == new.get("entities"):
        return None
    return "text" if new["kind"] == "text" else "caption"
