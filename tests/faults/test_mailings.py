"""A mailing whose service is killed, paused and cancelled again and again: everybody once, and the rest is counted."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.conftest import StartService
from tests.faults.mailing_support import Journal, RestMailing, chats, crowd, kill_and_look, one_row_each
from tests.faults.support import (
    FULL_TIMEOUT,
    QUICK,
    UNPACED,
    CrashablePostgres,
    Stopwatch,
    query,
    repeats,
    size,
    tell,
    value,
)
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]


async def test_a_mailing_and_sigkill(
    crashable_postgres: CrashablePostgres, telegram: TelegramProcess, start_service: StartService
) -> None:
    """Exactly one delivery a recipient; the provider got each, twice only what was in flight at a kill."""
    count, kills, url = size(1_500, 200_000), size(2, 10), crashable_postgres.url
    await crowd(url, count)
    telegram.control("POST", "delay", seconds=0.02)
    service, journal, watch = (
        start_service({**QUICK, **UNPACED, **telegram.env, "DATABASE_URL": url}),
        Journal(telegram),
        Stopwatch(),
    )
    mailing = await RestMailing.start(service)
    in_flight: list[Counter[int]] = []
    for turn in range(kills):
        await journal.until(count * (turn + 1) // (kills + 2))
        known = sum(in_flight, Counter[int]())
        in_flight.append(await kill_and_look(service, journal, url, known))
        await asyncio.to_thread(service.start)
    progress = await mailing.until("finished")
    got = await journal.by_chat()
    tell(
        "a mailing and SIGKILL", recipients=count, kills=kills, arrived_twice=repeats(got),
        in_flight_at_kills=[kill.total() for kill in in_flight], seconds=round(watch.seconds),
    )  # fmt: skip
    await one_row_each(url, chats(count))
    assert got.keys() == chats(count)
    allowed = sum(in_flight, Counter[int]())
    assert not {chat for chat, times in got.items() if times > 1 + allowed[chat]}
    assert (progress["planned"], progress["made"], progress["sent"]) == (count, count, count)
    assert (progress["remaining"], progress["failed"]) == (0, {})


async def test_a_mailing_with_pauses_and_a_cancel(
    crashable_postgres: CrashablePostgres, telegram: TelegramProcess, start_service: StartService
) -> None:
    """Two replicas, each told to stop the other's work; a kill while it is paused; in the end it is cancelled."""
    count, rounds, url = size(2_000, 200_000), size(2, 5), crashable_postgres.url
    await crowd(url, count)
    telegram.control("POST", "delay", seconds=0.02)
    env = {**QUICK, **UNPACED, **telegram.env, "DATABASE_URL": url, "MAILINGS_ROWS_AHEAD": "500"}
    services = [await asyncio.to_thread(start_service, env) for _ in range(2)]
    journal, watch = Journal(telegram), Stopwatch()
    mailing = await RestMailing.start(services[0])
    seconds: list[float] = []
    for turn in range(rounds):
        await journal.until(count * (turn + 1) // (rounds + 2))
        asked = time.time()
        stopped = await mailing.call("pause", services[turn % 2])
        assert stopped["status"] == "paused"
        await wait_until(lambda: _nothing_under_way(url), 20, "calls under way have ended")
        before = len(await journal.read())
        seconds.append(max(item["at"] for item in journal.items) - asked)
        if turn == 0:
            await _kill_both(services)
        await _send(services[1 - turn % 2], journal, f"urgent {turn}")
        assert len(await journal.read()) == before + 1, "a paused mailing went on"
        await mailing.call("resume", services[(turn + 1) % 2])
    telegram.control("POST", "delay", seconds=0.5)  # so that much is left when the word arrives
    await journal.until(count * (rounds + 1) // (rounds + 2))
    asked = time.time()
    stopped = await mailing.call("cancel", services[1])
    progress = await mailing.until("cancelled")
    seconds.append(max(item["at"] for item in await journal.read()) - asked)
    got = await journal.by_chat()
    tell(
        "a mailing with pauses and a cancel", recipients=count, pauses=rounds, sent=progress["sent"],
        cancelled=progress["cancelled"], never_made=count - progress["made"], arrived_twice=repeats(got),
        under_way_at_the_cancel=stopped["under_way"], stopped_within_seconds=[round(s, 2) for s in seconds],
        seconds=round(watch.seconds),
    )  # fmt: skip
    assert progress["sent"] + progress["cancelled"] == progress["made"]
    assert progress["cancelled"]
    assert 0 <= progress["sent"] - stopped["sent"] <= stopped["under_way"]
    assert repeats(got) == 0  # nothing was under way when they were killed
    rows = await query(url, "SELECT address FROM delivery WHERE status = 'sent' AND recipient_id IS NOT NULL")
    assert {int(row["address"]) for row in rows} == set(got)
    doubled = "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE recipient_id IS NOT NULL GROUP BY recipient_id HAVING count(*) > 1) d"
    assert await value(url, doubled) == 0
    assert await value(url, "SELECT count(*) FROM hold") == 0


async def _nothing_under_way(url: str) -> bool:
    return bool(await value(url, "SELECT count(*) FROM delivery WHERE status = 'sending'") == 0)


async def _kill_both(services: Sequence[Service]) -> None:
    for service in services:
        await asyncio.to_thread(service.kill)
    for service in services:
        await asyncio.to_thread(service.start)


async def _send(service: Service, journal: Journal, text: str) -> None:
    """Something urgent gets through."""
    message = {"body": text, "sender": "TG", "to": "5", "priority": "urgent"}
    assert (await service.acall("POST", "/v1/notifications", message)).status == 202

    async def there() -> bool:
        return any(item["text"] == text for item in await journal.read())

    await wait_until(there, 20, f"{text!r} has arrived")
