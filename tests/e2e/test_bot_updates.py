"""How updates come in: by polls, which one process makes, or by a webhook; and what stands in the way."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO

import pytest
from aiohttp import ClientSession

from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.support.bots import running_bot
from tests.support.net import free_port
from tests.support.waiting import wait_until

BORIS = 8
HEADER = "X-Telegram-Bot-Api-Secret-Token"


@pytest.fixture
async def tg() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as tg:
        tg.updates.retry_seconds = 0.05
        tg.person(BORIS, name="Boris", language="en")
        yield tg


async def test_a_webhook_takes_what_has_its_secret(database_url: str, tg: FakeTelegram) -> None:
    async with running_bot(database_url, tg, mode="webhook") as bot:
        tg.person(BORIS).starts()
        assert "Welcome" in await bot.sees(BORIS, 1)
        tg.person(BORIS).says("/settings")
        await bot.sees(BORIS, 2)
        assert {status for _, status in tg.updates.pushes} == {200}
        webhook = tg.updates.webhook
        assert webhook is not None
        assert webhook.url == f"{bot.url}/callbacks/telegram"
        update = {"update_id": 5, "message": tg.chat(BORIS).messages[1]}
        async with ClientSession() as http:
            for secret, status in (("", 401), ("wrong", 401), (webhook.secret, 200), (webhook.secret, 200)):
                headers = {HEADER: secret} if secret else {}
                async with http.post(webhook.url, json=update, headers=headers) as answer:
                    assert answer.status == status
            for body in (b"", b"{}", b"[]", b'{"update_id": "5"}'):
                async with http.post(webhook.url, data=body, headers={HEADER: webhook.secret}) as answer:
                    assert answer.status == 400
            async with http.post(
                webhook.url, data=BytesIO(b"x" * 1_100_000), headers={HEADER: webhook.secret}
            ) as answer:
                assert answer.status == 413
        assert "Your notifications come here" in await bot.sees(BORIS, 3)


async def test_a_webhook_is_for_any_number_of_processes(database_url: str, tg: FakeTelegram) -> None:
    async with (
        running_bot(database_url, tg, mode="webhook") as one,
        running_bot(database_url, tg, mode="webhook") as two,
    ):
        webhook = tg.updates.webhook
        assert webhook is not None
        assert webhook.url.startswith((one.url, two.url))
        for count in range(10):
            tg.person(BORIS).says("/settings")
            webhook.url = f"{(one, two)[count % 2].url}/callbacks/telegram"
        await one.sees(BORIS, 10)
        assert len(await one.sql("SELECT 1 FROM bot_update WHERE state = 'done'")) == 10


async def test_without_the_mode_nothing_is_taken(database_url: str, tg: FakeTelegram) -> None:
    async with running_bot(database_url, tg) as bot, ClientSession() as http:
        headers = {HEADER: bot.app.links.sign("telegram-webhook", "", datetime(2100, 1, 1, tzinfo=UTC))}
        async with http.post(
            f"{bot.url}/callbacks/telegram", json={"update_id": 1}, headers=headers
        ) as answer:
            assert answer.status == 401


async def test_polling_takes_over_from_a_webhook_of_this_service(database_url: str, tg: FakeTelegram) -> None:
    port = free_port()
    async with running_bot(database_url, tg, port=port, mode="webhook"):
        assert tg.updates.webhook is not None
    tg.person(BORIS).says("/settings")
    async with running_bot(database_url, tg, port=port) as bot:
        await bot.sees(BORIS, 1)
        assert tg.updates.webhook is None


async def test_somebody_elses_webhook_is_told_of_and_left_alone(database_url: str, tg: FakeTelegram) -> None:
    tg.updates.set_webhook({"url": "https://elsewhere.example/hook"})
    async with running_bot(database_url, tg, ready=False) as bot:

        async def told() -> bool:
            return "elsewhere.example" in await bot.health()

        await wait_until(told, message="health tells of it")
        assert (await bot.health()).startswith("degraded")
        tg.updates.delete_webhook({})
        tg.person(BORIS).says("/settings")
        await wait_until(bot.is_ready, deadline=30)
        await bot.sees(BORIS, 1)


async def test_another_poller_is_told_of(database_url: str, tg: FakeTelegram) -> None:
    async with running_bot(database_url, tg, poll_seconds=5) as bot, ClientSession() as http:

        async def told() -> bool:
            async with http.post(f"{tg.url}/bot{TOKEN}/getUpdates", json={}) as answer:
                assert answer.status == 200
            return "somebody else polls" in await bot.health()

        await wait_until(told, message="health tells of it")
        tg.person(BORIS).says("/settings")
        await wait_until(bot.is_ready, deadline=30)
        await bot.sees(BORIS, 1)


async def test_one_of_two_processes_polls_and_the_other_takes_over(
    database_url: str, tg: FakeTelegram
) -> None:
    async with running_bot(database_url, tg, poll_seconds=5) as one:
        async with running_bot(database_url, tg, poll_seconds=5) as two:
            assert "another process" in await two.health()
            tg.person(BORIS).says("/settings")
            await one.sees(BORIS, 1)
            assert [call.description for call in tg.refused] == []
            # The leader loses its lock, as after a restart of PostgreSQL.
            (held,) = await one.sql(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = $1", 0x626F7401
            )
            await one.sql("SELECT pg_terminate_backend($1)", held["pid"])
            tg.person(BORIS).says("/settings")
            await one.sees(BORIS, 2)
        await wait_until(one.is_ready)
        tg.person(BORIS).says("/settings")
        await one.sees(BORIS, 3)
        assert len(await one.sql("SELECT 1 FROM bot_update")) == 3


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html", "status": 502},
        {"kind": "malformed"},
        {"kind": "reset"},
        {"kind": "throttle", "retry_after": 1},
        {"kind": "error", "status": 500},
    ],
)
async def test_a_poll_that_fails_is_made_again(
    database_url: str, tg: FakeTelegram, fault: dict[str, object]
) -> None:
    async with running_bot(database_url, tg, poll_seconds=1) as bot:
        kind = fault.pop("kind")
        tg.fault(kind, method="getUpdates", times=2, **fault)
        tg.person(BORIS).says("/settings")
        await wait_until(lambda: not tg.faults[0].times, deadline=30, message="the polls fail")
        tg.person(BORIS).says("/settings")
        await bot.sees(BORIS, 2)


async def test_updates_wait_while_telegram_is_away_at_the_start(database_url: str, tg: FakeTelegram) -> None:
    tg.fault("error", method="getMe", times=2, status=502)
    tg.person(BORIS).says("/settings")
    async with running_bot(database_url, tg) as bot:
        await bot.sees(BORIS, 1)
