"""A provider that refuses the account stops its own sender only, and nothing of what waits for it is lost."""

import asyncio
from typing import Any

import pytest

from tests.conftest import StartService
from tests.fakes.telegram import TOKEN
from tests.faults.support import (
    FULL_TIMEOUT,
    QUICK,
    UNPACED,
    WebhookProcess,
    arrived,
    post_batch,
    query,
    size,
    tell,
)
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

WRONG = {"TG_BOT_TOKEN": f"{TOKEN}-of-somebody-else"}


def _messages() -> list[dict[str, Any]]:
    return [{"body": f"m{n}", "sender": "TG", "to": str(1_000 + n % 50)} for n in range(size(300, 5_000))]


async def _health(service: Service) -> dict[str, Any]:
    answer = await service.acall("GET", "/health/ready", key=None)
    assert answer.status == 200, "one halted sender must not take the process out of service"
    health: dict[str, Any] = answer.json()
    return health


async def _halted_but_working(service: Service, webhook: WebhookProcess, url: str, waiting: int) -> None:
    """TG stands still with all its rows, the others work, and health says so."""

    async def degraded() -> bool:
        return bool((await _health(service))["parts"]["sender TG"]["status"] == "degraded")

    await wait_until(degraded, 20, "readiness shows degraded")
    health = await _health(service)
    assert health["status"] == "degraded"
    assert "halted" in health["parts"]["sender TG"]["detail"]
    hooks = [{"body": f"hook {n}", "sender": "WEBHOOK"} for n in range(50)]
    prints = [{"body": f"print {n}", "sender": "CONSOLE", "to": "operators"} for n in range(50)]
    await post_batch(service, hooks + prints)
    await wait_until(lambda: len(webhook.bodies()) == 50, 20, "webhooks go on")
    await wait_until(lambda: "print 49" in service.logs(), 20, "the console goes on")

    async def all_wait() -> bool:
        rows = await query(
            url, "SELECT status, attempt, count(*) FROM delivery WHERE sender = 'TG' GROUP BY 1, 2"
        )
        return [tuple(row) for row in rows] == [("queued", 0, waiting)]

    await wait_until(all_wait, 10, "every row waits, and no attempt was used")


async def test_mended_and_resumed_over_rest(
    database_url: str, telegram: TelegramProcess, webhook: WebhookProcess, start_service: StartService
) -> None:
    messages = _messages()
    telegram.control("POST", "faults", kind="error", status=401, description="Unauthorized", times=-1)
    env = {**QUICK, **UNPACED, **telegram.env, **webhook.env, "CONSOLE_ENABLED": "true"}
    service = await asyncio.to_thread(start_service, env)
    await post_batch(service, messages)
    await _halted_but_working(service, webhook, database_url, len(messages))
    calls = telegram.counts()["calls"]
    telegram.control("DELETE", "faults")
    answer = await service.acall("POST", "/v1/senders/TG/resume")
    assert (answer.status, answer.json()["state"]) == (200, "works")
    texts = await arrived(telegram, {message["body"] for message in messages}, 40)
    tell("wrong token, resumed over REST", messages=len(messages), calls_before_the_halt=calls)
    assert max(texts.values()) == 1
    # What was under way together with the first refusal; a backlog does not hammer a provider that refuses it.
    assert calls <= 100

    async def fine() -> bool:
        return bool((await _health(service))["status"] == "ok")

    await wait_until(fine, 10, "readiness is ok")


async def test_mended_by_a_restart(
    database_url: str, telegram: TelegramProcess, webhook: WebhookProcess, start_service: StartService
) -> None:
    messages = _messages()
    env = {**QUICK, **UNPACED, **telegram.env, **webhook.env, "CONSOLE_ENABLED": "true"}
    wrong = await asyncio.to_thread(start_service, {**env, **WRONG})
    await post_batch(wrong, messages)
    await _halted_but_working(wrong, webhook, database_url, len(messages))
    # Nothing that a person reads may show the token.
    assert WRONG["TG_BOT_TOKEN"] not in wrong.logs()
    await asyncio.to_thread(wrong.terminate)
    await asyncio.to_thread(start_service, env)
    texts = await arrived(telegram, {message["body"] for message in messages}, 40)
    tell("wrong token, mended by a restart", messages=len(messages))
    assert max(texts.values()) == 1
