"""What became of relayed messages: ids are remembered, lost topics made anew, failures told."""

import logging
from collections.abc import Sequence
from typing import Any

from service.contract.tickets import TicketEventType
from service.db.database import Connection, Database
from service.senders.relay import THREAD_CLOSED, THREAD_GONE
from service.support import queries
from service.support.each import each
from service.support.messages import Messages
from service.support.steps import Steps, desk_address
from service.support.telling import Telling
from service.support.tickets import Tickets
from service.support.wording import Wordings

log = logging.getLogger(__name__)

REPEATS_MAX = 3
TOPIC_AGAIN_SECONDS = 60.0


class Outcomes:
    """Settles what the engine has settled. May run anywhere at any time, on what is left as well."""

    def __init__(
        self,
        database: Database,
        *,
        tickets: Tickets,
        messages: Messages,
        steps: Steps,
        telling: Telling,
        words: Wordings,
    ) -> None:
        self._database = database
        self._tickets = tickets
        self._messages = messages
        self._steps = steps
        self._telling = telling
        self._words = words

    async def settle(self, deliveries: Sequence[int] | None = None) -> None:
        """Look at these deliveries, or at whatever is not settled yet."""
        which = None if deliveries is None else list(deliveries)
        async with self._database.transaction() as connection:
            for moved in await connection.fetch(queries.HARVEST, which):
                await self._tickets.desk_moved(connection, moved["desk"], moved["chat"])
            await connection.execute(queries.HARVEST_CARDS, which)
        async with self._database.connection() as connection:
            unsent = await connection.fetch(queries.UNSENT, which)
            topics = await connection.fetch(queries.TOPICS, which)
        await each(topics, self._topic, "settling a topic")
        await each(unsent, self._unsent, "settling a message")

    async def _topic(self, row: Any) -> None:
        ticket_id = row["id"]
        async with self._database.transaction() as connection:
            ticket = await self._tickets.lock(connection, ticket_id)
            if ticket is None or ticket["topic"] != "opening":
                return
            made = await connection.fetchrow(queries.TOPIC, ticket["topic_delivery"])
            if made is None or made["status"] in ("queued", "sending"):
                return
            if made["status"] != "sent" and made["error_kind"] != "refused":
                # The desk is out of reach, and may come back: what is said waits.
                log.error("ticket %d has no topic yet: %s", ticket_id, made["error_text"])
                await self._tickets.make_topic(connection, ticket, TOPIC_AGAIN_SECONDS)
                return
            if made["status"] != "sent":
                log.error(
                    "ticket %d has no topic of its own (%s): it is in the desk's chat itself",
                    ticket_id, made["error_text"],
                )  # fmt: skip
                await self._tickets.topic_made(connection, ticket_id, None)
                return
            if made["address"] != ticket["desk"]:
                await self._tickets.desk_moved(connection, ticket["desk"], made["address"])
            await self._tickets.topic_made(connection, ticket_id, int(made["provider_ids"][0]))

    async def _unsent(self, row: Any) -> None:
        async with self._database.transaction() as connection:
            ticket = await self._tickets.lock(connection, row["ticket_id"])
            why = await connection.fetchrow(queries.WHY, row["id"])
            if ticket is None or why is None:
                return
            toward_desk = why["toward"] == "desk"
            if toward_desk and why["repeats"] < REPEATS_MAX and why["error_code"] == THREAD_GONE:
                await self._lost_topic(connection, ticket, why)
            elif toward_desk and why["repeats"] < REPEATS_MAX and why["error_code"] == THREAD_CLOSED:
                await connection.execute(queries.AGAIN, why["id"])
                await self._steps.to_desk(connection, ticket, "reopen")
                await self._messages.plan(connection, ticket)
            else:
                await self._give_up(connection, ticket, why)

    async def _lost_topic(self, connection: Connection, ticket: Any, why: Any) -> None:
        """Under the ticket's lock: the first message to find out asks for a new topic, all go there in order."""
        await connection.execute(queries.AGAIN, why["id"])
        if ticket["topic"] == "ready" and desk_address(ticket) == why["address"]:
            log.warning("the topic of ticket %d is gone: it is made anew", ticket["id"])
            await connection.execute(queries.WITHDRAW, ticket["id"], why["address"])
            await self._tickets.make_topic(connection, ticket)
            ticket = await self._tickets.lock(connection, ticket["id"])
        await self._messages.plan(connection, ticket)

    async def _give_up(self, connection: Connection, ticket: Any, why: Any) -> None:
        await connection.execute(queries.FAILED, why["id"])
        reason = why["error_text"] or why["status"]
        await self._telling.tell(
            connection, ticket, TicketEventType.UNDELIVERED, reason=reason,
            message={"id": why["id"], "origin": why["origin"], "toward": why["toward"], "parts": []},
        )  # fmt: skip
        if why["origin"] == "service" and why["toward"] == "desk":
            log.error("ticket %d: a word to the desk was not delivered: %s", ticket["id"], reason)
            return
        blocked = why["toward"] == "person" and why["error_kind"] == "gone"
        text = self._words.desk_unsent(blocked=blocked, reason=reason, origin=why["origin"])
        await self._messages.say(connection, ticket, "desk", text)
        await self._messages.plan(connection, ticket)
