"""The bot's processes are killed: another one polls, no update is lost, and none has its effect twice."""

import asyncio

import pytest

from service.bot.menus import key_of
from tests.conftest import StartService
from tests.faults.support import FULL_TIMEOUT, QUICK, UNPACED, query, size, tell
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

DEADLINE = size(90, 600)
PEOPLE, PRESSES, KILLS = size(10, 100), size(9, 51), size(2, 5)
BOT = {**QUICK, **UNPACED, "BOT_CATEGORIES": "news", "BOT_POLL_SECONDS": "5"}


async def act(telegram: TelegramProcess, user: int, do: str, **values: object) -> None:
    step = {"user": user, "name": f"Person {user}", "do": do, "with": values}
    await asyncio.to_thread(telegram.control, "POST", "act", **step)


async def health(service: Service) -> str:
    part = (await service.acall("GET", "/health/ready")).json()["parts"]["bot"]
    return f"{part['status']}: {part['detail']}"


async def test_presses_are_counted_once_through_sigkill(
    telegram: TelegramProcess, start_service: StartService, database_url: str
) -> None:
    """Each press turns a category over: an odd number of them, none lost and none done twice, leaves it muted."""
    assert PRESSES % 2
    people = range(1_000, 1_000 + PEOPLE)
    service = await asyncio.to_thread(start_service, {**BOT, **telegram.env})
    for user in people:
        await act(telegram, user, "starts")

    async def joined() -> bool:
        return len(await query(database_url, "SELECT 1 FROM contact")) == PEOPLE

    await wait_until(joined, DEADLINE, "everybody has joined")
    for number in range(PRESSES):
        for user in people:
            shown = {"message_id": 1, "date": 0, "chat": {"id": user, "type": "private"}}
            await act(telegram, user, "calls_back", message=shown, data=f"set:cat:{key_of('news')}")
        if number % 3 == 1 and number // 3 < KILLS:
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)

    async def handled() -> bool:
        rows = await query(database_url, "SELECT state, count(*) FROM bot_update GROUP BY state")
        return {row["state"]: row["count"] for row in rows} == {"done": PEOPLE * (PRESSES + 1)}

    await wait_until(handled, DEADLINE, "every update is handled")
    muted = await query(database_url, "SELECT DISTINCT recipient_id FROM mute WHERE category = 'news'")
    assert len(muted) == PEOPLE
    served = (await asyncio.to_thread(telegram.control, "GET", "updates"))["served"]
    tell(
        "presses",
        people=PEOPLE,
        presses=PRESSES,
        kills=KILLS,
        served_twice=sum(n > 1 for n in served.values()),
    )


async def test_another_process_polls_when_the_leader_is_killed(
    telegram: TelegramProcess, start_service: StartService, database_url: str
) -> None:
    services = [await asyncio.to_thread(start_service, {**BOT, **telegram.env}) for _ in range(2)]

    async def leaders() -> list[Service]:
        told = [(service, await health(service)) for service in services if service.running]
        return [service for service, words in told if words == "ok: polls for updates"]

    (leader,) = await wait_until(leaders, message="one of them polls")
    await act(telegram, 7, "says", text="/settings")
    await wait_until(lambda: len(telegram.texts()) == 1, message="an answer")
    await asyncio.to_thread(leader.kill)
    await act(telegram, 7, "says", text="/settings")
    await wait_until(lambda: len(telegram.texts()) == 2, DEADLINE, "an answer of the other one")
    (follower,) = [service for service in services if service is not leader]
    assert await leaders() == [follower]
    await asyncio.to_thread(leader.start)
    await act(telegram, 7, "says", text="/settings")
    await wait_until(lambda: len(telegram.texts()) == 3, DEADLINE, "a third answer")
    assert await leaders() == [follower]
    refused = (await asyncio.to_thread(telegram.control, "GET", "refused"))["items"]
    assert [call["description"] for call in refused if "Conflict" in call["description"]] == []
