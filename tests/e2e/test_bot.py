"""People and the bot, over HTTP: links, joining, preferences, blocking, and what of it is stored."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from service.access.links import Links
from service.audience.linking import LINK_PURPOSE
from tests.fakes.telegram import FakeTelegram
from tests.support.bots import BotBench, running_bot
from tests.support.service import ROOT
from tests.support.waiting import wait_until

LINKS = Links("a secret of the tests, long enough", "")
ANNA, BORIS = 7, 8


@pytest.fixture
async def tg() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as tg:
        tg.person(ANNA, name="Anna", username="anna", language="ru")
        tg.person(BORIS, name="Boris", language="en")
        yield tg


@pytest.fixture
async def bot(database_url: str, tg: FakeTelegram) -> AsyncIterator[BotBench]:
    async with running_bot(
        database_url,
        tg,
        start="closed",
        categories='{"news": {"en": "News", "ru": "Новости"}, "orders": {}}',
    ) as bot:
        yield bot


async def _boris_takes_over(bot: BotBench, tg: FakeTelegram) -> None:
    """Another chat follows a second link of the same recipient."""
    again = await bot.call("POST", "/v1/recipients/42/links", status=201)
    tg.person(BORIS).starts(again["url"].partition("=")[2])
    await bot.sees(BORIS, 1)


class TestLinks:
    async def test_a_link_gives_a_chat_to_a_recipient(self, bot: BotBench, tg: FakeTelegram) -> None:
        token = await bot.link("42")
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", token)
        tg.person(ANNA).starts(token)
        assert "Готово" in await bot.sees(ANNA, 1)
        person = await bot.call("GET", "/v1/recipients/42")
        assert (person["locale"], person["name"]) == ("ru", "Anna")
        assert await bot.contacts("42") == [(str(ANNA), True)]
        await bot.call("POST", "/v1/notifications", {"body": "hello", "to": {"recipient": "42"}}, 202)
        assert await bot.sees(ANNA, 2) == "hello"

    async def test_what_is_known_of_a_recipient_stays(self, bot: BotBench, tg: FakeTelegram) -> None:
        await bot.call("PUT", "/v1/recipients/42", {"locale": "en", "name": "Ann"}, 201)
        made = await bot.call("POST", "/v1/recipients/42/links", status=201)
        tg.person(ANNA).starts(made["url"].partition("=")[2])
        assert "Done" in await bot.sees(ANNA, 1)
        person = await bot.call("GET", "/v1/recipients/42")
        assert (person["locale"], person["name"]) == ("en", "Ann")

    async def test_a_link_is_used_once(self, bot: BotBench, tg: FakeTelegram) -> None:
        token = await bot.link("42")
        tg.person(ANNA).starts(token)
        await bot.sees(ANNA, 1)
        tg.person(BORIS).starts(token)
        assert "another chat" in await bot.sees(BORIS, 1)
        tg.person(ANNA).starts(token)
        assert "приходят сюда" in await bot.sees(ANNA, 2)
        assert await bot.contacts("42") == [(str(ANNA), True)]

    async def test_a_used_link_takes_nothing_back(self, bot: BotBench, tg: FakeTelegram) -> None:
        """Neither from the chat that came after, nor from the recipient to whom the chat was given."""
        token = await bot.link("42")
        tg.person(ANNA).starts(token)
        await bot.sees(ANNA, 1)
        await _boris_takes_over(bot, tg)
        tg.person(ANNA).starts(token)
        assert "Запросите новую" in await bot.sees(ANNA, 2)
        assert sorted(await bot.contacts("42")) == [(str(ANNA), False), (str(BORIS), True)]
        tg.person(ANNA).starts(await bot.link("43"))
        await bot.sees(ANNA, 3)
        tg.person(ANNA).starts(token)
        assert "Запросите новую" in await bot.sees(ANNA, 4)
        assert await bot.contacts("43") == [(str(ANNA), True)]

    async def test_a_chat_that_was_replaced_while_it_was_blocked_stays_left(
        self, bot: BotBench, tg: FakeTelegram
    ) -> None:
        token = await bot.link("42")
        tg.person(ANNA).starts(token)
        await bot.sees(ANNA, 1)
        tg.person(ANNA).blocks()
        await bot.settled()
        await _boris_takes_over(bot, tg)
        tg.person(ANNA).starts(token)
        assert "Запросите новую" in await bot.sees(ANNA, 2)
        assert sorted(await bot.contacts("42")) == [(str(ANNA), False), (str(BORIS), True)]

    async def test_a_link_to_another_chat_or_recipient_moves_it(
        self, bot: BotBench, tg: FakeTelegram
    ) -> None:
        tg.person(ANNA).starts(await bot.link("42"))
        await bot.sees(ANNA, 1)
        await _boris_takes_over(bot, tg)
        assert await bot.contacts("42") == [(str(ANNA), False), (str(BORIS), True)]
        tg.person(BORIS).starts(await bot.link("43"))
        await bot.sees(BORIS, 2)
        assert await bot.contacts("42") == [(str(ANNA), False)]
        assert await bot.contacts("43") == [(str(BORIS), True)]

    async def test_a_chat_that_was_left_for_another_stays_left(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.person(ANNA).starts(await bot.link("42"))
        await bot.sees(ANNA, 1)
        await _boris_takes_over(bot, tg)
        tg.person(ANNA).says("/start")
        assert "ссыл" in await bot.sees(ANNA, 2)
        assert sorted(await bot.contacts("42")) == [(str(ANNA), False), (str(BORIS), True)]

    async def test_expired_forged_and_foreign_tokens_link_nothing(
        self, bot: BotBench, tg: FakeTelegram
    ) -> None:
        token = await bot.link("42")
        (row,) = await bot.sql("SELECT id FROM contact_link")
        past, future = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
        wrong = {
            LINKS.sign(LINK_PURPOSE, str(row["id"]), past): "expired",
            token[:-1] + ("A" if token[-1] != "A" else "B"): "does not work",
            LINKS.sign("unsubscribe", str(row["id"]), future): "does not work",
            LINKS.sign(LINK_PURPOSE, "999", future): "does not work",
            "nonsense": "does not work",
        }
        for count, (payload, words) in enumerate(wrong.items(), 1):
            tg.person(BORIS).starts(payload)
            assert words in await bot.sees(BORIS, count)
        assert await bot.contacts("42") == []

    async def test_a_link_needs_a_recipient_and_is_recorded(self, bot: BotBench) -> None:
        await bot.call("POST", "/v1/recipients/nobody/links", status=404)
        await bot.link("42", hours=1.5)
        actions = [entry["action"] for entry in (await bot.call("GET", "/v1/audit"))["items"]]
        assert "recipient.link" in actions


class TestJoining:
    async def test_closed(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.person(BORIS).starts()
        assert "link in your account" in await bot.sees(BORIS, 1)
        assert (await bot.call("GET", "/v1/recipients"))["items"] == []

    async def test_open(self, database_url: str, tg: FakeTelegram) -> None:
        async with running_bot(database_url, tg, start="open") as bot:
            tg.person(ANNA).starts()
            assert "Добро пожаловать" in await bot.sees(ANNA, 1)
            person = await bot.call("GET", f"/v1/recipients/tg-{ANNA}")
            assert (person["name"], person["locale"]) == ("Anna", "ru")

    async def test_approval(self, database_url: str, tg: FakeTelegram) -> None:
        async with running_bot(database_url, tg, start="approval") as bot:
            for person in (ANNA, BORIS, ANNA):
                tg.person(person).starts()
            await bot.sees(ANNA, 2)
            await bot.sees(BORIS, 1)
            requests = (await bot.call("GET", "/v1/contact-requests"))["items"]
            anna, boris = sorted(requests, key=lambda request: str(request["name"]))
            assert (anna["name"], anna["address"], anna["locale"]) == ("Anna", str(ANNA), "ru")
            await bot.call("POST", f"/v1/contact-requests/{anna['id']}/approve", {"external_id": "42"})
            assert await bot.contacts("42") == [(str(ANNA), True)]
            assert "приняты" in await bot.sees(ANNA, 3)
            await bot.call("POST", f"/v1/contact-requests/{boris['id']}/reject", status=204)
            assert "not approved" in await bot.sees(BORIS, 2)
            assert (await bot.call("GET", "/v1/contact-requests"))["items"] == []
            await bot.call("POST", f"/v1/contact-requests/{anna['id']}/approve", status=404)

    async def test_who_waits_too_long_to_be_let_in_is_forgotten(
        self, database_url: str, tg: FakeTelegram
    ) -> None:
        connection = await asyncpg.connect(database_url)
        for address, hours in (("7", 37), ("8", 35)):
            await connection.execute(
                """INSERT INTO contact_request (sender, address, name, at)
                VALUES ('TG', $1, 'Somebody', now() - $2 * interval '1 hour')""",
                address, hours,
            )  # fmt: skip
        await connection.close()
        async with running_bot(database_url, tg, start="approval", request_days=1.5) as bot:

            async def waiting() -> list[str]:
                listed = (await bot.call("GET", "/v1/contact-requests"))["items"]
                return [request["address"] for request in listed]

            async def forgotten() -> bool:
                return await waiting() == [str(BORIS)]

            await wait_until(forgotten, message="the older one is forgotten")
            tg.person(ANNA).starts()
            await bot.sees(ANNA, 1)
            assert await waiting() == [str(ANNA), str(BORIS)]

    async def test_blocking_and_unblocking(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.person(ANNA).starts(await bot.link("42"))
        await bot.sees(ANNA, 1)
        tg.person(ANNA).blocks()
        await bot.settled()
        assert await bot.contacts("42") == [(str(ANNA), False)]
        tg.person(ANNA).unblocks()
        await bot.settled()
        assert await bot.contacts("42") == [(str(ANNA), True)]


class TestMenus:
    @pytest.fixture
    async def anna(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.person(ANNA).starts(await bot.link("42"))
        await bot.sees(ANNA, 1)

    async def presses(self, bot: BotBench, button: str) -> str:
        """Press it in the last message; what the message says then."""
        person = bot.tg.person(ANNA)
        query = person.presses(person.sees()[-1], button)
        await wait_until(lambda: person.answer(query) is not None, message=f"an answer to {button}")
        await bot.settled()
        calls = bot.tg.journal
        return calls[-1].text

    async def person(self, bot: BotBench) -> dict[str, object]:
        found: dict[str, object] = await bot.call("GET", "/v1/recipients/42")
        return found

    async def test_settings_are_those_of_the_person(self, bot: BotBench, anna: None) -> None:
        bot.tg.person(ANNA).says("/settings")
        assert "Уведомления: включены" in await bot.sees(ANNA, 2)
        await self.presses(bot, "Тихие часы")
        assert "22:00-08:00" in await self.presses(bot, "22:00-08:00")
        assert (await self.person(bot))["quiet_hours"] == "22:00-08:00"
        await self.presses(bot, "Тихие часы")
        await self.presses(bot, "Обычные")
        assert (await self.person(bot))["quiet_hours"] is None
        await self.presses(bot, "Часовой пояс")
        await self.presses(bot, "Europe")
        while "Moscow" not in str(bot.tg.journal[-1].buttons):
            await self.presses(bot, "▶")
        assert "Europe/Moscow" in await self.presses(bot, "Moscow")
        assert (await self.person(bot))["time_zone"] == "Europe/Moscow"
        await self.presses(bot, "Категории")
        await self.presses(bot, "☑ Новости")
        assert "☐ Новости" in str(bot.tg.journal[-1].buttons)
        assert (await self.person(bot))["mutes"] == [{"category": "news", "sender": None}]
        await self.presses(bot, "☐ Новости")
        assert (await self.person(bot))["mutes"] == []
        await self.presses(bot, "Назад")
        await self.presses(bot, "Выключить")
        assert (await self.person(bot))["muted"] is True
        assert len(bot.tg.person(ANNA).sees()) == 2

    async def test_the_menu_speaks_the_language_that_was_chosen(self, bot: BotBench, anna: None) -> None:
        bot.tg.person(ANNA).says("/language")
        await bot.sees(ANNA, 2)
        assert "Notifications: on" in await self.presses(bot, "English")
        assert (await self.person(bot))["locale"] == "en"

    async def test_stopping_cancels_what_waits(self, bot: BotBench, anna: None) -> None:
        body = {
            "body": "later",
            "to": {"recipient": "42"},
            "send_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        }
        waiting = await bot.call("POST", "/v1/notifications", body, 202)
        bot.tg.person(ANNA).says("/stop")
        assert "выключены" in await bot.sees(ANNA, 2)

        async def status() -> object:
            found = await bot.call("GET", f"/v1/notifications/{waiting['id']}")
            return found["status"] == "suppressed"

        await wait_until(status, message="the notification is suppressed")
        await self.presses(bot, "Включить снова")
        assert (await self.person(bot))["muted"] is False

    async def test_data_of_no_button_changes_nothing(self, bot: BotBench, anna: None) -> None:
        before = await self.person(bot)
        person = bot.tg.person(ANNA)
        message = bot.tg.chat(ANNA).messages[person.sees()[-1].message_id]
        for data in (
            "set:lang:xx",
            "set:quiet:99",
            "set:zone:Nowhere",
            "set:cat:00",
            "set:zone:Europe:99999",
        ):
            person.calls_back(message, data)
        await bot.settled()
        assert (await self.person(bot))["updated_at"] == before["updated_at"]
        assert await bot.sql("SELECT 1 FROM bot_update WHERE state = 'aside'") == []

    async def test_somebody_unknown_is_told_how_to_begin(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.person(BORIS).says("/settings")
        assert "/start" in await bot.sees(BORIS, 1)

    async def test_commands_are_listed_in_every_language(self, bot: BotBench, tg: FakeTelegram) -> None:
        assert {"", "ru"} <= set(tg.commands)
        assert "Язык" in {one["description"] for one in tg.commands["ru"]}


class TestUpdates:
    async def test_a_repeated_update_has_no_second_effect(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.person(BORIS).says("/settings")
        await bot.sees(BORIS, 1)
        message = tg.chat(BORIS).messages[1]
        tg.updates.repeat(tg.updates.last_id, "message", message)
        tg.person(BORIS).says("/settings")
        await bot.settled()
        assert len(tg.texts(BORIS)) == 2

    async def test_an_update_that_always_fails_is_put_aside_and_holds_up_nobody(
        self, bot: BotBench, tg: FakeTelegram
    ) -> None:
        tg.updates.add("message", BORIS, {"message_id": 5, "chat": {"id": BORIS, "type": "private"}})
        tg.person(ANNA).says("/settings")
        await bot.sees(ANNA, 1)
        tg.person(BORIS).says("/settings")
        await bot.sees(BORIS, 1)
        (aside,) = await bot.sql("SELECT attempts, error, body FROM bot_update WHERE state = 'aside'")
        assert aside["attempts"] == 3
        assert "date" in aside["error"]
        assert aside["body"] is not None

        async def told() -> bool:
            return "put aside" in str(await bot.call("GET", "/health/ready"))

        await wait_until(told, message="health tells of it")
        assert (await bot.sql("SELECT 1 FROM bot_update WHERE state = 'aside' AND attempts = 3")) != []
        mended = (ROOT / "docs/bot.md").read_text().split("```sql\n")[1].split("```")[0]
        await bot.sql(mended)

        async def tried_again() -> bool:
            return bool(await bot.sql("SELECT 1 FROM bot_update WHERE state = 'aside' AND attempts = 3"))

        await wait_until(tried_again, message="it is tried again, and fails again")

    async def test_one_chat_is_answered_in_order(self, bot: BotBench, tg: FakeTelegram) -> None:
        wanted = []
        for count in range(10):
            tg.person(BORIS).says("/settings" if count % 2 else "/start x")
            wanted.append("press /start" if count % 2 else "does not work")
        await bot.sees(BORIS, 10)
        assert all(words in text for words, text in zip(wanted, tg.texts(BORIS), strict=True))

    async def test_replies_leave_once_telegram_takes_them(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.fault("throttle", times=1, retry_after=1, method="sendMessage")
        tg.fault("error", times=1, status=500, method="sendMessage")
        tg.person(BORIS).says("/settings")
        await bot.sees(BORIS, 1)

    async def test_replies_that_a_crash_left_behind_leave_later(
        self, bot: BotBench, tg: FakeTelegram
    ) -> None:
        tg.fault("error", times=3, status=502, method="sendMessage")
        tg.person(BORIS).says("/settings")
        await wait_until(lambda: not tg.faults[0].times, message="nothing leaves")
        await bot.settled()
        await bot.sql("UPDATE bot_update SET due_at = due_at - interval '2 minutes'")
        assert "/start" in await bot.sees(BORIS, 1)
        await wait_until(lambda: _row(bot), message="the reply is noted as said")
        assert len(tg.texts(BORIS)) == 1

    async def test_a_reply_that_does_not_leave_holds_up_no_other(
        self, bot: BotBench, tg: FakeTelegram
    ) -> None:
        """Neither the replies to others, nor a row of the table."""
        tg.fault("error", times=3, status=502, method="sendMessage", chat=ANNA)
        tg.fault("error", times=3, status=502, method="sendMessage", chat=BORIS)
        tg.person(ANNA).says("/settings")
        await bot.settled()
        tg.person(BORIS).says("/settings")
        await wait_until(lambda: not any(fault.times for fault in tg.faults), message="nothing leaves")
        await bot.settled()
        tg.fault("error", times=1, status=502, method="sendMessage", chat=ANNA, seconds=1.0)
        tg.fault("error", times=100, status=502, method="sendMessage", chat=ANNA)
        await bot.sql("UPDATE bot_update SET due_at = due_at - interval '2 minutes'")
        await wait_until(lambda: not tg.faults[2].times, message="the first one is under way")
        assert len(await bot.sql("SELECT 1 FROM bot_update FOR UPDATE NOWAIT")) == 2
        assert "/start" in await bot.sees(BORIS, 1)
        assert tg.texts(ANNA) == []

    async def test_what_is_old_is_removed(self, database_url: str, tg: FakeTelegram) -> None:
        connection = await asyncpg.connect(database_url)
        for number, (state, days) in enumerate((("done", 2), ("done", 4), ("aside", 4), ("aside", 40))):
            await connection.execute(
                """INSERT INTO bot_update (bot, id, lane, state, body, attempts, due_at, at)
                VALUES (123456, $1, '8', $2, $3, 0, now(), now() - $4 * interval '1 day')""",
                number, state, None if state == "done" else b"{}", days,
            )  # fmt: skip
        await connection.execute("INSERT INTO bot_report (chat, at) VALUES ('8', now() - interval '2 days')")
        await connection.close()
        async with running_bot(database_url, tg) as bot:

            async def kept() -> bool:
                rows = await bot.sql("SELECT id FROM bot_update ORDER BY id")
                return [row["id"] for row in rows] == [0, 2]

            await wait_until(kept, message="old rows are gone")
            assert await bot.sql("SELECT 1 FROM bot_report") == []

    async def test_a_body_is_forgotten_when_it_is_handled(self, bot: BotBench, tg: FakeTelegram) -> None:
        tg.person(BORIS).says("/settings")
        await bot.sees(BORIS, 1)
        await wait_until(lambda: _row(bot), message="the reply is noted as said")


async def _row(bot: BotBench) -> bool:
    (row,) = await bot.sql("SELECT state, body, replies FROM bot_update")
    return (row["state"], row["body"], row["replies"]) == ("done", None, None)
