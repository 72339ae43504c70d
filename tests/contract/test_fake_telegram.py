"""The fake Bot API server is one: aiogram's own client works with it, and it enforces what the real one does."""

import sys
import time
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession

from tests.fakes.telegram import TOKEN, FakeTelegram, Limits


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as telegram:
        yield telegram


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as http:
        yield http


async def call(http: ClientSession, telegram: FakeTelegram, method: str, **params: Any) -> tuple[int, Any]:
    async with http.post(f"{telegram.url}/bot{telegram.token}/{method}", json=params) as response:
        return response.status, await response.json()


async def test_aiograms_own_client_is_understood(telegram: FakeTelegram) -> None:
    from aiogram import Bot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.enums import ParseMode
    from aiogram.exceptions import TelegramForbiddenError
    from aiogram.types import BufferedInputFile, InlineKeyboardButton, InlineKeyboardMarkup

    keyboard = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="o", url="https://x/")]])
    async with Bot(TOKEN, AiohttpSession(api=TelegramAPIServer.from_base(telegram.url))) as bot:
        assert (await bot.get_me()).is_bot
        text = await bot.send_message(5, "<b>a</b> &amp; я", parse_mode=ParseMode.HTML, reply_markup=keyboard)
        assert (text.message_id, text.chat.type, text.text) == (1, "private", "a & я")
        assert text.entities is not None
        assert text.entities[0].type == "bold"
        file = await bot.send_document(-7, BufferedInputFile(b"\0--x\r\n", "f.bin"), caption="слово")
        assert (file.message_id, file.chat.type, file.caption) == (1, "group", "слово")
        telegram.chat(6).blocked = True
        with pytest.raises(TelegramForbiddenError):
            await bot.send_message(6, "x")
    assert telegram.journal[0].buttons == [[{"text": "o", "url": "https://x/"}]]
    assert telegram.journal[1].file is not None
    assert telegram.journal[1].file.startswith("attach://")


@pytest.mark.parametrize("kind", ["json", "data", "params"])
async def test_every_encoding_and_any_case(telegram: FakeTelegram, http: ClientSession, kind: str) -> None:
    values: dict[str, Any] = {kind: {"chat_id": "5", "text": "a=b & я"}}
    async with http.post(f"{telegram.url}/bot{TOKEN}/SENDmessage", **values) as response:
        assert (await response.json())["result"]["text"] == "a=b & я"


@pytest.mark.parametrize(
    ("path", "status", "description"),
    [
        (f"bot{TOKEN}/nothing", 404, "Not Found: method not found"),
        ("bot1/sendMessage", 401, "Unauthorized: invalid token specified"),
        ("bot1:other/sendMessage", 401, "Unauthorized"),
        ("sendMessage", 404, "Not Found"),
    ],
)
async def test_tokens_and_methods_are_checked(
    telegram: FakeTelegram, http: ClientSession, path: str, status: int, description: str
) -> None:
    async with http.post(f"{telegram.url}/{path}", json={"chat_id": 5, "text": "x"}) as response:
        assert response.status == status
        assert (await response.json())["description"] == description
    assert telegram.journal == []


@pytest.mark.parametrize(
    ("params", "description"),
    [
        ({"text": "x"}, "chat_id is empty"),
        ({"chat_id": 5}, "message text is empty"),
        ({"chat_id": 5, "text": " \n"}, "message text is empty"),
        ({"chat_id": 5, "text": "👍" * 2049}, "message is too long"),
        ({"chat_id": 5, "text": "<b>" + "x" * 4097 + "</b>", "parse_mode": "HTML"}, "message is too long"),
        (
            {"chat_id": 5, "text": "<div>x</div>", "parse_mode": "HTML"},
            "can't parse entities: Unsupported start tag",
        ),
        ({"chat_id": 5, "text": "я<b>x", "parse_mode": "HTML"}, "can't parse entities: Can't find end tag"),
        ({"chat_id": 5, "text": "x</b>", "parse_mode": "html"}, "can't parse entities: Unexpected end tag"),
        (
            {"chat_id": 5, "text": "<b><i>x</b></i>", "parse_mode": "HTML"},
            "can't parse entities: Unmatched end tag",
        ),
        ({"chat_id": 5, "text": "a < b", "parse_mode": "HTML"}, "can't parse entities: "),
        ({"chat_id": 5, "text": "x", "message_thread_id": 1}, "message thread not found"),
        (
            {"chat_id": 5, "text": "x", "reply_markup": {"inline_keyboard": [[{"text": "x"}]]}},
            "can't parse reply",
        ),
    ],
)
async def test_what_the_server_would_refuse_is_refused(
    telegram: FakeTelegram, http: ClientSession, params: dict[str, Any], description: str
) -> None:
    status, answer = await call(http, telegram, "sendMessage", **params)
    assert status == answer["error_code"] == 400
    assert answer["description"].startswith(f"Bad Request: {description}")
    assert (telegram.journal, len(telegram.refused)) == ([], 1)


async def test_markup_does_not_count_as_length(telegram: FakeTelegram, http: ClientSession) -> None:
    text = "<b>" + "&lt;" * 4096 + "</b>"
    status, answer = await call(http, telegram, "sendMessage", chat_id=5, text=text, parse_mode="HTML")
    assert status == 200
    assert answer["result"]["text"] == "<" * 4096


@pytest.mark.parametrize(
    ("limits", "chats", "allowed"),
    [
        (Limits(rate=3), [5, 6, 7, 8, 9], 3),
        (Limits(chat_rate=1), [5, 6, 5, 6], 2),
        (Limits(group_rate=2), [-7, -7, -7, 5, 5, 5], 5),
    ],
)
async def test_limits_are_enforced(
    telegram: FakeTelegram, http: ClientSession, limits: Limits, chats: list[int], allowed: int
) -> None:
    telegram.limits = limits
    started = time.monotonic()
    statuses = []
    for chat in chats:
        params = {"chat_id": chat, "text": "x"}
        async with http.post(f"{telegram.url}/bot{TOKEN}/sendMessage", json=params) as response:
            statuses.append(response.status)
            if response.status == 429:
                seconds = (await response.json())["parameters"]["retry_after"]
                assert response.headers["Retry-After"] == str(seconds)
                assert seconds == 1 or seconds > 55
    assert time.monotonic() - started < 0.9
    assert statuses.count(200) == len(telegram.journal) == allowed


async def test_a_refused_message_uses_up_no_limit(telegram: FakeTelegram, http: ClientSession) -> None:
    telegram.limits = Limits(rate=1)
    telegram.chat(6).blocked = True
    assert (await call(http, telegram, "sendMessage", chat_id=6, text="x"))[0] == 403
    assert (await call(http, telegram, "sendMessage", chat_id=5, text="x"))[0] == 200
    assert (await call(http, telegram, "sendMessage", chat_id=5, text="x"))[0] == 429


async def start() -> tuple[Process, str]:
    process = await create_subprocess_exec(sys.executable, "-m", "tests.fakes.telegram", stdout=PIPE)
    assert process.stdout is not None
    ready, url = (await process.stdout.readline()).decode().split()
    assert ready == "ready"
    return process, url


async def test_as_a_process_it_is_steered_over_http(http: ClientSession) -> None:
    process, url = await start()
    try:
        for name, values in (
            ("faults", {"kind": "reset", "accept": True, "chat": 5}),
            ("chats", {"id": -7, "topics": {"9": "open"}}),
            ("limits", {"chat_rate": 1}),
        ):
            async with http.post(f"{url}/control/{name}", json=values) as response:
                assert response.status == 200
        send = f"{url}/bot{TOKEN}/sendMessage"
        with pytest.raises(aiohttp.ClientError):
            await http.post(send, json={"chat_id": 5, "text": "a"})
        for values, status in (
            ({"chat_id": -7, "text": "b", "message_thread_id": 9}, 200),
            ({"chat_id": 5, "text": "c"}, 429),
        ):
            async with http.post(send, json=values) as response:
                assert response.status == status
        async with http.get(f"{url}/control/counts") as response:
            counts = await response.json()
        assert counts == {
            "calls": 3, "accepted": 2, "refused": 1, "throttled": 1, "duplicates": 0, "by_chat": {"5": 1, "-7": 1}
        }  # fmt: skip
        async with http.get(f"{url}/control/journal?after=1") as response:
            (sent,) = (await response.json())["items"]
        assert (sent["number"], sent["chat"], sent["text"], sent["thread"]) == (2, -7, "b", 9)
        async with http.get(f"{url}/control/refused") as response:
            assert [call["status"] for call in (await response.json())["items"]] == [429]
    finally:
        process.terminate()
        await process.wait()
