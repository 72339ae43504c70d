"""A mailing uses a provider's limit and keeps to it, knows when it will be done, and lets urgent messages pass."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

import psutil
import pytest

from tests.conftest import StartService
from tests.faults.mailing_support import DEADLINE, Journal, RestMailing, chats, crowd
from tests.faults.support import FULL, FULL_TIMEOUT, QUICK, UNPACED, Stopwatch, execute, size, tell, value
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

SCALE = 10
RATE = 30 * SCALE
ROWS_AHEAD = 2_000


async def test_a_mailing_at_a_providers_limit(
    database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    """30 a second, scaled up alike on both sides: no 429, no slower than that, and an end that is known early."""
    count = size(1_800, 100_000)
    await crowd(database_url, count)
    # Scaled up, the messages of a hiccup of this machine are as many more; what counts is the rate.
    telegram.control("POST", "limits", rate=RATE, jitter=0.5)
    env = {**QUICK, **UNPACED, **telegram.env, "TG_RATE": str(RATE), "DELIVERY_LEASE_SECONDS": "60"}
    service = await asyncio.to_thread(start_service, env)
    journal = Journal(telegram)
    mailing = await RestMailing.start(service)
    said: list[tuple[int, float]] = []
    urgent: asyncio.Task[tuple[float, int]] | None = None
    async for progress in mailing.follow():
        if progress["eta"] is not None:
            said.append((progress["sent"], datetime.fromisoformat(progress["eta"]).timestamp()))
        if urgent is None and progress["sent"] >= count // 2:
            urgent = asyncio.create_task(_urgent(service, journal, database_url))
    assert progress["status"] == "finished"
    assert urgent is not None
    waited, overtaken = await urgent
    items = [item for item in await journal.read() if item["text"] != "urgent"]
    times = sorted(item["at"] for item in items)
    took, least = times[-1] - times[0], (count - 1) / RATE
    wrong = [abs(eta - times[-1]) / took for sent, eta in said if sent >= count / 10]
    refused = (await asyncio.to_thread(telegram.control, "GET", "refused"))["items"]
    tell(
        "a mailing at the provider's limit", recipients=count, rate=RATE, seconds=round(took, 1),
        over_the_limits_own=f"{took / least - 1:.1%}", throttled=len(refused), eta_error_at_most=f"{max(wrong):.1%}",
        urgent_after_seconds=round(waited, 2), mailing_messages_before_it=overtaken,
    )  # fmt: skip
    assert {item["chat"] for item in items} == chats(count)
    assert len(items) == count
    assert not refused
    assert overtaken <= RATE // 10  # those whose calls were under way
    if FULL:
        assert took / least - 1 <= 0.03
        assert max(wrong) <= 0.05


async def _urgent(service: Service, journal: Journal, url: str) -> tuple[float, int]:
    """How long it took, and how many of the mailing's messages came between its acceptance and it."""
    message = {"body": "urgent", "sender": "TG", "to": "5", "priority": "urgent"}
    answer = await service.acall("POST", "/v1/notifications", message)
    assert answer.status == 202
    accepted = await value(
        url, "SELECT created_at FROM notification WHERE id = $1", UUID(answer.json()["id"])
    )

    async def arrived() -> Any:
        return next((item for item in await journal.read() if item["text"] == "urgent"), None)

    found = await wait_until(arrived, 30, "the urgent message has arrived")
    since = accepted.timestamp()
    return found["at"] - since, sum(since <= item["at"] < found["at"] for item in journal.items)


async def test_memory_and_rows_ahead_are_bounded(
    database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    """From the small audience to the large one neither grows."""
    figures = {}
    before = 0
    for count, seconds in ((size(2_000, 10_000), size(3, 10)), (size(20_000, 1_000_000), size(6, 120))):
        await _grow(database_url, before, count)
        before = count
        figures[count] = await _watched(database_url, telegram, start_service, count, seconds)
    tell("memory and rows ahead", **{f"{count:,}": str(figure) for count, figure in figures.items()})
    small, large = figures.values()
    assert max(small["rows_ahead"], large["rows_ahead"]) <= ROWS_AHEAD
    assert large["mebibytes"] <= small["mebibytes"] + 60


async def _grow(url: str, have: int, count: int) -> None:
    if have:
        await execute(url, "TRUNCATE recipient CASCADE; TRUNCATE delivery, notification, mailing CASCADE")
    await crowd(url, count)


async def _watched(
    url: str, telegram: TelegramProcess, start_service: StartService, count: int, seconds: float
) -> dict[str, Any]:
    """A mailing to so many, looked at for so long; then it is cancelled."""
    service = await asyncio.to_thread(start_service, {**QUICK, **UNPACED, **telegram.env})
    process, watch = psutil.Process(service.pid), Stopwatch()
    mailing = await RestMailing.start(service)
    rows, memory = 0, 0.0

    async def over() -> bool:
        nonlocal rows, memory
        waiting = "SELECT count(*) FROM delivery WHERE status IN ('queued', 'sending')"
        rows = max(rows, await value(url, waiting))
        memory = max(memory, process.memory_info().rss / 2**20)
        progress = await mailing.progress()
        return bool(progress["ended_at"]) or watch.seconds > seconds

    await wait_until(over, DEADLINE)
    progress = await mailing.progress()
    if not progress["ended_at"]:
        await mailing.call("cancel")
        await mailing.until("cancelled")
    await asyncio.to_thread(service.terminate)
    sent = progress["sent"]
    return {
        "rows_ahead": rows, "mebibytes": round(memory), "sent": sent, "a_second": round(sent / watch.seconds)
    }  # fmt: skip
