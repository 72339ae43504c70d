"""One provider of three is sick: the others keep their rate, memory stays bounded, and it recovers by itself."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import psutil
import pytest

from tests.conftest import StartService
from tests.faults.support import (
    FULL,
    FULL_TIMEOUT,
    QUICK,
    UNPACED,
    WebhookProcess,
    arrived,
    post_batch,
    settled,
    size,
    tell,
)
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

HEALTHY_SECONDS = 2
SICK_SECONDS = size(6, 60)
EACH_A_SECOND = 50
MEMORY_GROWTH_BYTES = 150 * 1024 * 1024
SICKNESSES: Mapping[str, dict[str, object]] = {
    "hangs": {"kind": "hang"},
    "hangs after accepting": {"kind": "hang", "accept": True},
    "answers slowly": {"kind": "slow", "seconds": 2.0},
    "answers HTML": {"kind": "html", "status": 502},
    "resets before accepting": {"kind": "reset"},
    "resets after accepting": {"kind": "reset", "accept": True},
}


class _Load:
    """The same number of messages a second to each of three senders."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.telegram: set[str] = set()
        self.others = 0

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        step = EACH_A_SECOND // 5
        while time.monotonic() < end:
            began = time.monotonic()
            numbers = range(self.others, self.others + step)
            self.telegram |= {f"tg {n}" for n in numbers}
            self.others += step
            await post_batch(
                self._service,
                [{"body": f"tg {n}", "sender": "TG", "to": str(1_000 + n % 100)} for n in numbers]
                + [{"body": f"hook {n}", "sender": "WEBHOOK"} for n in numbers]
                + [{"body": f"<print {n}>", "sender": "CONSOLE", "to": "operators"} for n in numbers],
            )
            await asyncio.sleep(max(0.0, 0.2 - (time.monotonic() - began)))


@pytest.mark.parametrize("sickness", SICKNESSES if FULL else ["hangs after accepting", "answers HTML"])
async def test_one_of_three(
    sickness: str,
    telegram: TelegramProcess,
    webhook: WebhookProcess,
    start_service: StartService,
    database_url: str,
) -> None:
    env = {**QUICK, **UNPACED, **telegram.env, **webhook.env, "CONSOLE_ENABLED": "true"}
    service = await asyncio.to_thread(start_service, env)
    process, load = psutil.Process(service.pid), _Load(service)
    await load.run(HEALTHY_SECONDS)
    await wait_until(lambda: len(webhook.bodies()) == load.others, 10, "all is well")
    memory, calls = process.memory_info().rss, telegram.counts()["calls"]
    telegram.control("POST", "faults", times=-1, **SICKNESSES[sickness])
    await load.run(SICK_SECONDS / 2)
    middle = telegram.counts()["calls"]
    await load.run(SICK_SECONDS / 2)
    end = telegram.counts()["calls"]
    # The others are not behind by more than a moment.
    await wait_until(lambda: len(webhook.bodies()) == load.others, 2, "webhooks keep their rate")
    await wait_until(lambda: f"<print {load.others - 1}>" in service.logs(), 2, "the console keeps its rate")
    grown = process.memory_info().rss - memory
    delays = sorted(_delays(webhook))
    telegram.control("DELETE", "faults")
    recovering = time.monotonic()
    texts = await arrived(telegram, load.telegram, size(60, 300))
    recovered = time.monotonic() - recovering
    with suppress(AssertionError):
        await settled(database_url, 10)
    tell(
        f"one provider {sickness}", sick_seconds=SICK_SECONDS, calls_first_half=middle - calls,
        calls_second_half=end - middle, memory_growth_mb=grown // 2**20, webhooks=load.others,
        webhook_delay_p99_seconds=round(delays[len(delays) * 99 // 100], 2),
        all_arrived_after_seconds=round(recovered, 1), arrived_twice=sum(texts.values()) - len(texts),
    )  # fmt: skip
    assert grown < MEMORY_GROWTH_BYTES
    assert delays[len(delays) * 99 // 100] < 2
    if sickness != "answers slowly":
        # Single probes with growing pauses, not every message's attempts against a wall.
        assert end - middle <= 10


def _delays(webhook: WebhookProcess) -> list[float]:
    """From acceptance, which the payload tells, to arrival, seconds."""
    from datetime import datetime

    return [
        call["at"] - datetime.fromisoformat(call["payload"]["timestamp"]).timestamp()
        for call in webhook.calls()
    ]
