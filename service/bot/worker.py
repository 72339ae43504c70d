"""The stored updates are handled: in each lane one after the other, a few lanes at the same time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from service.audience.linking import forget_links, forget_requests
from service.bot.inbox import Inbox, Waiting
from service.bot.replies import Reply
from service.bot.reporting import forget_reports
from service.bot.turn import Turn
from service.content.localisation import Localisation
from service.db.database import TRANSIENT, Database
from service.desk_settings import BotSettings
from service.tasks import end

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LOOK_LANES = 1_000
FORGET_EVERY_SECONDS = 60.0
FORGET_ROWS = 1_000
OUTAGE_PAUSE_SECONDS = 1.0
UNSAID_SECONDS = 60.0
"""Replies that are older were left behind: nobody says them any more."""
SAY_SECONDS = 50.0


class Handles(Protocol):
    """What is done about an update."""

    async def handle(self, body: bytes, turn: Turn) -> None:
        """In the transaction of the turn; whatever it raises undoes it."""
        ...


class Says(Protocol):
    """How replies leave."""

    async def say(self, replies: list[Reply]) -> bool:
        """False: not now."""
        ...


class Worker:
    """`respect` is told whose wishes have changed, by the recipient's id."""

    def __init__(
        self,
        database: Database,
        inbox: Inbox,
        settings: BotSettings,
        *,
        handling: Handles,
        speaker: Says,
        respect: Callable[[int], Awaitable[object]],
        localisation: Localisation,
        default_locale: str,
    ) -> None:
        self._database = database
        self._inbox = inbox
        self._settings = settings
        self._handling = handling
        self._speaker = speaker
        self._respect = respect
        self._localisation = localisation
        self._default_locale = default_locale
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._watching: list[asyncio.Task[None]] = []
        self.aside = 0

    def start(self) -> None:
        self._watching = [
            asyncio.create_task(self._look(), name="bot updates"),
            asyncio.create_task(self._catch_up(), name="bot replies"),
        ]

    async def stop(self) -> None:
        """What is being handled is finished."""
        await end(*self._watching)
        self._again.clear()
        await asyncio.gather(*self._lanes.values(), return_exceptions=True)

    def wake(self, lanes: Iterable[str]) -> None:
        """Something has come in these lanes."""
        for lane in lanes:
            if lane in self._lanes:
                self._again.add(lane)
            else:
                self._lanes[lane] = asyncio.create_task(self._work(lane), name=f"bot lane {lane}")

    async def _work(self, lane: str) -> None:
        try:
            while await self._handle_next(lane):
                pass
        except TRANSIENT as error:
            log.warning("updates wait for PostgreSQL: %s", error)
            await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
        except Exception:
            log.exception("updates of a chat are not handled for the moment")
        finally:
            del self._lanes[lane]
            if lane in self._again:
                self._again.discard(lane)
                self.wake((lane,))

    async def _handle_next(self, lane: str) -> bool:
        """Handle the lane's next update, if there is one. Its effects and its end are one transaction."""
        update: Waiting | None = None
        try:
            async with self._slots, self._database.transaction() as connection:
                update = await self._inbox.take(connection, lane)
                if update is None:
                    return False
                turn = Turn(connection, self._localisation, self._default_locale)
                await self._handling.handle(update.body, turn)
                await self._inbox.done(connection, update, turn.replies)
        except TRANSIENT:
            raise
        except Exception as error:
            if update is None:
                raise
            await self._failed(update, error)
            return True
        await self._after(update, turn)
        return True

    async def _failed(self, update: Waiting, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        async with self._database.transaction() as connection:
            aside = await self._inbox.failed(connection, update, text, self._settings.attempts)
        if aside:
            log.error(
                "update %d is put aside after %d failures", update.id, update.attempts + 1, exc_info=error
            )
        else:
            log.warning("update %d failed and is tried again: %s", update.id, text)

    async def _after(self, update: Waiting, turn: Turn) -> None:
        """It is committed. A process that ends here leaves the replies to `_catch_up`."""
        for recipient_id in turn.changed:
            await self._respect(recipient_id)
        if turn.replies:
            await self._say(update.id, turn.replies)

    async def _look(self) -> None:
        """What was missed, left behind, or may be forgotten."""
        loop = asyncio.get_running_loop()
        forget_at, start = loop.time(), ""
        while True:
            try:
                async with self._database.connection() as connection:
                    lanes = await self._inbox.lanes(connection, start, LOOK_LANES)
                    self.aside = await self._inbox.aside(connection)
                self.wake(lanes)
                start = lanes[-1] if len(lanes) == LOOK_LANES else ""
                if loop.time() >= forget_at:
                    forget_at = loop.time() + FORGET_EVERY_SECONDS
                    await self._forget()
            except TRANSIENT as error:
                log.debug("updates are not looked at: %s", error)
            except Exception:
                log.exception("updates are not looked at, trying again")
            await asyncio.sleep(LOOK_SECONDS)

    async def _catch_up(self) -> None:
        """Say what was left behind, by a process that ended or while Telegram was away."""
        while True:
            try:
                async with self._database.connection() as connection:
                    left = await self._inbox.unsaid(connection, UNSAID_SECONDS)
                if left is None:
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    await self._say(*left)
            except TRANSIENT as error:
                log.debug("replies that were left behind wait for PostgreSQL: %s", error)
                await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
            except Exception:
                log.exception("replies that were left behind are not looked at, trying again")
                await asyncio.sleep(OUTAGE_PAUSE_SECONDS)

    async def _say(self, update_id: int, replies: list[Reply]) -> None:
        """What does not leave now is left for `_catch_up`."""
        said = False
        try:
            async with asyncio.timeout(SAY_SECONDS):
                said = await self._speaker.say(replies)
        except TimeoutError:
            log.debug("the replies to update %d take too long", update_id)
        except Exception:
            log.exception("the replies to update %d did not leave", update_id)
        if said:
            async with self._database.connection() as connection:
                await self._inbox.said(connection, update_id)

    async def _forget(self) -> None:
        async with self._database.transaction() as connection:
            await self._inbox.forget(
                connection,
                hours=self._settings.retention_hours,
                aside_days=self._settings.aside_days,
                most=FORGET_ROWS,
            )
            await forget_reports(connection, self._settings.report_hours, FORGET_ROWS)
            await forget_requests(connection, self._settings.request_days, FORGET_ROWS)
            await forget_links(connection, FORGET_ROWS)
