"""An urgent message does not wait behind a backlog."""

import asyncio
import time
from http import HTTPStatus

import pytest

from tests.conftest import StartService
from tests.faults.support import FULL_TIMEOUT, QUICK, UNPACED, post_batch, size, tell
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]


@pytest.mark.parametrize(
    ("kind", "env", "calls_a_second"),
    [
        ("paced", {**UNPACED, "TG_RATE": "30"}, 30),
        ("limited by calls under way", {**UNPACED, "TG_CONCURRENCY": "10"}, 100),
    ],
    ids=["paced", "unpaced"],
)
async def test_urgent_overtakes_a_backlog(
    kind: str,
    env: dict[str, str],
    calls_a_second: int,
    telegram: TelegramProcess,
    start_service: StartService,
) -> None:
    bulk = size(10_000, 100_000)
    telegram.control("POST", "delay", seconds=0.1)
    service = await asyncio.to_thread(
        start_service, {**QUICK, **telegram.env, **env, "DELIVERY_LEASE_SECONDS": "60"}
    )
    messages = [
        {"body": f"bulk {n}", "sender": "TG", "to": str(1_000 + n % 500), "priority": "bulk"}
        for n in range(bulk)
    ]
    await post_batch(service, messages)
    await wait_until(lambda: telegram.counts()["accepted"] >= 50, 20, "the backlog moves")
    urgent = {"body": "urgent", "sender": "TG", "to": "5", "priority": "urgent"}
    asked = time.time()
    answer = await service.acall("POST", "/v1/notifications", urgent)
    assert answer.status == HTTPStatus.ACCEPTED
    accepted_after = time.time() - asked
    await wait_until(lambda: telegram.counts()["by_chat"].get("5"), 30, "the urgent message has arrived")
    journal = telegram.control("GET", "journal")["items"]
    (arrival,) = (message for message in journal if message["text"] == "urgent")
    waited = arrival["at"] - asked
    before = sum(asked + accepted_after <= message["at"] < arrival["at"] for message in journal)
    tell(
        f"urgent, {kind}", backlog=bulk - arrival["number"] + 1, accepted_after_seconds=round(accepted_after, 3),
        at_the_provider_after_seconds=round(waited, 3), bulk_messages_since_acceptance=before,
    )  # fmt: skip
    # The calls under way, and the moment in which the message finds its way into memory.
    assert before <= calls_a_second / 2
