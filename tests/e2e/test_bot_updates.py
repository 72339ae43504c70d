"""How updates come in: by polls, which one process makes, or by a webhook; and what stands in the way."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import BytesIO

import asyncpg
import orjson
import pytest
from aiogram.types import Message
from aiohttp import ClientSession

from service.bot.inbox import Inbox
from service.bot.incoming import incoming
from service.db.database import Database
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
            for body in (b"", b"{", b'{"update_id": 5'):
                async with http.post(webhook.url, data=body, headers={HEADER: webhook.secret}) as answer:
                    assert answer.status == 400
            async with http.post(
                webhook.url, data=BytesIO(b"x" * 1_100_000), headers={HEADER: webhook.secret}
            ) as answer:
                assert answer.status == 413
        assert "Your notifications come here" in await bot.sees(BORIS, 3)


HALF = orjson.Fragment(rb'"/start \ud83d"')
"""Half of an emoji, as Telegram writes it."""
DEEP = b"[" * 100_000 + b"]" * 100_000


async def test_half_a_character_holds_up_nobody(database_url: str, tg: FakeTelegram) -> None:
    tg.person(9, name="Anna", language="en")
    async with running_bot(database_url, tg) as bot:
        tg.users[BORIS]["first_name"] = orjson.Fragment(rb'"Boris \ud83d"')
        tg.person(BORIS).starts()
        said = tg.chat(BORIS).messages[tg.person(BORIS).says("…")]
        tg.updates.add("message", BORIS, said | {"text": HALF})
        tg.person(9).starts()
        assert "Welcome" in await bot.sees(9, 1)
        assert "Welcome" in tg.texts(BORIS)[0]
        assert (await bot.call("GET", f"/v1/recipients/tg-{BORIS}"))["name"] == "Boris \ufffd"
        await bot.settled()
        assert await bot.sql("SELECT 1 FROM bot_update WHERE state = 'aside'") == []


async def test_a_poll_passes_over_what_can_never_be_read(database_url: str, tg: FakeTelegram) -> None:
    async with running_bot(database_url, tg) as bot:
        tg.person(BORIS).starts()
        said = tg.chat(BORIS).messages[1]
        lost = tg.updates.add("message", BORIS, said | {"text": orjson.Fragment(DEEP)})
        tg.updates.pending.append({"update_id": True})
        tg.person(BORIS).says("/settings")
        await bot.sees(BORIS, 2)
        stored = {row["id"] for row in await bot.sql("SELECT id FROM bot_update")}
        assert stored == {lost - 1, lost + 1}
        await wait_until(bot.is_ready, deadline=30)


async def test_a_webhook_is_not_asked_again_for_what_can_never_be_read(
    database_url: str, tg: FakeTelegram
) -> None:
    async with running_bot(database_url, tg, mode="webhook") as bot:
        webhook = tg.updates.webhook
        assert webhook is not None
        person = orjson.dumps(tg.person(BORIS).user)
        half = b'{"update_id":6,"message":{"message_id":1,"date":1,"chat":{"id":8,"type":"private"},"from":%s,"text":"\\ud83d"}}'
        bodies = (
            *(b"{}", b"[]", b"5", b'{"update_id":"5"}', b'{"update_id":true}', b'{"update_id":-1}'),
            *(b'{"update_id":%d}' % 2**63, b'{"update_id":9,"x":%s}' % DEEP),
            *(b'{"update_id":1,"message":"x"}', b'{"update_id":2,"message":{"chat":{"id":"\\u0000"}}}'),
            *(b'{"update_id":3,"message":{"is_topic_message":true}}', b'{"update_id":4,"message":NaN}'),
            half % person,
        )
        async with ClientSession() as http:
            for body in bodies:
                async with http.post(webhook.url, data=body, headers={HEADER: webhook.secret}) as answer:
                    assert answer.status == 200, body[:80]
        assert "What would you like" in await bot.sees(BORIS, 1)


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


@pytest.mark.parametrize("method", ["getMe", "getUpdates"])
@pytest.mark.parametrize("refusal", [(401, "Unauthorized"), (404, "Not Found")])
async def test_a_wrong_token_is_named_with_its_remedy(
    database_url: str, tg: FakeTelegram, method: str, refusal: tuple[int, str]
) -> None:
    status, description = refusal
    tg.fault("error", method=method, times=1_000, status=status, description=description)
    async with running_bot(database_url, tg, ready=False) as bot:

        async def told() -> bool:
            health = await bot.health()
            return f"TG_BOT_TOKEN: {description}" in health and "@BotFather" in health

        await wait_until(told, message="health names the setting")
        assert (await bot.health()).startswith("degraded")


async def test_what_waited_long_is_not_answered_twice(database_url: str) -> None:
    """Only what was handled long ago was left behind, whenever it came."""
    database, inbox = Database(database_url), Inbox(1)
    await database.open()
    try:
        async with database.transaction() as connection:
            await inbox.store(connection, [{"update_id": 5, "message": {"chat": {"id": BORIS}}}])
            await connection.execute("UPDATE bot_update SET at = at - interval '1 hour'")
            update = await inbox.take(connection, str(BORIS))
            assert update is not None
            await inbox.done(connection, update, [{"do": "say"}])
            assert await inbox.unsaid(connection, 60.0) is None
            await connection.execute("UPDATE bot_update SET due_at = now() - interval '2 minutes'")
            assert await inbox.unsaid(connection, 60.0) == (5, [{"do": "say"}])
        async with database.transaction() as connection:
            assert await inbox.unsaid(connection, 60.0) is None, "whoever took them has them"
    finally:
        await database.close()


async def test_a_flooded_chat_hides_no_other(database_url: str) -> None:
    database, inbox = Database(database_url), Inbox(1)
    await database.open()
    try:
        async with database.transaction() as connection:
            flood = [{"update_id": n, "message": {"chat": {"id": 7}}} for n in range(2_000)]
            others = [{"update_id": 2_000 + n, "message": {"chat": {"id": 8 + n}}} for n in range(2)]
            await inbox.store(connection, [*flood, *others, {"update_id": 3_000}])
            assert await inbox.lanes(connection, "", 10) == ["", "7", "8", "9"]
            assert await inbox.lanes(connection, "", 3) == ["", "7", "8"]
            assert await inbox.lanes(connection, "8", 3) == ["8", "9"]
    finally:
        await database.close()


async def test_what_waits_behind_a_flood_is_found(database_url: str, tg: FakeTelegram) -> None:
    """As after a process ended that had stored them."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        """INSERT INTO bot_update (bot, id, lane, state, body, attempts, due_at, at)
        SELECT 123456, n, CASE WHEN n <= 1100 THEN '1' ELSE n::text END, 'waiting', '{"update_id":1}', 0,
            CASE WHEN n <= 1100 THEN now() + interval '1 hour' ELSE now() END, now()
        FROM generate_series(1, 1150) n"""
    )
    await connection.close()
    async with running_bot(database_url, tg) as bot:

        async def handled() -> bool:
            (row,) = await bot.sql("SELECT count(*) AS rows FROM bot_update WHERE state = 'waiting'")
            return bool(row["rows"] == 1_100)

        await wait_until(handled, message="all but the flood is handled")


async def test_a_database_that_goes_away_at_the_start_is_waited_for(
    database_url: str, tg: FakeTelegram
) -> None:
    holder = await asyncpg.connect(database_url)
    try:
        lock = holder.transaction()
        await lock.start()
        await holder.execute("LOCK TABLE channel_account")
        async with running_bot(database_url, tg, ready=False) as bot:

            async def cut_off() -> bool:
                return bool(
                    await bot.sql(
                        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                        AND query LIKE '%INSERT INTO channel_account%' AND pid <> pg_backend_pid()"""
                    )
                )

            await wait_until(cut_off)
            await lock.rollback()
            await wait_until(bot.is_ready)
    finally:
        await holder.close()


async def test_a_group_s_buttons_change_nothing(database_url: str, tg: FakeTelegram) -> None:
    """A changed app can send any button's data; a group is a recipient's address, and nobody's own."""
    async with running_bot(database_url, tg) as bot:
        group = -1005
        await bot.call(
            "PUT", "/v1/recipients/team", {"contacts": [{"sender": "TG", "address": str(group)}]}, status=201
        )
        boris = tg.person(BORIS).at(group)
        shown = tg.chat(group).messages[boris.says("hello")]
        query = boris.calls_back(shown, "set:mute:on")
        await wait_until(lambda: boris.answer(query))
        assert "directly" in (boris.answer(query) or {}).get("text", "")
        assert not (await bot.call("GET", "/v1/recipients/team"))["muted"]


def test_a_topic_s_beginning_is_nothing_that_is_answered() -> None:
    chat = {"id": -1005, "type": "supergroup"}
    begun = {"message_id": 3, "date": 1, "chat": chat, "forum_topic_created": {"name": "#1", "icon_color": 1}}
    said = begun | {"message_id": 4, "reply_to_message": begun, "text": "hello"}
    del said["forum_topic_created"]
    topic = {"message_thread_id": 3, "is_topic_message": True}
    written = incoming(Message.model_validate(said | topic))
    assert (written.thread, written.reply_to) == (3, None)
