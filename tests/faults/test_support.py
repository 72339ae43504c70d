"""Many conversations while the service is killed: every message arrives, in order, and repeats are counted."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import pytest

from tests.conftest import StartService
from tests.faults.support import FULL_TIMEOUT, QUICK, UNPACED, size, tell
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

DESK, SPECIALIST = -1001234567890, 20
DEADLINE = size(90, 900)
PEOPLE, ROUNDS, KILLS = size(8, 100), size(4, 10), size(2, 5)


class Town:
    """People, each in their own chat, and a specialist in every topic."""

    def __init__(self, telegram: TelegramProcess) -> None:
        self._telegram = telegram
        self.people = range(1_000, 1_000 + PEOPLE)
        self.topics: dict[int, int] = {}

    async def act(self, user: int, text: str, **place: int) -> None:
        values = {"user": user, "name": f"Person {user}", "do": "says", "with": {"text": text}, **place}
        await asyncio.to_thread(self._telegram.control, "POST", "act", **values)

    async def everybody(self, number: int) -> None:
        """Each person says the next thing, and is answered where their topic is known."""
        for user in self.people:
            await self.act(user, f"{user} asks {number}")
            if topic := self.topics.get(user):
                await self.act(SPECIALIST, f"{user} is told {number}", chat=DESK, thread=topic)

    async def at_desk(self) -> dict[int, list[str]]:
        """What the person of each topic has said there, with repeats."""
        said: dict[int, list[str]] = defaultdict(list)
        for sent in await self._journal():
            if sent["chat"] == DESK and sent["copied"]:
                said[sent["thread"]].append(sent["text"])
        return said

    async def answers(self, user: int) -> list[str]:
        journal = await self._journal()
        return [sent["text"] for sent in journal if sent["chat"] == user and sent["copied"]]

    async def know_topics(self) -> bool:
        for thread, said in (await self.at_desk()).items():
            self.topics[int(said[0].split()[0])] = thread
        return len(self.topics) == PEOPLE

    async def _journal(self) -> Sequence[dict[str, object]]:
        answer = await asyncio.to_thread(self._telegram.control, "GET", "journal")
        items: Sequence[dict[str, object]] = answer["items"]
        return items


async def test_conversations_and_sigkill(
    telegram: TelegramProcess, start_service: StartService, database_url: str
) -> None:
    """A specialist's answer follows each question; the service dies between and amid them."""
    telegram.control("POST", "chats", id=DESK, topics={1: "open"})
    env = {**QUICK, **UNPACED, **telegram.env, "TG_SUPPORT_CHAT_ID": str(DESK), "SUPPORT_TOPIC_RATE": "0"}
    service = await asyncio.to_thread(start_service, env)
    town = Town(telegram)
    for user in town.people:
        await town.act(user, "/support")
        await town.act(user, f"{user} asks 0")
    await wait_until(town.know_topics, DEADLINE, "everybody has a topic")
    for number in range(1, ROUNDS):
        crash = asyncio.create_task(_crash(service, town, number)) if number <= KILLS else None
        await town.everybody(number)
        if crash is not None:
            await crash
    repeats = await _all_arrived(town)
    tell("conversations", people=PEOPLE, rounds=ROUNDS, kills=KILLS, came_twice=repeats)
    assert len(await town.at_desk()) == PEOPLE, "somebody has two topics"


async def _crash(service: Service, town: Town, number: int) -> None:
    """As soon as the first of that round is at the desk, while the others write."""
    first = town.people[0]

    async def begun() -> bool:
        return f"{first} asks {number}" in (await town.at_desk())[town.topics[first]]

    await wait_until(begun, DEADLINE, "the round has begun")
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)


async def _all_arrived(town: Town) -> int:
    """Wait for the last ones, then look at everything. How many came twice."""

    async def complete() -> bool:
        said = await town.at_desk()
        answered = [await town.answers(user) for user in town.people]
        return all(len(set(texts)) == ROUNDS for texts in said.values()) and all(
            len(set(texts)) == ROUNDS - 1 for texts in answered
        )

    await wait_until(complete, DEADLINE, "everything has arrived")
    said, repeats = await town.at_desk(), 0
    for user in town.people:
        asked, told = said[town.topics[user]], await town.answers(user)
        assert list(dict.fromkeys(asked)) == [f"{user} asks {number}" for number in range(ROUNDS)]
        assert list(dict.fromkeys(told)) == [f"{user} is told {number}" for number in range(1, ROUNDS)]
        repeats += len(asked) - ROUNDS + len(told) - (ROUNDS - 1)
    return repeats
