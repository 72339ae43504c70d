"""A provider's limits are kept by all replicas together, and used."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from tests.conftest import StartService
from tests.faults.support import FULL_TIMEOUT, QUICK, arrived, post_batch, size, tell
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

BOT_RATE, CHAT_RATE, GROUP_RATE = 30.0, 1.0, 20.0
USED = 0.95


def _messages(to_each_chat: int, to_each_group: int) -> list[dict[str, Any]]:
    """To 60 people and 15 groups, mixed; people could take twice, groups a sixth of what the bot may send."""
    places = [str(1_000 + n) for n in range(60)] * to_each_chat + [
        str(-1_000 - n) for n in range(15)
    ] * to_each_group
    random.Random(7).shuffle(places)
    return [{"body": f"m{number}", "sender": "TG", "to": place} for number, place in enumerate(places)]


async def _replicas(start_service: StartService, telegram: TelegramProcess, count: int) -> list[Service]:
    telegram.control("POST", "limits", rate=BOT_RATE, chat_rate=CHAT_RATE, group_rate=GROUP_RATE)
    replicas = [start_service({**QUICK, **telegram.env}, ready=False) for _ in range(count)]
    for replica in replicas:
        await asyncio.to_thread(replica.wait_ready)
    return replicas


def _used(times: list[float]) -> float:
    """How much of the bot's rate was used between the first and the last of these times."""
    return (len(times) - 1) / (times[-1] - times[0]) / BOT_RATE


async def _times(telegram: TelegramProcess) -> list[float]:
    journal = await asyncio.to_thread(telegram.control, "GET", "journal")
    return sorted(message["at"] for message in journal["items"])


async def _throttled(telegram: TelegramProcess, after: float) -> list[dict[str, Any]]:
    refused = (await asyncio.to_thread(telegram.control, "GET", "refused"))["items"]
    return [call for call in refused if call["status"] == 429 and call["at"] > after]


async def test_three_replicas_share_the_limits(
    start_service: StartService, telegram: TelegramProcess
) -> None:
    """30 a second for the bot, 1 a second to a chat, 20 a minute to a group: no 429, and no slower than that."""
    messages = _messages(size(5, 45), size(4, 20))
    first, *_ = await _replicas(start_service, telegram, 3)
    await post_batch(first, messages)
    await arrived(telegram, {message["body"] for message in messages}, len(messages) / BOT_RATE * 2 + 30)
    times = await _times(telegram)
    # The last ones may be to few chats, whose own limits are slower than the bot's.
    steady = times[: len(times) * 9 // 10]
    late = await _throttled(telegram, times[0] + 1)
    tell(
        "three replicas", messages=len(messages), seconds=round(times[-1] - times[0], 1),
        used_of_the_bots_rate=f"{_used(steady):.1%}", throttled=len(await _throttled(telegram, 0)),
        throttled_after_the_first_second=len(late),
    )  # fmt: skip
    assert not late
    assert _used(steady) >= USED


async def test_priorities_do_not_double_a_chats_limit(
    start_service: StartService, telegram: TelegramProcess
) -> None:
    """Messages of all priorities to one chat share its second."""
    messages = [
        {"body": f"{priority} {chat} {n}", "sender": "TG", "to": str(chat), "priority": priority}
        for n in range(2)
        for chat in range(1_000, 1_010)
        for priority in ("bulk", "normal", "high", "urgent")
    ]
    first, *_ = await _replicas(start_service, telegram, 2)
    await post_batch(first, messages)
    await arrived(telegram, {message["body"] for message in messages}, 60)
    late = await _throttled(telegram, 0)
    by_chat = Counter(call["chat"] for call in late)
    tell("four priorities to each of ten chats", messages=len(messages), throttled=len(late))
    assert not by_chat


async def test_a_killed_replica_takes_little_budget_along(
    start_service: StartService, telegram: TelegramProcess
) -> None:
    """What a replica had reserved is lost with it, and that is less than a few seconds of sending."""
    messages = _messages(size(6, 45), 0)
    first, second = await _replicas(start_service, telegram, 2)
    await post_batch(first, messages)

    async def halfway() -> bool:
        return bool((await asyncio.to_thread(telegram.counts))["accepted"] >= len(messages) // 3)

    await wait_until(halfway, 60, "a third has arrived")
    await asyncio.to_thread(second.kill)
    killed_at = (await _times(telegram))[-1]
    await arrived(telegram, {message["body"] for message in messages}, len(messages) / BOT_RATE * 2 + 30)
    times = await _times(telegram)
    before = [at for at in times if at <= killed_at]
    after = [at for at in times if killed_at < at <= killed_at + 5]
    lost_seconds = 5 - len(after) / BOT_RATE
    longest_gap = max(b - a for a, b in zip([killed_at, *after[:-1]], after, strict=True))
    tell(
        "one of two replicas killed", used_before=f"{_used(before):.1%}", sent_in_the_next_5_s=len(after),
        budget_lost_seconds=round(lost_seconds, 2), longest_gap_seconds=round(longest_gap, 2),
        throttled=len(await _throttled(telegram, 0)),
    )  # fmt: skip
    assert lost_seconds < 2.0
    assert longest_gap < 2.0
