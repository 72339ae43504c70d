"""The people of the fake Bot API server, and its updates, as aiogram's own client and models see them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramConflictError,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramRetryAfter,
)
from aiogram.types import (
    BotCommand,
    BufferedInputFile,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    Message,
    ReactionTypeEmoji,
    ReplyParameters,
    Update,
)
from aiohttp import web

from tests.fakes.telegram import TOKEN, FakeTelegram, Limits
from tests.fakes.telegram_world import KINDS
from tests.support.waiting import wait_until

DESK = -1001234567890
ALL = ["message", "edited_message", "callback_query", "my_chat_member", "message_reaction"]


@pytest.fixture
async def fake() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        fake.chat(DESK).topics = {}
        yield fake


@pytest.fixture
async def bot(fake: FakeTelegram) -> AsyncIterator[Bot]:
    async with Bot(TOKEN, AiohttpSession(api=TelegramAPIServer.from_base(fake.url))) as bot:
        yield bot


def keyboard(*rows: tuple[str, str]) -> InlineKeyboardMarkup:
    buttons = [[InlineKeyboardButton(text=text, callback_data=data)] for text, data in rows]
    return InlineKeyboardMarkup(inline_keyboard=buttons)


def refused(words: str) -> Any:
    return pytest.raises(TelegramBadRequest, match=words)


async def test_whatever_people_do_parses_and_nothing_of_it_is_unknown(fake: FakeTelegram, bot: Bot) -> None:
    await bot.get_updates(timeout=0, allowed_updates=ALL)
    anna = fake.person(7, name="Anna", username="anna", language="ru")
    vera = fake.person(20, name="Vera").at(DESK)
    for kind in KINDS:
        anna.says("hello") if kind == "text" else anna.sends(kind)
    anna.album("photo", "video", caption="two")
    first = anna.says("/start abc")
    anna.edits(first, "changed")
    anna.reacts(first, "👍")
    sent = await bot.send_message(7, "x", reply_markup=keyboard(("Yes", "y")))
    anna.presses(sent.message_id, "Yes")
    anna.blocks()
    anna.unblocks()
    vera.promotes_bot()
    topic = vera.makes_topic("T")
    vera.at(DESK, topic).says("hi", reply_to=topic)
    vera.closes_topic(topic)
    vera.reopens_topic(topic)
    fake.person(20).at(-5).upgrades_group(-1005)
    updates = await bot.get_updates(timeout=0)
    assert len(updates) == len(KINDS) + 15
    assert {update.event_type for update in updates} == set(ALL)
    for update in updates:
        assert not list(unknown(update)), update
    start = next(update.message for update in updates if update.message and update.message.text)
    assert start.from_user is not None
    assert (start.from_user.language_code, start.chat.username) == ("ru", "anna")


def unknown(value: Any) -> Iterator[str]:
    """Fields that the models do not know, anywhere within."""
    if isinstance(value, list):
        for item in value:
            yield from unknown(item)
    elif hasattr(value, "model_fields_set"):
        yield from value.model_extra or {}
        for name in value.model_fields_set - set(value.model_extra or {}):
            yield from unknown(getattr(value, name))


async def test_the_answers_to_calls_parse(fake: FakeTelegram, bot: Bot) -> None:
    anna = fake.person(7)
    photo = anna.sends("photo", "caption")
    anna.album("photo", "photo")
    sticker = anna.sends("sticker")
    text = await bot.send_message(7, "text", reply_markup=keyboard(("Yes", "y")))
    answers: list[Any] = [
        await bot.get_me(),
        await bot.get_chat(7),
        await bot.get_chat_member(7, 7),
        await bot.get_webhook_info(),
        await bot.copy_message(7, 7, photo, reply_parameters=ReplyParameters(message_id=photo)),
        *await bot.copy_messages(7, 7, [photo, photo + 1, photo + 2, sticker]),
        *await bot.send_media_group(
            7, [InputMediaPhoto(media=BufferedInputFile(b"1", "1.jpg")), InputMediaPhoto(media="known")]
        ),
        await bot.send_document(7, BufferedInputFile(b"content", "talk.txt")),
        await bot.send_location(7, 1.5, 2.5),
        await bot.edit_message_text("other", chat_id=7, message_id=text.message_id),
        await bot.create_forum_topic(DESK, "Topic"),
        *await bot.get_my_commands(),
    ]
    for answer in answers:
        assert not list(unknown(answer)), answer
    assert await bot.set_my_commands([BotCommand(command="start", description="Begin")], language_code="ru")
    assert [one.command for one in await bot.get_my_commands(language_code="ru")] == ["start"]
    assert await bot.set_message_reaction(7, photo, [ReactionTypeEmoji(emoji="👍")])
    albums = [sent.album for sent in fake.journal if sent.method == "copyMessages"]
    assert albums[0] is None
    assert albums[1] == albums[2] is not None
    assert [sent.upload for sent in fake.journal if sent.method == "sendDocument"] == ["content"]


async def test_copies_are_what_the_source_is_and_gone_sources_are_refused(
    fake: FakeTelegram, bot: Bot
) -> None:
    anna = fake.person(7)
    written, gone = anna.says("a"), anna.says("b")
    anna.deletes(gone)
    topic = await bot.create_forum_topic(DESK, "T")
    copy = await bot.copy_message(DESK, 7, written, message_thread_id=topic.message_thread_id)
    accepted = fake.sent(DESK, copy.message_id)
    assert accepted is not None
    assert (accepted.text, accepted.thread, accepted.copied) == ("a", topic.message_thread_id, (7, written))
    with refused("message to copy not found"):
        await bot.copy_message(DESK, 7, gone)
    with refused("message can't be copied"):
        await bot.copy_message(7, DESK, topic.message_thread_id)
    assert len(await bot.copy_messages(DESK, 7, [written, gone])) == 1
    with refused("message to be replied not found"):
        await bot.send_message(7, "x", reply_parameters=ReplyParameters(message_id=99))
    allowed = ReplyParameters(message_id=99, allow_sending_without_reply=True)
    assert (await bot.send_message(7, "x", reply_parameters=allowed)).reply_to_message is None


async def test_edits(fake: FakeTelegram, bot: Bot) -> None:
    sent = await bot.send_message(7, "one")
    answer = await bot.edit_message_text("two", chat_id=7, message_id=sent.message_id)
    assert isinstance(answer, Message)
    assert (answer.text, fake.journal[0].text, fake.journal[0].earlier) == ("two", "two", ["one"])
    with refused("message is not modified"):
        await bot.edit_message_text("two", chat_id=7, message_id=sent.message_id)
    with refused("message to edit not found"):
        await bot.edit_message_text("two", chat_id=7, message_id=99)
    with refused("no caption"):
        await bot.edit_message_caption(chat_id=7, message_id=sent.message_id, caption="x")
    with refused("message can't be edited"):
        await bot.edit_message_text("x", chat_id=7, message_id=fake.person(7).says("mine"))
    await bot.delete_message(7, sent.message_id)
    assert fake.journal[0].deleted
    with refused("message to delete not found"):
        await bot.delete_message(7, sent.message_id)


async def test_topics_live_and_die(fake: FakeTelegram, bot: Bot) -> None:
    topic = (await bot.create_forum_topic(DESK, "T")).message_thread_id
    await bot.send_message(DESK, "x", message_thread_id=topic)
    with refused("TOPIC_NOT_MODIFIED"):
        await bot.reopen_forum_topic(DESK, topic)
    await bot.close_forum_topic(DESK, topic)
    with refused("TOPIC_CLOSED"):
        await bot.send_message(DESK, "x", message_thread_id=topic)
    with refused("TOPIC_NOT_MODIFIED"):
        await bot.close_forum_topic(DESK, topic)
    await bot.reopen_forum_topic(DESK, topic)
    await bot.edit_forum_topic(DESK, topic, name="New")
    assert fake.chat(DESK).topic_names[topic] == "New"
    await bot.delete_forum_topic(DESK, topic)
    with refused("message thread not found"):
        await bot.send_message(DESK, "x", message_thread_id=topic)
    with refused("TOPIC_ID_INVALID"):
        await bot.reopen_forum_topic(DESK, topic)
    with refused("not a forum"):
        await bot.create_forum_topic(-1007, "T")


async def test_making_topics_has_a_limit_of_its_own(fake: FakeTelegram, bot: Bot) -> None:
    fake.limits = Limits(topic_rate=2)
    topic = (await bot.create_forum_topic(DESK, "1")).message_thread_id
    await bot.create_forum_topic(DESK, "2")
    with pytest.raises(TelegramRetryAfter) as error:
        await bot.create_forum_topic(DESK, "3")
    assert 50 < error.value.retry_after <= 60
    await bot.send_message(DESK, "x", message_thread_id=topic)


async def test_buttons_are_answered_once_and_their_data_is_short(fake: FakeTelegram, bot: Bot) -> None:
    anna = fake.person(7)
    with refused("BUTTON_DATA_INVALID"):
        await bot.send_message(7, "x", reply_markup=keyboard(("Yes", "я" * 33)))
    await bot.send_message(7, "x", reply_markup=keyboard(("Yes", "y"), ("No", "n")))
    query = anna.presses(anna.sees()[-1], "No")
    (update,) = await bot.get_updates(timeout=0)
    assert update.callback_query is not None
    assert update.callback_query.data == "n"
    assert anna.answer(query) is None
    await bot.answer_callback_query(query, "ok")
    assert anna.answer(query) == {"text": "ok"}
    for wrong in (query, "1"):
        with refused("query is too old"):
            await bot.answer_callback_query(wrong)
    with pytest.raises(LookupError):
        anna.presses(anna.sees()[-1], "Maybe")


async def test_a_blocked_bot_and_a_moved_group(fake: FakeTelegram, bot: Bot) -> None:
    fake.person(7).blocks()
    with pytest.raises(TelegramForbiddenError):
        await bot.send_message(7, "x")
    fake.person(7).starts()
    await bot.send_message(7, "x")
    fake.person(20).at(-5).upgrades_group(-1005)
    with pytest.raises(TelegramMigrateToChat) as error:
        await bot.send_message(-5, "x")
    assert error.value.migrate_to_chat_id == -1005


async def test_polls_wait_confirm_and_terminate_each_other(fake: FakeTelegram, bot: Bot) -> None:
    waiting = asyncio.create_task(bot.get_updates(timeout=30))
    await wait_until(lambda: fake.updates.polls > 0, message="the poll")
    fake.person(7).says("1")
    first = await waiting
    fake.person(7).says("2")
    assert [one.update_id for one in await bot.get_updates(timeout=0)] == [
        first[0].update_id,
        first[0].update_id + 1,
    ]
    (second,) = await bot.get_updates(offset=first[0].update_id + 1, timeout=0)
    assert await bot.get_updates(offset=second.update_id + 1, timeout=0) == []
    polls = fake.updates.polls
    earlier = asyncio.create_task(bot.get_updates(timeout=30))
    await wait_until(lambda: fake.updates.polls > polls, message="the poll")
    assert await bot.get_updates(timeout=0) == []
    with pytest.raises(TelegramConflictError, match="terminated by other getUpdates"):
        await earlier


async def test_updates_that_were_not_asked_for_are_not_kept(fake: FakeTelegram, bot: Bot) -> None:
    await bot.get_updates(timeout=0, allowed_updates=["callback_query"])
    fake.person(7).says("x")
    assert await bot.get_updates(timeout=0, allowed_updates=[]) == []
    fake.person(7).says("y")
    fake.person(7).reacts(1, "👍")
    assert [update.event_type for update in await bot.get_updates(timeout=0)] == ["message"]


async def test_a_webhook_gets_each_chat_in_order_until_it_accepts(fake: FakeTelegram, bot: Bot) -> None:
    got: list[tuple[str | None, int, str]] = []
    refusals = [500]

    async def hook(request: web.Request) -> web.Response:
        update = Update.model_validate(await request.json())
        assert update.message is not None
        if refusals:
            return web.Response(status=refusals.pop())
        secret = request.headers.get("X-Telegram-Bot-Api-Secret-Token")
        got.append((secret, update.message.chat.id, update.message.text or ""))
        call = {"method": "sendMessage", "chat_id": update.message.chat.id, "text": "called"}
        return web.json_response(call if update.message.text == "b" else {})

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.updates.retry_seconds = 0.01
    fake.person(7).says("a")
    for wrong, words in (
        ({"url": "http://example.com/"}, "bad webhook"),
        ({"url": "https://x/", "secret_token": "a b"}, "unallowed"),
    ):
        with refused(words):
            await bot.set_webhook(**wrong)
    await bot.set_webhook(f"http://127.0.0.1:{runner.addresses[0][1]}/hook", secret_token="s-1")
    with pytest.raises(TelegramConflictError, match="webhook is active"):
        await bot.get_updates(timeout=0)
    fake.person(7).says("b")
    fake.person(8).says("c")
    await wait_until(lambda: len(got) == 3, message="the updates")
    assert sorted(got) == [("s-1", 7, "a"), ("s-1", 7, "b"), ("s-1", 8, "c")]
    assert [text for _, chat, text in got if chat == 7] == ["a", "b"]
    assert [status for _, status in fake.updates.pushes].count(500) == 1
    await wait_until(lambda: fake.texts(7) == ["called"], message="the call in the answer")
    await bot.delete_webhook()
    with suppress(TelegramConflictError):
        assert await bot.get_updates(timeout=0) == []
    await runner.cleanup()
