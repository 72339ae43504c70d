"""Messages to one address arrive in the order in which they were accepted, whatever happens on the way."""

import asyncio
import re
from http import HTTPStatus

import asyncpg
import pytest

from tests.conftest import StartService
from tests.faults.support import FULL_TIMEOUT, QUICK, UNPACED, arrived, repeats, size, tell, value
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

CHATS = 10


async def _write(replicas: list[Service], chat: int, count: int) -> list[str]:
    """Messages to one chat, each handed in when the one before it was accepted, at whichever replica answers."""
    texts: list[str] = []
    turn = chat
    while len(texts) < count:
        text = f"{chat}: {len(texts)}"
        body = {"id": text, "body": text, "sender": "TG", "to": str(chat)}
        turn += 1
        try:
            answer = await replicas[turn % len(replicas)].acall("POST", "/v1/notifications", body)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        if answer.status in (HTTPStatus.ACCEPTED, HTTPStatus.OK):
            texts.append(text)
    return texts


async def test_over_replicas_retries_and_restarts(
    start_service: StartService, telegram: TelegramProcess
) -> None:
    each = size(60, 1_000)
    replicas = [start_service({**QUICK, **UNPACED, **telegram.env}, ready=False) for _ in range(2)]
    for replica in replicas:
        await asyncio.to_thread(replica.wait_ready)
    telegram.control("POST", "delay", seconds=0.01)
    # One call in twelve fails and is repeated a little later.
    for number in range(CHATS * each // 12):
        telegram.control("POST", "faults", kind="error", status=500, skip=12 * number)
    writing = [asyncio.create_task(_write(replicas, 1_000 + chat, each)) for chat in range(CHATS)]

    async def progress(count: int) -> None:
        await wait_until(lambda: telegram.counts()["accepted"] >= count, 60, f"{count} have arrived")

    await progress(CHATS * each // 5)
    await asyncio.to_thread(replicas[0].kill)
    await asyncio.to_thread(replicas[0].start)
    await progress(CHATS * each // 2)
    await asyncio.to_thread(replicas[1].restart)
    written = await asyncio.gather(*writing)
    texts = await arrived(telegram, {text for chat in written for text in chat}, size(60, 600))
    journal = await asyncio.to_thread(telegram.texts)
    refused = telegram.counts()["refused"]
    tell("order", messages=sum(map(len, written)), failed_calls=refused, arrived_twice=repeats(texts))
    for chat in written:
        mine = set(chat)
        assert list(dict.fromkeys(text for text in journal if text in mine)) == chat


async def test_a_failure_while_the_next_one_is_being_stored(
    database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    """The second message is on its way into memory when the first one fails: it must not overtake it."""
    service = await asyncio.to_thread(start_service, {**QUICK, **UNPACED, **telegram.env})
    telegram.control("POST", "faults", kind="error", status=500, seconds=1.0)
    send = {"sender": "TG", "to": "1000"}
    await service.acall("POST", "/v1/notifications", {**send, "body": "first"})
    await wait_until(lambda: telegram.counts()["calls"], 5, "the first is under way")
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE notification IN SHARE MODE")
    storing = asyncio.create_task(service.acall("POST", "/v1/notifications", {**send, "body": "second"}))
    await wait_until(
        lambda: value(database_url, "SELECT count(*) FROM pg_locks WHERE NOT granted"), 5, "it waits"
    )

    async def first_has_failed() -> bool:
        metrics = (await service.acall("GET", "/metrics")).body.decode()
        return (
            re.search(r'sender_call_seconds_count\{outcome="(retry|unknown)",sender="TG"\} 1', metrics)
            is not None
        )

    await wait_until(first_has_failed, 10, "the first has failed")
    await transaction.rollback()
    await other.close()
    assert (await storing).status == HTTPStatus.ACCEPTED
    await arrived(telegram, {"first", "second"}, 15)
    assert telegram.texts() == ["first", "second"]
