"""Which senders work: what people paused and what providers halted, shared by all processes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from service.contract import EventType
from service.db.database import TRANSIENT, Connection, Database
from service.delivery.events import sender_event_json
from service.delivery.wakeups import Wakeups
from service.tasks import end

log = logging.getLogger(__name__)

_EVENTS = {"paused": EventType.SENDER_PAUSED, "halted": EventType.SENDER_HALTED}


@dataclass(frozen=True, slots=True)
class SenderStatus:
    """Why a sender does not work, and since when."""

    state: Literal["paused", "halted"]
    reason: str
    since: datetime


class SenderStates:
    """A copy of the `sender_state` table, refreshed by word and by poll."""

    def __init__(
        self, database: Database, wakeups: Wakeups, *, transports: Sequence[str], poll_seconds: float
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._transports = list(transports)
        self._poll_seconds = poll_seconds
        self._states: dict[str, SenderStatus] = {}
        self._listeners: dict[str, Callable[[], None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stale = asyncio.Event()
        wakeups.listen(self._received)

    def works(self, sender: str) -> bool:
        return sender not in self._states

    def all(self) -> dict[str, SenderStatus]:
        return dict(self._states)

    def on_change(self, sender: str, listener: Callable[[], None]) -> None:
        self._listeners[sender] = listener

    async def start(self, own_senders: Sequence[str]) -> None:
        """A restart is how a person mends a halted sender: its halt is lifted and tried anew."""
        await self._database.pool.execute(
            "DELETE FROM sender_state WHERE state = 'halted' AND sender = ANY($1)", list(own_senders)
        )
        await self._refresh()
        self._task = asyncio.create_task(self._run(), name="sender states")

    async def close(self) -> None:
        await end(self._task)

    async def pause(self, sender: str, reason: str) -> None:
        """A person stops a sender; its rows wait."""
        await self._stop(sender, "paused", reason)

    async def halt(self, sender: str, reason: str) -> None:
        """A provider refuses the account. The memory knows at once, the table as soon as it can."""
        if not self.works(sender):
            return
        log.error("%s is halted: %s. Mend it, then resume the sender or restart the service.", sender, reason)
        self._apply({**self._states, sender: SenderStatus("halted", reason, datetime.now(UTC))})
        try:
            await self._stop(sender, "halted", reason)
        except TRANSIENT as error:
            log.warning("the halt of %s is not recorded yet: %s", sender, error)

    async def resume(self, sender: str) -> bool:
        """Let it work again. False: it did."""
        async with self._database.transaction() as connection:
            gone = await connection.fetchval(
                "DELETE FROM sender_state WHERE sender = $1 RETURNING sender", sender
            )
            if gone is not None:
                await self._tell(connection, EventType.SENDER_RESUMED, sender, None)
        await self._refresh()
        self._wakeups.say("state", sender)
        return gone is not None

    def announce_pause(self, sender: str, seconds: float) -> None:
        """Tell the other processes that the sender's account is throttled."""
        self._wakeups.say("throttled", f"{sender} {seconds}")

    async def _stop(self, sender: str, state: Literal["paused", "halted"], reason: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(
                """INSERT INTO sender_state (sender, state, reason, since) VALUES ($1, $2, $3, now())
                ON CONFLICT (sender) DO UPDATE SET state = $2, reason = $3, since = now()""",
                sender, state, reason,
            )  # fmt: skip
            await self._tell(connection, _EVENTS[state], sender, reason)
        await self._refresh()
        self._wakeups.say("state", sender)

    async def _tell(self, connection: Connection, event: EventType, sender: str, reason: str | None) -> None:
        body = sender_event_json(event, sender, reason, at=datetime.now(UTC))
        await connection.execute(
            """INSERT INTO outbox (transport, channel, types, subjects, bodies)
            SELECT transport, 'events', ARRAY[$2::text], ARRAY[$3::text], ARRAY[$4::text]
            FROM unnest($1::text[]) AS transport""",
            self._transports, event.value, sender, body,
        )  # fmt: skip

    def _received(self, topic: str, _detail: str) -> None:
        if topic == "state":
            self._stale.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._stale.wait()
            self._stale.clear()
            try:
                await self._refresh()
            except TRANSIENT as error:
                log.debug("sender states are not known anew: %s", error)
            except Exception:
                log.exception("sender states could not be read, trying again")

    async def _refresh(self) -> None:
        rows = await self._database.pool.fetch("SELECT sender, state, reason, since FROM sender_state")
        self._apply({row["sender"]: SenderStatus(row["state"], row["reason"], row["since"]) for row in rows})

    def _apply(self, states: dict[str, SenderStatus]) -> None:
        changed = {
            name for name in states.keys() | self._states.keys() if states.get(name) != self._states.get(name)
        }
        self._states = states
        for name in changed & self._listeners.keys():
            self._listeners[name]()
