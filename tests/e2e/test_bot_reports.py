"""A person reports a problem: by a command, a button, an answer to a notification; over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.telegram import FakeTelegram
from tests.support.bots import DESK, BotBench, running_bot
from tests.support.waiting import wait_until

ANNA = 7


@pytest.fixture
async def tg() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as tg:
        tg.person(ANNA, name="Anna", username="anna", language="ru")
        yield tg


@pytest.fixture
async def bot(database_url: str, tg: FakeTelegram) -> AsyncIterator[BotBench]:
    async with running_bot(
        database_url,
        tg,
        desk=True,
        report_categories='{"payment": {"en": "Payment", "ru": "Оплата"}, "other": {}}',
        problem_categories="orders",
    ) as bot:
        yield bot


async def tickets(bot: BotBench) -> list[Any]:
    return list((await bot.call("GET", "/v1/tickets"))["items"])


async def desk_reads(bot: BotBench, text: str) -> None:
    """A message at the desk, in a topic, has that text."""

    def there() -> bool:
        return any(text in sent.text and sent.thread for sent in bot.tg.journal if sent.chat == DESK)

    await wait_until(there, message=f"{text!r} at the desk")


async def notified(bot: BotBench, **fields: object) -> int:
    """A notification to the person; its message."""
    person = bot.tg.person(ANNA)
    count = len(person.reads())
    body = {"title": "Order 17", "body": "is late", "sender": "TG", "to": str(ANNA), **fields}
    await bot.call("POST", "/v1/notifications", body, 202)
    await bot.sees(ANNA, count + 1)
    return person.sees()[-1].message_id


async def test_a_report_asks_what_it_is_about_and_takes_what_follows(bot: BotBench, tg: FakeTelegram) -> None:
    anna = tg.person(ANNA)
    anna.says("/support")
    assert "С чем связан" in await bot.sees(ANNA, 1)
    anna.presses(anna.sees()[-1], "Оплата")
    await wait_until(lambda: "Опишите" in anna.reads()[-1], message="the second question")
    anna.says("my card was refused")
    anna.sends("photo", "the receipt")
    await desk_reads(bot, "my card was refused")
    await desk_reads(bot, "the receipt")
    (ticket,) = await tickets(bot)
    assert (ticket["category"], ticket["name"], ticket["locale"]) == ("payment", "Anna", "ru")
    anna.says("/support")
    await wait_until(lambda: f"Обращение {ticket['id']} открыто" in anna.reads()[-1])
    assert len(await tickets(bot)) == 1


async def test_whoever_writes_without_choosing_is_heard(bot: BotBench, tg: FakeTelegram) -> None:
    tg.person(ANNA).says("/support")
    await bot.sees(ANNA, 1)
    tg.person(ANNA).says("help")
    await desk_reads(bot, "help")
    assert (await tickets(bot))[0]["category"] is None


async def test_a_report_can_be_given_up(bot: BotBench, tg: FakeTelegram) -> None:
    anna = tg.person(ANNA)
    anna.says("/support")
    await bot.sees(ANNA, 1)
    anna.presses(anna.sees()[-1], "Отмена")
    await wait_until(lambda: "отменено" in anna.reads()[-1])
    anna.says("never mind")
    assert "Что вы хотите" in await bot.sees(ANNA, 2)
    assert await tickets(bot) == []
    anna.presses(anna.sees()[-1], "Сообщить о проблеме")
    assert "С чем связан" in await bot.sees(ANNA, 3)


async def test_an_answer_to_a_notification_is_a_report_about_it(bot: BotBench, tg: FakeTelegram) -> None:
    message = await notified(bot, category="orders")
    tg.person(ANNA).says("where is it?", reply_to=message)
    await desk_reads(bot, "where is it?")
    await desk_reads(bot, "is late")
    (ticket,) = await tickets(bot)
    found = (await bot.call("GET", "/v1/notifications"))["items"]
    assert ticket["notification_id"] in {one["id"] for one in found}
    assert ticket["category"] == "orders"


async def test_an_album_that_answers_a_notification_is_one_answer(bot: BotBench, tg: FakeTelegram) -> None:
    anna = tg.person(ANNA)
    first = await notified(bot, category="orders")
    anna.album("photo", "photo", "photo", caption="where is it?", reply_to=first)
    await desk_reads(bot, "where is it?")
    second = await notified(bot, title="Order 18")
    anna.album("photo", "photo", "photo", caption="and this one?", reply_to=second)
    anna.says("that is all")
    await desk_reads(bot, "that is all")
    at_desk = [sent for sent in tg.journal if sent.chat == DESK]
    assert [sent.text.count("The person answers") for sent in at_desk if "Order 18" in sent.text] == [1]
    assert not [sent for sent in at_desk if "The person answers" in sent.text and "Order 17" in sent.text]
    shown = [sent for sent in at_desk if sent.kind == "photo"]
    assert len(shown) == 6
    assert [len({sent.album for sent in part}) for part in (shown[:3], shown[3:])] == [1, 1]


async def test_an_answer_to_any_part_of_a_long_notification_finds_it(bot: BotBench, tg: FakeTelegram) -> None:
    person = tg.person(ANNA)
    body = {"body": "word " * 1_500, "sender": "TG", "to": str(ANNA)}
    accepted = await bot.call("POST", "/v1/notifications", body, 202)
    await bot.sees(ANNA, 2)

    async def sent() -> bool:
        found = await bot.call("GET", f"/v1/notifications/{accepted['id']}")
        return bool(found["status"] == "sent")

    await wait_until(sent)
    person.says("?", reply_to=person.sees()[1].message_id)
    await desk_reads(bot, "?")
    assert (await tickets(bot))[0]["notification_id"] == accepted["id"]


async def test_the_button_under_a_notification(bot: BotBench, tg: FakeTelegram) -> None:
    anna = tg.person(ANNA)
    plain = await notified(bot)
    assert tg.sent(ANNA, plain).buttons == []  # type: ignore[union-attr]
    message = await notified(bot, category="orders", buttons=[{"text": "Open", "url": "https://x.example/"}])
    anna.presses(message, "Problem?")
    assert "Опишите" in await bot.sees(ANNA, 3)
    anna.says("it is broken")
    await desk_reads(bot, "it is broken")
    (ticket,) = await tickets(bot)
    assert (ticket["category"], ticket["notification_id"] is not None) == ("orders", True)


async def test_the_button_under_an_old_notification(bot: BotBench, tg: FakeTelegram) -> None:
    """Telegram hands out such a message without its text."""
    anna = tg.person(ANNA)
    message = await notified(bot, category="orders")
    old = {"message_id": message, "date": 0, "chat": {"id": ANNA, "type": "private"}}
    anna.calls_back(old, "problem")
    await bot.sees(ANNA, 2)
    anna.says("it is broken")
    await desk_reads(bot, "it is broken")
    assert (await tickets(bot))[0]["notification_id"] is not None


async def test_the_button_in_a_group_leads_to_the_persons_own_chat(bot: BotBench, tg: FakeTelegram) -> None:
    body = {"body": "hello", "sender": "TG", "to": "-100777", "category": "orders"}
    await bot.call("POST", "/v1/notifications", body, 202)
    await bot.sees(-100777, 1)
    anna = tg.person(ANNA).at(-100777)
    query = anna.presses(anna.sees()[0], "Problem?")
    answer = await wait_until(lambda: anna.answer(query), message="an answer")
    assert "лично" in answer["text"]
    assert len(tg.texts(-100777)) == 1


async def test_what_telegram_itself_says_in_a_chat_is_nothing_written(
    bot: BotBench, tg: FakeTelegram
) -> None:
    pinned = tg.put(
        ANNA, tg.person(ANNA).user, {"message_auto_delete_timer_changed": {"message_auto_delete_time": 5}}
    )
    tg.updates.add("message", ANNA, pinned)
    await bot.settled()
    assert tg.texts(ANNA) == []


async def test_somebody_elses_notification_is_not_found(bot: BotBench, tg: FakeTelegram) -> None:
    """Ids of messages are counted in each chat: the same number elsewhere is another message."""
    await notified(bot, category="orders")
    boris = tg.person(8, name="Boris", language="en")
    mine = boris.says("hello")
    await bot.sees(8, 1)
    boris.says("answer", reply_to=mine)
    assert "What would you like" in await bot.sees(8, 2)
    assert await tickets(bot) == []


async def test_what_is_written_after_a_report_goes_to_it_and_edits_too(
    bot: BotBench, tg: FakeTelegram
) -> None:
    anna = tg.person(ANNA)
    anna.says("/support")
    await bot.sees(ANNA, 1)
    written = anna.says("frist")
    await desk_reads(bot, "frist")
    anna.edits(written, "first")
    await desk_reads(bot, "first")
    assert "/settings" not in str(bot.tg.texts(DESK))


async def test_without_a_desk_people_are_told_so(database_url: str, tg: FakeTelegram) -> None:
    async with running_bot(database_url, tg) as bot:
        tg.person(ANNA).says("/support")
        assert "нет службы поддержки" in await bot.sees(ANNA, 1)
        message = await notified(bot)
        tg.person(ANNA).says("?", reply_to=message)
        assert "Что вы хотите" in await bot.sees(ANNA, 3)
