"""Long polling: one process of all, the one that holds a lock of PostgreSQL, asks Telegram for updates.

https://core.telegram.org/bots/api#getupdates. What was answered is stored before the next poll confirms it.
Two pollers at once could do no harm but to each other, as Telegram ends the earlier poll with a 409.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
import orjson

from service.bot.inbox import Inbox
from service.bot.reading import is_update, read_json
from service.db.database import OUTAGE, Database
from service.health import PartHealth
from service.senders.http import Answer, HttpClient, NoAnswerError, NotReachedError

log = logging.getLogger(__name__)

LOCK_CLASS = 0x626F7401
ELECTION_SECONDS = 1.0
PING_SECONDS = 2.0
PAUSES_SECONDS = (1.0, 2.0, 5.0, 15.0)
MARGIN_SECONDS = 10.0
"""How much longer than the poll itself an answer is waited for."""
LIMIT = 100
UNREADABLE_TIMES = 3
"""So often is an answer asked for that cannot be read: what spoils it may lie between Telegram and us."""
_FIRST = re.compile(rb'\{"ok":true,"result":\[\{"update_id":([0-9]{1,18}),')
LEADER = "polls for updates"
FOLLOWER = "another process polls for updates"


class _NoUpdatesError(Exception):
    """An answer without updates; `pause` as Telegram asks for. `unread` is the first update that it may hold still."""

    def __init__(
        self, reason: str, *, conflict: bool = False, pause: float = 0.0, unread: int | None = None
    ) -> None:
        super().__init__(reason)
        self.conflict, self.pause, self.unread = conflict, pause, unread


class Polling:
    """`url` is that of getUpdates; `on_conflict` is asked once what to do about a 409: it answers what to tell people."""

    def __init__(
        self,
        database: Database,
        inbox: Inbox,
        *,
        bot: int,
        url: str,
        allowed: Iterable[str],
        seconds: int,
        wake: Callable[[Iterable[str]], None],
        on_conflict: Callable[[str], Any],
    ) -> None:
        self._database = database
        self._inbox = inbox
        self._bot = bot
        self._url = url
        self._allowed = list(allowed)
        self._seconds = seconds
        self._wake = wake
        self._on_conflict = on_conflict
        self._http = HttpClient(timeout_seconds=seconds + MARGIN_SECONDS)
        self.health = PartHealth("ok", FOLLOWER)

    async def run(self) -> None:
        """Until cancelled: wait for the lock, poll while it is held."""
        try:
            while True:
                try:
                    await self._lead()
                except OUTAGE as error:
                    log.warning("polling waits for PostgreSQL: %s", error)
                except Exception:
                    log.exception("polling failed, trying again")
                self.health = PartHealth("ok", FOLLOWER)
                await asyncio.sleep(ELECTION_SECONDS)
        finally:
            await self._http.close()

    async def _lead(self) -> None:
        """Poll for as long as a connection of its own holds the lock; return at once where another has it."""
        connection = await self._database.connect()
        try:
            if not await connection.fetchval(
                "SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK_CLASS, str(self._bot)
            ):
                return
            log.info("this process polls for updates of the bot")
            polling = asyncio.create_task(self._poll(), name="bot polling")
            watching = asyncio.create_task(_hold(connection), name="bot lock")
            try:
                done, _ = await asyncio.wait((polling, watching), return_when=asyncio.FIRST_COMPLETED)
            finally:
                polling.cancel()
                watching.cancel()
                await asyncio.gather(polling, watching, return_exceptions=True)
            for task in done:
                task.result()
        finally:
            connection.terminate()

    async def _poll(self) -> None:
        """The first poll has no offset: what an earlier process stored and did not confirm comes again, and is known.

        After a failure one update is asked for: whichever can never be read is found so, and passed over.
        """
        offset: int | None = None
        failures = spoilt = 0
        while True:
            try:
                updates = await self._ask(offset, 1 if failures else LIMIT)
                if updates:
                    async with self._database.transaction() as connection:
                        lanes = await self._inbox.store(connection, updates)
                    offset = updates[-1]["update_id"] + 1
                    self._wake(lanes)
            except _NoUpdatesError as error:
                pause = max(PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)], error.pause)
                failures += 1
                await self._trouble(error)
                spoilt = 0 if error.unread is None else spoilt + 1
                if error.unread is not None and spoilt == UNREADABLE_TIMES:
                    offset, spoilt = _passed_over(error.unread), 0
                await asyncio.sleep(pause)
            else:
                failures = spoilt = 0
                self.health = PartHealth("ok", LEADER)

    async def _trouble(self, error: _NoUpdatesError) -> None:
        detail = str(error)
        if error.conflict:
            detail = await self._on_conflict(detail)
        if self.health.detail != detail:
            log.warning("no updates of the bot come in: %s", detail)
        self.health = PartHealth("degraded", detail)

    async def _ask(self, offset: int | None, limit: int) -> list[dict[str, Any]]:
        asked: dict[str, Any] = {"timeout": self._seconds, "limit": limit, "allowed_updates": self._allowed}
        if offset is not None:
            asked["offset"] = offset
        try:
            answer = await self._http.request(
                "POST", self._url, headers={"content-type": "application/json"}, body=orjson.dumps(asked)
            )
        except (NotReachedError, NoAnswerError) as error:
            raise _NoUpdatesError(f"Telegram does not answer: {error}") from error
        return _updates(answer)


async def _hold(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Returns or raises when the lock may be lost."""
    while True:
        await asyncio.sleep(PING_SECONDS)
        await connection.execute("SELECT 1", timeout=PING_SECONDS)


def unknown_token(reason: str) -> str:
    """What to do about a 401 or 404 of the Bot API."""
    return f"the Bot API does not know TG_BOT_TOKEN: {reason}; set it to the token that @BotFather shows, and restart"


def _passed_over(update: int) -> int:
    """The offset behind an update that can never be read."""
    log.error("update %d cannot be read, and is passed over", update)
    return update + 1


def _updates(answer: Answer) -> list[dict[str, Any]]:
    """Those of an answer, in order. Raises `_NoUpdatesError`."""
    told = _told(answer)
    result = told.get("result")
    if told.get("ok") is not True or not isinstance(result, list):
        raise _refusal(answer.status, told)
    updates = list(filter(is_update, result))
    if len(updates) < len(result):
        log.error("%d of Telegram's updates have no id, and are passed over", len(result) - len(updates))
        if not updates:
            raise _NoUpdatesError("Telegram's updates have no id")
    return updates


def _told(answer: Answer) -> Mapping[str, Any]:
    try:
        told = read_json(answer.body)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, Mapping):
        return told
    first = _FIRST.match(answer.body)
    reason = f"HTTP {answer.status} without the Bot API's answer; is TG_API_URL right?"
    raise _NoUpdatesError(reason, unread=int(first[1]) if first else None)


def _refusal(status: int, told: Mapping[str, Any]) -> _NoUpdatesError:
    reason = str(told.get("description") or f"HTTP {status}")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
        reason = unknown_token(reason)
    pause = (told.get("parameters") or {}).get("retry_after", 0)
    return _NoUpdatesError(reason, conflict=status == HTTPStatus.CONFLICT, pause=float(pause))
