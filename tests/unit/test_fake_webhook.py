"""The fake receiver as a process of its own, steered over HTTP."""

import asyncio
import sys
from pathlib import Path

import aiohttp

from service.senders.base import Retry, Sent
from service.senders.webhook import WebhookSender
from tests.contract.rigs.webhook import settings
from tests.contract.sender_suite import message

ROOT = Path(__file__).parents[2]


async def test_it_is_steered_and_read_over_http() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.webhook", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()[1]
        await _steer(url, url.removesuffix("/hook") + "/control")
    finally:
        process.terminate()
        await process.communicate()


async def _steer(url: str, control: str) -> None:
    sender = WebhookSender(settings())
    await sender.open()
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{control}/faults", json={"status": 500, "times": 2}) as answer:
            assert await answer.json() == {"faults": 2}
        outcomes = [await sender.send(message(url)) for _ in range(3)]
        assert [type(outcome) for outcome in outcomes] == [Retry, Retry, Sent]
        async with session.get(f"{control}/journal") as answer:
            assert [call["accepted"] for call in await answer.json()] == [False, False, True]
        async with session.post(f"{control}/reset") as answer:
            assert answer.status == 200
        async with session.get(f"{control}/journal") as answer:
            assert await answer.json() == []
    await sender.close()
