"""The life of a ticket: opened, claimed, released, handed over, closed, opened again, rated; and bans.

Every method works in the caller's transaction, locks the ticket's row, and leaves an event.
"""

from typing import Any

import orjson

from service.contract.tickets import TicketEventType
from service.db.database import Connection
from service.desk_settings import SupportSettings
from service.support import queries
from service.support.messages import Messages
from service.support.steps import Steps
from service.support.telling import Telling
from service.support.values import Answered, Button, Claimed, ClosedBy, Opened, Operator, Person, Rated
from service.support.wording import Wordings

RATE = "rate"
"""The action of a rating's buttons: `rate:TICKET:STARS`."""


class Tickets:
    """`desk` is the desk's chat as the settings name it."""

    def __init__(
        self,
        desk: str,
        settings: SupportSettings,
        *,
        steps: Steps,
        messages: Messages,
        telling: Telling,
        words: Wordings,
    ) -> None:
        self.desk = desk
        self._settings = settings
        self._steps = steps
        self._messages = messages
        self._telling = telling
        self._words = words

    # --- looking up ------------------------------------------------------------------------------

    async def desk_chat(self, connection: Connection) -> str:
        """The desk's chat as it is now."""
        return await connection.fetchval(queries.DESK, self.desk) or self.desk

    async def desk_moved(self, connection: Connection, old: str, new: str) -> None:
        """A group became a supergroup. What is no desk is no concern of ours."""
        if old == await self.desk_chat(connection):
            await connection.execute(queries.MOVE_DESK, self.desk, old, new)

    def may_answer(self, operator: str) -> bool:
        """Whether that member of the desk's chat is a specialist."""
        return not self._settings.specialists or operator in self._settings.specialists

    async def lock(self, connection: Connection, ticket: int) -> Any:
        """The ticket's row, with `recipient`, locked; None: there is none."""
        return await connection.fetchrow(queries.LOCK, ticket)

    async def open_of(self, connection: Connection, chat: str) -> int | None:
        """The ticket that a person has open."""
        found: int | None = await connection.fetchval(queries.OPEN_OF, self._steps.sender, chat)
        return found

    async def of_thread(self, connection: Connection, desk: str, thread: int) -> int | None:
        """The ticket of a topic."""
        found: int | None = await connection.fetchval(queries.OF_THREAD, desk, thread)
        return found

    async def of_message(self, connection: Connection, chat: str, message: int) -> int | None:
        """The ticket of a message that was relayed from or to that chat."""
        found: int | None = await connection.fetchval(queries.OF_MESSAGE, chat, message)
        return found

    async def is_banned(self, connection: Connection, chat: str) -> bool:
        return bool(await connection.fetchval(queries.IS_BANNED, self._steps.sender, chat))

    # --- opening and closing ---------------------------------------------------------------------

    async def open_ticket(
        self,
        connection: Connection,
        person: Person,
        *,
        category: str | None = None,
        answered: Answered | None = None,
    ) -> Opened | None:
        """Open a ticket, or find the one that the person has open. None: the person is banned.

        What they wrote follows by `Conversation.person_wrote`.
        """
        if await self.is_banned(connection, person.chat):
            return None
        about = None if answered is None else await self._about(connection, person.chat, answered)
        desk = await self.desk_chat(connection)
        ticket_id = await connection.fetchval(
            queries.INSERT,
            self._steps.sender,
            person.chat,
            person.name,
            person.username,
            person.locale,
            category,
            None if about is None else answered and answered.notification,
            None if about is None else about["delivery_id"],
            None if about is None else orjson.dumps(about).decode(),
            desk,
            "opening" if self._has_topics(desk) else "plain",
        )
        if ticket_id is None:
            found = await self._found_open(connection, person.chat, about)
            # It may have been closed this very moment.
            return found or await self.open_ticket(connection, person, category=category, answered=answered)
        ticket = await self.lock(connection, ticket_id)
        await self._telling.tell(connection, ticket, TicketEventType.OPENED, by="person")
        await self._say_to_person(connection, ticket, self._words.opened(ticket))
        if ticket["topic"] == "opening":
            await self.make_topic(connection, ticket)
        else:
            await self.show_card(connection, ticket)
        return Opened(ticket_id, fresh=True)

    async def close(
        self, connection: Connection, ticket_id: int, by: ClosedBy, operator: Operator | None = None
    ) -> bool:
        """Close it and ask the person how it was. False: it was closed."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None or ticket["status"] == "closed":
            return False
        await self._seen(connection, operator)
        await connection.execute(
            """UPDATE ticket SET status = 'closed', closed_at = now(), closed_by = $2, idle_at = NULL,
                operator_id = coalesce(operator_id, $3) WHERE id = $1""",
            ticket_id, by, None if operator is None else operator.id,
        )  # fmt: skip
        ticket = await self.lock(connection, ticket_id)
        await self._telling.tell(
            connection, ticket, TicketEventType.CLOSED, by=by if operator is None else operator.id
        )
        stars = [[Button("★" * count, f"{RATE}:{ticket_id}:{count}")] for count in range(5, 0, -1)]
        await self._say_to_person(
            connection, ticket, self._words.closed(ticket), stars if ticket["rating"] is None else []
        )
        await self._note(connection, ticket, self._words.desk_closed(by, operator))
        await self.show_card(connection, ticket)
        await self.finish_topic(connection, ticket)
        return True

    async def reopen(self, connection: Connection, ticket_id: int, operator: Operator | None = None) -> bool:
        """Open it again. False: it is open, or the person has another one open."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None or ticket["status"] == "open":
            return False
        if await self.open_of(connection, ticket["chat"]) is not None:
            return False
        await self._seen(connection, operator)
        await connection.execute(
            "UPDATE ticket SET status = 'open', closed_at = NULL, closed_by = NULL, warned = false WHERE id = $1",
            ticket_id,
        )
        ticket = await self.lock(connection, ticket_id)
        await self._telling.tell(
            connection, ticket, TicketEventType.REOPENED, by="person" if operator is None else operator.id
        )
        if ticket["topic"] == "ready":
            await self._steps.to_desk(connection, ticket, "reopen")
        await self._note(connection, ticket, self._words.desk_reopened(operator))
        await self.show_card(connection, ticket)
        return True

    async def rate(self, connection: Connection, ticket_id: int, chat: str, stars: int) -> Rated:
        """The person's rating of a closed ticket, which is kept once."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None or ticket["chat"] != chat or ticket["rating"] is not None or not 1 <= stars <= 5:  # noqa: PLR2004
            return "refused"
        if ticket["status"] == "open":
            return "open"
        await connection.execute(
            "UPDATE ticket SET rating = $2, rated_at = now() WHERE id = $1", ticket_id, stars
        )
        await self._telling.tell(connection, ticket, TicketEventType.RATED, by="person", rating=stars)
        await self.show_card(connection, ticket)
        return "rated"

    # --- whose it is -----------------------------------------------------------------------------

    async def claim(self, connection: Connection, ticket_id: int, operator: Operator) -> Claimed | None:
        """Take a ticket that nobody has. None: there is no such open ticket."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None or ticket["status"] == "closed":
            return None
        if ticket["operator_id"] is not None:
            return Claimed(ticket["operator_id"], mine=ticket["operator_id"] == operator.id)
        await self._assign(connection, ticket_id, operator, TicketEventType.CLAIMED, operator.id)
        return Claimed(operator.id, mine=True)

    async def release(self, connection: Connection, ticket_id: int, operator: Operator) -> bool:
        """Nobody has it any more. False: nobody had it."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None or ticket["status"] == "closed" or ticket["operator_id"] is None:
            return False
        await self._assign(connection, ticket_id, None, TicketEventType.RELEASED, operator.id)
        return True

    async def hand_over(self, connection: Connection, ticket_id: int, to: Operator, by: str) -> bool:
        """Another specialist has it from now on. False: there is no such open ticket."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None or ticket["status"] == "closed":
            return False
        if ticket["operator_id"] != to.id:
            await self._assign(connection, ticket_id, to, TicketEventType.HANDED_OVER, by)
        return True

    async def pick(self, connection: Connection, ticket_id: int, *, picking: bool) -> bool:
        """Ask on the card to whom the ticket goes, or do not ask any more. False: there is nothing to hand over."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None or ticket["status"] == "closed":
            return False
        await self.show_card(connection, ticket, picking=picking)
        return True

    async def operator(self, connection: Connection, operator_id: str) -> Operator | None:
        name = await connection.fetchval(queries.OPERATOR, operator_id)
        return None if name is None else Operator(operator_id, name)

    async def _assign(
        self, connection: Connection, ticket_id: int, to: Operator | None, event: TicketEventType, by: str
    ) -> None:
        await self._seen(connection, to)
        await connection.execute(
            """UPDATE ticket SET operator_id = $2, claimed_at = CASE WHEN $2::text IS NOT NULL
                THEN coalesce(claimed_at, now()) END WHERE id = $1""",
            ticket_id, None if to is None else to.id,
        )  # fmt: skip
        ticket = await self.lock(connection, ticket_id)
        await self._telling.tell(connection, ticket, event, by=by)
        await self.show_card(connection, ticket)
        if to is not None and (text := self._words.claimed(ticket, to)):
            await self._say_to_person(connection, ticket, text)
        await self._note(connection, ticket, self._words.desk_assigned(to))

    async def seen(self, connection: Connection, operator: Operator) -> None:
        """Remember who works at the desk."""
        await self._seen(connection, operator)

    async def _seen(self, connection: Connection, operator: Operator | None) -> None:
        if operator is not None:
            await connection.execute(queries.SEEN, operator.id, operator.name)

    # --- bans ------------------------------------------------------------------------------------

    async def ban(self, connection: Connection, ticket_id: int, operator: Operator) -> bool:
        """Close the ticket and take nothing from that person any more. False: there is no such ticket."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None:
            return False
        await self._seen(connection, operator)
        await connection.execute(
            """INSERT INTO support_ban (sender, chat, operator_id, at) VALUES ($1, $2, $3, now())
            ON CONFLICT DO NOTHING""",
            ticket["sender"], ticket["chat"], operator.id,
        )  # fmt: skip
        await self._telling.tell(connection, ticket, TicketEventType.BANNED, by=operator.id)
        if not await self.close(connection, ticket_id, "operator", operator):
            await self.show_card(connection, ticket)
        return True

    async def unban(self, connection: Connection, ticket_id: int) -> bool:
        """Listen to that ticket's person again. False: they were not banned."""
        ticket = await self.lock(connection, ticket_id)
        if ticket is None:
            return False
        gone = await connection.fetchval(
            "DELETE FROM support_ban WHERE sender = $1 AND chat = $2 RETURNING id",
            ticket["sender"], ticket["chat"],
        )  # fmt: skip
        await self.show_card(connection, ticket)
        return gone is not None

    # --- the desk's side of it -------------------------------------------------------------------

    async def make_topic(self, connection: Connection, ticket: Any, delay_seconds: float = 0.0) -> None:
        """Ask for a topic; what is said waits for it."""
        delivery = await self._steps.make_topic(connection, ticket, delay_seconds)
        await connection.execute(
            """UPDATE ticket SET topic = 'opening', thread = NULL, topic_delivery = $2, card_delivery = NULL,
                card_message = NULL WHERE id = $1""",
            ticket["id"], delivery,
        )  # fmt: skip

    async def topic_made(self, connection: Connection, ticket_id: int, thread: int | None) -> None:
        """The topic is there, or (None) cannot be made: the desk does without."""
        await connection.execute(
            "UPDATE ticket SET topic = $2, thread = $3 WHERE id = $1",
            ticket_id, "plain" if thread is None else "ready", thread,
        )  # fmt: skip
        ticket = await self.lock(connection, ticket_id)
        await self.show_card(connection, ticket)
        await self._messages.plan(connection, ticket)
        if ticket["status"] == "closed":
            await self.finish_topic(connection, ticket)

    async def show_card(self, connection: Connection, ticket: Any, *, picking: bool = False) -> None:
        """Bring the header card up to date; with `picking` it asks to whom the ticket goes."""
        if ticket["topic"] == "opening":
            return
        delivery = await self._steps.to_desk(connection, ticket, "card", picking=picking)
        await connection.execute(
            "UPDATE ticket SET card_delivery = $2 WHERE id = $1 AND card_delivery IS NULL",
            ticket["id"], delivery,
        )  # fmt: skip

    async def finish_topic(self, connection: Connection, ticket: Any) -> None:
        """The last things in a topic: the transcript, and its closing."""
        if ticket["topic"] == "opening":
            return
        if self._settings.transcript:
            await self._steps.to_desk(connection, ticket, "transcript")
        if ticket["topic"] == "ready":
            await self._steps.to_desk(connection, ticket, "close")

    # ---------------------------------------------------------------------------------------------

    def _has_topics(self, desk: str) -> bool:
        return self._settings.topics and desk.startswith("-100")

    async def _found_open(self, connection: Connection, chat: str, about: Any) -> Opened | None:
        ticket_id = await self.open_of(connection, chat)
        if ticket_id is None:
            return None
        if about is not None:
            ticket = await self.lock(connection, ticket_id)
            await self._note(connection, ticket, self._words.desk_answers(about))
        return Opened(ticket_id, fresh=False)

    async def _about(self, connection: Connection, chat: str, answered: Answered) -> dict[str, Any] | None:
        row = await connection.fetchrow(
            queries.ABOUT, answered.notification, answered.delivery, self._steps.sender, chat
        )
        if row is None or row["delivery_id"] is None:
            return None
        content = orjson.loads(row["content"])
        return {
            "title": content.get("title", ""),
            "body": answered.text or content.get("body", ""),
            "template": content.get("template"),
            "category": row["category"],
            "delivery_id": row["delivery_id"],
            "trail": orjson.loads(row["trail"] or "[]"),
        }

    async def _say_to_person(self, connection: Connection, ticket: Any, text: str, buttons: Any = ()) -> None:
        await self._messages.say(connection, ticket, "person", text, buttons)

    async def _note(self, connection: Connection, ticket: Any, text: str) -> None:
        await self._messages.say(connection, ticket, "desk", text)
