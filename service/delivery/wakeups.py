"""Word between processes, over PostgreSQL's LISTEN and NOTIFY.

A word only saves a wait: whoever misses one finds the same in the tables at its next poll. So nobody waits
for a word to be sent either: those that gather meanwhile go together, and the same word once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from service.db.database import OUTAGE, Database
from service.tasks import end

log = logging.getLogger(__name__)

CHANNEL = "notifications"
PING_SECONDS = 5.0
LAST_WORDS_SECONDS = 1.0
Listener = Callable[[str, str], None]


class Wakeups:
    """Sends words (`topic`, `detail`) to every process and hands those that arrive to the listeners."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: list[Listener] = []
        self._unsaid: dict[str, None] = {}
        self._speak = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def say(self, topic: str, detail: str) -> None:
        """Tell every process, this one included, as soon as may be. It is lost when PostgreSQL is away."""
        self._unsaid[f"{topic} {detail}"] = None
        self._speak.set()

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._speak_up(), name="wake-ups said"),
            asyncio.create_task(self._listen(), name="wake-ups heard"),
        ]

    async def close(self) -> None:
        await end(*self._tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._send()

    async def _speak_up(self) -> None:
        while True:
            await self._speak.wait()
            self._speak.clear()
            try:
                await self._send()
            except Exception:
                log.exception("a wake-up could not be sent")

    async def _send(self) -> None:
        words, self._unsaid = list(self._unsaid), {}
        if not words:
            return
        try:
            await self._database.pool.execute(
                "SELECT pg_notify($1, word) FROM unnest($2::text[]) AS word", CHANNEL, words
            )
        except OUTAGE as error:
            log.debug("%d wake-ups were not sent: %s", len(words), error)

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except OUTAGE as error:
                log.debug("wake-ups are away: %s", error)
            except Exception:
                log.exception("listening failed, trying again")
            await asyncio.sleep(1)

    async def _hear(self) -> None:
        connection = await self._database.connect()
        try:
            await connection.add_listener(CHANNEL, self._received)
            while True:
                await asyncio.sleep(PING_SECONDS)
                await connection.execute("SELECT 1", timeout=PING_SECONDS)
        finally:
            connection.terminate()

    def _received(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        topic, _, detail = str(payload).partition(" ")
        for listener in self._listeners:
            listener(topic, detail)
