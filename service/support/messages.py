"""What is said in a ticket becomes rows, and the rows become deliveries, in order for each side."""

from collections.abc import Sequence
from typing import Any

import orjson

from service.contract.tickets import TicketEventType
from service.db.database import Connection
from service.delivery.dedup import relay_key
from service.support import queries
from service.support.steps import Steps, desk_address
from service.support.telling import Telling
from service.support.values import Button, Incoming

Part = dict[str, Any]


class Messages:
    """Everything here is called with the ticket's row locked, in the caller's transaction."""

    def __init__(self, steps: Steps, telling: Telling) -> None:
        self.steps = steps
        self._telling = telling

    async def add(  # noqa: PLR0913 - what a row says, by name
        self,
        connection: Connection,
        ticket: Any,
        part: Part,
        *,
        origin: str,
        toward: str | None,
        operator: str | None = None,
        written: Incoming | None = None,
        wait_seconds: float = 0.0,
        buttons: Sequence[Sequence[Button]] = (),
    ) -> int:
        """Say something; it leaves as soon as its turn comes. `written` is the message of the channel."""
        rows = [[{"text": button.text, "action": button.action} for button in row] for row in buttons]
        message: int = await connection.fetchval(
            queries.ADD,
            ticket["id"],
            origin,
            toward,
            operator,
            None if written is None else written.chat,
            None if written is None else written.reply_to,
            None if written is None else written.album,
            _json([part]),
            _json(rows) if rows else None,
            wait_seconds,
            None if written is None else written.message,
        )
        await self.tell(connection, ticket, message, part, origin=origin, toward=toward, operator=operator)
        await self.plan(connection, ticket)
        return message

    async def grow(
        self, connection: Connection, ticket: Any, part: Part, written: Incoming, wait_seconds: float
    ) -> bool:
        """Add a part to an album that is still being gathered. False: there is none."""
        row = await connection.fetchrow(
            queries.GROW, ticket["id"], written.chat, written.album, _json([part]), wait_seconds
        )
        if row is None:
            return False
        await connection.execute(queries.PLACE, written.chat, written.message, row["id"], row["part"])
        await self.tell(
            connection, ticket, row["id"], part,
            origin=row["origin"], toward=row["toward"], operator=row["operator_id"],
        )  # fmt: skip
        return True

    async def say(
        self,
        connection: Connection,
        ticket: Any,
        toward: str,
        text: str,
        buttons: Sequence[Sequence[Button]] = (),
    ) -> None:
        """The service itself says something to one side."""
        part = {"kind": "text", "text": text}
        await self.add(connection, ticket, part, origin="service", toward=toward, buttons=buttons)

    async def plan(self, connection: Connection, ticket: Any) -> None:
        """Make the deliveries of what waits and whose turn it is.

        Toward the desk nothing leaves before the topic is there, nor while something is still on its way to
        a topic that was lost: it would have to come first.
        """
        held = {"desk"} if ticket["topic"] == "opening" else set()
        here = desk_address(ticket)
        for row in await connection.fetch(queries.WAITING, ticket["id"]):
            side = row["toward"]
            if row["state"] == "sending":
                if side == "desk" and row["address"] != here:
                    held.add(side)
            elif side not in held and row["ready"]:
                send = self.steps.to_desk if side == "desk" else self.steps.to_person
                key = relay_key(row["id"], row["repeats"])
                delivery = await send(connection, ticket, "message", message=row["id"], key=key)
                await connection.execute(queries.SENDING, row["id"], delivery)
            else:
                held.add(side)

    async def tell(
        self,
        connection: Connection,
        ticket: Any,
        message: int,
        part: Part,
        *,
        origin: str,
        toward: str | None,
        operator: str | None = None,
        event: TicketEventType = TicketEventType.MESSAGE,
    ) -> None:
        """Report one part. What the service itself says to the desk is nobody else's business."""
        if origin == "service" and toward == "desk":
            return
        body = {
            "id": message,
            "origin": origin,
            "toward": toward,
            "operator": operator,
            "parts": [{"kind": part["kind"], "text": part["text"]}],
        }
        await self._telling.tell(connection, ticket, event, message=body)


def part_of(written: Incoming, text: str | None = None) -> Part:
    """A part as its row keeps it. With `text` only that much of it is relayed, without its formatting."""
    part: Part = {"kind": written.kind, "text": written.text if text is None else text}
    if text is not None:
        part["cut"] = True
    elif written.entities:
        part["entities"] = list(written.entities)
    if written.media is not None:
        part |= {"file": written.media.file, "unique": written.media.unique}
    return part


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
