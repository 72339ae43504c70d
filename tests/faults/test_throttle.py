"""A 429 pauses exactly what it is about, in every replica, and costs nobody an attempt."""

import asyncio
import itertools
from typing import Any

import pytest

from tests.conftest import StartService
from tests.faults.support import FULL_TIMEOUT, QUICK, WebhookProcess, arrived, post_batch, query, tell
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

PAUSE = 5
NO_ATTEMPT_LEFT = {"DELIVERY_RETRY_DELAYS_SECONDS": "0.2"}
# The provider's clock and ours agree to within this; a word between replicas takes as long.
GRACE = 0.3


async def _replicas(
    start_service: StartService, telegram: TelegramProcess, webhook: WebhookProcess, **env: str
) -> list[Service]:
    both = {**QUICK, **NO_ATTEMPT_LEFT, **telegram.env, **webhook.env, **env}
    replicas = [start_service(both, ready=False) for _ in range(2)]
    for replica in replicas:
        await asyncio.to_thread(replica.wait_ready)
    return replicas


def _to_webhook(count: int) -> list[dict[str, Any]]:
    return [{"body": f"hook {n}", "sender": "WEBHOOK"} for n in range(count)]


async def _journal(telegram: TelegramProcess) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await asyncio.to_thread(telegram.control, "GET", "journal"))["items"]
    return items


async def _refused(telegram: TelegramProcess) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await asyncio.to_thread(telegram.control, "GET", "refused"))["items"]
    return items


def _gap(times: list[float], since: float, until: float) -> float:
    """The longest time without a message between these moments."""
    inside = [since, *(at for at in times if since < at < until), until]
    return max(b - a for a, b in itertools.pairwise(inside))


async def _no_attempt_was_used(url: str) -> None:
    rows = await query(url, "SELECT DISTINCT status, attempt FROM delivery")
    assert [tuple(row) for row in rows] == [("sent", 1)]


async def test_of_a_chat(
    database_url: str, telegram: TelegramProcess, webhook: WebhookProcess, start_service: StartService
) -> None:
    chat = 777
    replicas = await _replicas(start_service, telegram, webhook, TG_CHAT_RATE="0")
    telegram.control("POST", "faults", kind="throttle", chat=chat, retry_after=PAUSE)
    # In all priorities, so that several replicas hold messages to it.
    paused = [
        {"body": f"paused {priority} {n}", "sender": "TG", "to": str(chat), "priority": priority}
        for n in range(5)
        for priority in ("urgent", "high", "normal", "bulk")
    ]
    others = [{"body": f"other {n}", "sender": "TG", "to": str(1_000 + n % 50)} for n in range(200)]
    await asyncio.gather(
        post_batch(replicas[0], others[:100] + paused[:10]),
        post_batch(replicas[1], others[100:] + paused[10:]),
    )
    await post_batch(replicas[0], _to_webhook(50))
    await arrived(telegram, {message["body"] for message in paused + others}, 60)
    await wait_until(lambda: len(webhook.bodies()) == 50, 20, "webhooks went on")
    (refusal,) = await _refused(telegram)
    journal = await _journal(telegram)
    again = min(
        message["at"]
        for message in journal
        if message["chat"] == chat and message["at"] > refusal["at"] + GRACE
    )
    to_others = [message["at"] for message in journal if message["chat"] != chat]
    gap = _gap(to_others, refusal["at"], min(again, to_others[-1]))
    tell("429 of a chat", paused_seconds=round(again - refusal["at"], 2), longest_gap_of_others=round(gap, 2))
    assert again - refusal["at"] >= PAUSE - 0.05
    assert gap < 1
    await _no_attempt_was_used(database_url)


async def test_of_the_bot(
    database_url: str, telegram: TelegramProcess, webhook: WebhookProcess, start_service: StartService
) -> None:
    replicas = await _replicas(start_service, telegram, webhook, TG_CHAT_RATE="0")
    messages = [{"body": f"m{n}", "sender": "TG", "to": str(1_000 + n % 50)} for n in range(200)]
    await asyncio.gather(post_batch(replicas[0], messages[:100]), post_batch(replicas[1], messages[100:]))
    await wait_until(lambda: telegram.counts()["accepted"] >= 60, 20, "messages arrive")
    # As the Bot API does, every call is refused until it is over.
    telegram.control("POST", "faults", kind="throttle", times=-1, retry_after=PAUSE)
    await wait_until(lambda: telegram.counts()["throttled"], 10, "a 429")
    began = (await _refused(telegram))[0]["at"]
    await post_batch(replicas[1], _to_webhook(50))
    await wait_until(lambda: len(webhook.bodies()) == 50, 20, "webhooks go on")
    await asyncio.sleep(max(0.0, began + PAUSE - 1 - (webhook.calls()[-1]["at"])))
    telegram.control("DELETE", "faults")
    await arrived(telegram, {message["body"] for message in messages}, 60)
    refused, journal = await _refused(telegram), await _journal(telegram)
    again = min(message["at"] for message in journal if message["at"] > began + GRACE)
    hooks = [call["at"] for call in webhook.calls()]
    tell(
        "429 of the bot", calls_refused=len(refused), stopped_after=round(refused[-1]["at"] - began, 2),
        paused_seconds=round(again - refused[-1]["at"], 2), webhooks_meanwhile=sum(at < again for at in hooks),
    )  # fmt: skip
    # Two chats tell a replica that it is the bot; what was on its way is answered likewise.
    assert refused[-1]["at"] - began <= 0.5
    assert len(refused) <= 20
    assert again - refused[-1]["at"] >= PAUSE - 0.05
    assert all(at < again for at in hooks)
    await _no_attempt_was_used(database_url)
