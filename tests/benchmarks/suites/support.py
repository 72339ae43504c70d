"""From a person's message to the desk, and from the specialist's answer back, with many conversations at once."""

import asyncio
import time
from collections.abc import Callable
from statistics import median, quantiles

from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.support.waiting import wait_until

DESK, SPECIALIST = -1001234567890, 20
CONVERSATIONS = 50
ROUNDS = 8
PAUSE_SECONDS = 2.0
LOOK_SECONDS = 0.002


async def support(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """50 conversations, a question and its answer every two seconds in each, at the fake without limits."""
    del messages
    figures = Figures()
    for _ in range(count):
        async with FakeTelegram() as tg:
            tg.chat(DESK).topics = {}
            env = {
                "TG_API_URL": tg.url,
                "TG_BOT_TOKEN": TOKEN,
                "TG_SUPPORT_CHAT_ID": str(DESK),
                "SUPPORT_TOPIC_RATE": "0",
                "ROLES": "api,worker,bot",
            }
            async with Ours(stage, env=env):
                await _talk(tg, figures)
    return figures, [
        Goal("person to desk, p99 ms", "person to desk: p99 ms", at_most=300.0),
        Goal("desk to person, p99 ms", "desk to person: p99 ms", at_most=300.0),
    ]


async def _talk(tg: FakeTelegram, figures: Figures) -> None:
    exchange = _Exchange(tg)
    watching = asyncio.create_task(exchange.watch())
    users = range(1_000, 1_000 + CONVERSATIONS)
    topics = await asyncio.gather(*(exchange.begin(user) for user in users))
    await asyncio.gather(
        *(
            exchange.converse(user, topic, PAUSE_SECONDS * number / CONVERSATIONS)
            for number, (user, topic) in enumerate(zip(users, topics, strict=True))
        )
    )
    watching.cancel()
    for name, times in (("person to desk", exchange.in_ms), ("desk to person", exchange.out_ms)):
        figures.add(f"{name}: median ms", median(times))
        figures.add(f"{name}: p99 ms", quantiles(times, n=100)[98])


class _Exchange:
    """Questions and answers, each known by its text."""

    def __init__(self, tg: FakeTelegram) -> None:
        self._tg = tg
        self._awaited: dict[tuple[object, str], asyncio.Future[tuple[float, int]]] = {}
        self.in_ms: list[float] = []
        self.out_ms: list[float] = []

    async def watch(self) -> None:
        """Tell whoever waits for a message that it has come."""
        seen = 0
        while True:
            for sent in self._tg.journal[seen:]:
                if waiting := self._awaited.pop((sent.chat, sent.text), None):
                    waiting.set_result((sent.at, sent.thread or 0))
            seen = len(self._tg.journal)
            await asyncio.sleep(LOOK_SECONDS)

    async def begin(self, user: int) -> int:
        """The person reports something: the topic."""
        person = self._tg.person(user)
        person.says("/support")
        await wait_until(person.reads, 60, "the bot asks what has happened")
        coming = self._await(DESK, f"{user} begins")
        person.says(f"{user} begins")
        _, topic = await asyncio.wait_for(coming, 60)
        return topic

    async def converse(self, user: int, topic: int, offset: float) -> None:
        person, specialist = self._tg.person(user), self._tg.person(SPECIALIST).at(DESK, topic)
        await asyncio.sleep(offset)
        for number in range(ROUNDS):
            began = time.monotonic()
            self.in_ms.append(await self._timed(DESK, f"{user} asks {number}", person.says))
            self.out_ms.append(await self._timed(user, f"{user} is told {number}", specialist.says))
            await asyncio.sleep(max(0.0, began + PAUSE_SECONDS - time.monotonic()))

    async def _timed(self, chat: int, text: str, say: Callable[[str], int]) -> float:
        coming = self._await(chat, text)
        began = time.time()
        say(text)
        at, _ = await asyncio.wait_for(coming, 60)
        return (at - began) * 1e3

    def _await(self, chat: int, text: str) -> "asyncio.Future[tuple[float, int]]":
        future = self._awaited[(chat, text)] = asyncio.get_running_loop().create_future()
        return future
