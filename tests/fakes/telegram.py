"""A fake Bot API server: the sending part, with the official server's checks, limits, errors and faults.

In a test: `async with FakeTelegram() as tg`, with `tg.url` as TG_API_URL and `TOKEN` as TG_BOT_TOKEN.
As a process: `python -m tests.fakes.telegram --port 8081`, which prints `ready URL`. Beside the Bot API
it then serves the same steering over HTTP, as JSON:

- `GET  /control/counts`: totals, messages by chat, and `duplicates`: messages beyond the first of their chat and text
- `GET  /control/journal?after=NUMBER&limit=N`: accepted messages, oldest first; `after` is a `number`
- `GET  /control/refused`: calls that were answered with an error
- `POST /control/faults`: fields of `Fault`; `DELETE` removes all
- `POST /control/limits`: fields of `Limits`; `POST /control/chats`: `id` and fields of `Chat`
- `POST /control/delay`: `{"seconds": 0.05}` before every answer
- `POST /control/reset`: forgets the journal, faults, limits and chats
"""

import argparse
import asyncio
import contextlib
import math
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

import orjson
import uvloop

from tests.fakes.telegram_control import control
from tests.fakes.telegram_params import (
    BotApiError,
    ChatKey,
    Params,
    buttons,
    chat_id,
    chat_key,
    chat_kind,
    read_call,
    visible,
)
from tests.fakes.telegram_text import Entity, utf16
from tests.fakes.tiny_http import Connection, Request, TinyHttpServer, response

TOKEN = "123456:fake-token_of-the-tests"
TEXT_MAX, CAPTION_MAX = 4096, 1024
HTML_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(slots=True)
class Accepted:
    """A message that the chat has. `text` is what is read there: the text or the caption, without markup."""

    number: int
    at: float
    method: str
    chat: ChatKey
    message_id: int
    text: str
    thread: int | None = None
    entities: list[Entity] = field(default_factory=list)
    file: str | None = None
    buttons: list[list[dict[str, str]]] = field(default_factory=list)


@dataclass(slots=True)
class Refused:
    """A call that was answered with an error."""

    at: float
    method: str
    chat: ChatKey | None
    status: int
    description: str


@dataclass(slots=True)
class Chat:
    """What is the matter with a chat. `topics` (id to open, closed or deleted) makes it a forum."""

    blocked: bool = False
    deactivated: bool = False
    kicked: bool = False
    missing: bool = False
    readonly: bool = False
    moved_to: int | None = None
    topics: dict[int, Literal["open", "closed", "deleted"]] | None = None
    last_message_id: int = 0


@dataclass(slots=True)
class Limits:
    """Messages a second of the bot and of a chat, a minute of a group; 0: none.

    `jitter` seconds are forgiven: evenly spaced calls do not arrive evenly spaced.
    """

    rate: float = 0
    chat_rate: float = 0
    group_rate: float = 0
    jitter: float = 0.05


@dataclass(slots=True)
class Fault:
    """What to do with `times` calls (-1: all), after `skip` of them, instead of the usual.

    error: JSON with `status`, `description` and `parameters`. throttle: 429 with `retry_after`, or without.
    html: a proxy's page with `status`. slow: the usual, `seconds` later. hang: no answer. reset: the
    connection is cut. malformed: broken JSON. garbage: no HTTP. `accept` lets the message arrive first.
    """

    kind: Literal["error", "throttle", "html", "slow", "hang", "reset", "malformed", "garbage"]
    times: int = 1
    skip: int = 0
    chat: ChatKey | None = None
    method: str | None = None
    accept: bool = False
    seconds: float = 0.0
    status: int = 0
    description: str = "Internal Server Error"
    parameters: dict[str, Any] | None = None
    retry_after: int | None = None

    def takes(self, method: str, chat: ChatKey | None) -> bool:
        fits = (self.method or method).lower() == method.lower() and self.chat in (None, chat)
        if not self.times or not fits:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class FakeTelegram:
    """One bot's Bot API server. Port 0 picks a free one."""

    def __init__(self, *, port: int = 0, token: str = TOKEN, limits: Limits | None = None) -> None:
        self.token = token
        self.journal: list[Accepted] = []
        self.refused: list[Refused] = []
        self.limits = limits or Limits()
        self.faults: list[Fault] = []
        self.chats: dict[ChatKey, Chat] = {}
        self.calls = 0
        self.delay_seconds = 0.0
        self._windows: dict[str, deque[float]] = {}
        number = int(token.partition(":")[0])
        self._me = {"id": number, "is_bot": True, "first_name": "Fake", "username": "fake_bot"}
        self._server = TinyHttpServer(self._receive, port)
        self._senders: dict[str, Callable[[str, Params], bytes]] = {
            "sendmessage": self._send_message, "sendphoto": self._send_file, "senddocument": self._send_file,
            "getme": lambda _method, _params: _ok(self._me),
        }  # fmt: skip

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and cut what is connected. May be called twice."""
        await self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._server.connections)

    def chat(self, key: ChatKey) -> Chat:
        """The chat, to be read or changed. Every chat exists until it is `missing`."""
        return self.chats.setdefault(key, Chat())

    def fault(self, kind: Any, **values: Any) -> None:
        """Add a `Fault`. Of several that fit a call, the first one added takes it."""
        self.faults.append(Fault(kind, **values))

    def texts(self, chat: ChatKey | None = None) -> list[str]:
        """What the chat, or everybody, has received, in order."""
        return [sent.text for sent in self.journal if chat is None or sent.chat == chat]

    def reset(self) -> None:
        """As new, with the same address and token."""
        self.journal.clear()
        self.refused.clear()
        self.faults.clear()
        self.chats.clear()
        self._windows.clear()
        self.limits, self.calls, self.delay_seconds = Limits(), 0, 0.0

    def _receive(self, connection: Connection, request: Request) -> bytes | None:
        if request.path.startswith("/control/"):
            return control(self, request)
        self.calls += 1
        method, params = read_call(request)
        usual = partial(self._answer, request.path, method, params)
        fault = self._next_fault(method, chat_key(params.get("chat_id"))) if self.faults else None
        answer = usual() if fault is None else self._end(fault, connection, method, params, usual)
        delay = self.delay_seconds + (fault.seconds if fault else 0.0)
        if answer is None or not delay:
            return answer
        asyncio.get_running_loop().call_later(delay, connection.answer, answer)
        return None

    def _next_fault(self, method: str, chat: ChatKey | None) -> Fault | None:
        return next((fault for fault in self.faults if fault.takes(method, chat)), None)

    def _end(
        self, fault: Fault, connection: Connection, method: str, params: Params, usual: Callable[[], bytes]
    ) -> bytes | None:
        answer = usual() if fault.accept or fault.kind == "slow" else None
        match fault.kind:
            case "slow":
                return answer
            case "hang":
                return None
            case "reset":
                connection.abort()
                return None
            case "malformed":
                return response(200, b'{"ok":true,"result":{"message_id"')
            case "garbage":
                return b"\x00\x01 this is no HTTP\r\n\r\n"
            case "html":
                return response(fault.status or 502, HTML_PAGE, "text/html")
            case "throttle":
                return self._refuse(_throttle(fault.retry_after), method, params)
            case "error":
                error = BotApiError(fault.status or 500, fault.description, **(fault.parameters or {}))
                return self._refuse(error, method, params)

    def _answer(self, path: str, method: str, params: Params) -> bytes:
        try:
            self._check_token(path)
            return self._senders.get(method.lower(), _unknown_method)(method, params)
        except BotApiError as error:
            return self._refuse(error, method, params)

    def _refuse(self, error: BotApiError, method: str, params: Params) -> bytes:
        chat = chat_key(params.get("chat_id"))
        self.refused.append(Refused(time.time(), method, chat, error.status, error.description))
        body: dict[str, Any] = {"ok": False, "error_code": error.status, "description": error.description}
        headers = {}
        if error.parameters:
            body["parameters"] = error.parameters
        if "retry_after" in error.parameters:
            headers["Retry_After"] = str(error.parameters["retry_after"])
        return response(error.status, orjson.dumps(body), **headers)

    def _check_token(self, path: str) -> None:
        head, _, rest = path.removeprefix("/").partition("/")
        if not head.startswith("bot") or not rest:
            raise BotApiError(404, "Not Found")
        token = unquote(head.removeprefix("bot"))
        if not re.fullmatch(r"\d+:[\w-]+", token):
            raise BotApiError(401, "Unauthorized: invalid token specified")
        if token != self.token:
            raise BotApiError(401, "Unauthorized")

    def _send_message(self, method: str, params: Params) -> bytes:
        text, entities = visible(params, "text")
        if not text:
            raise BotApiError(400, "Bad Request: message text is empty")
        if utf16(text) > TEXT_MAX:
            raise BotApiError(400, "Bad Request: message is too long")
        return self._accept(method, params, text, entities)

    def _send_file(self, method: str, params: Params) -> bytes:
        name = method.lower().removeprefix("send")
        file = str(params.get(name, ""))
        if not file:
            raise BotApiError(400, f"Bad Request: there is no {name} in the request")
        if "://" in file and not re.match(r"(https?|attach)://[^/]+", file):
            raise BotApiError(400, "Bad Request: Wrong HTTP URL specified")
        text, entities = visible(params, "caption")
        if utf16(text) > CAPTION_MAX:
            raise BotApiError(400, "Bad Request: message caption is too long")
        return self._accept(method, params, text, entities, file)

    def _place(self, params: Params) -> tuple[ChatKey, Chat, int | None]:
        key = chat_key(params.get("chat_id"))
        if key is None:
            raise BotApiError(400, "Bad Request: chat_id is empty")
        chat = self.chats.get(key)
        if chat is None:
            chat = self.chats[key] = Chat()
        if chat.missing:
            raise BotApiError(400, "Bad Request: chat not found")
        if chat.moved_to is not None:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            raise BotApiError(400, text, migrate_to_chat_id=chat.moved_to)
        if chat.kicked:
            raise BotApiError(403, f"Forbidden: bot was kicked from the {chat_kind(key)} chat")
        if chat.deactivated:
            raise BotApiError(403, "Forbidden: user is deactivated")
        if chat.blocked:
            raise BotApiError(403, "Forbidden: bot was blocked by the user")
        if chat.readonly:
            raise BotApiError(400, "Bad Request: have no rights to send a message")
        return key, chat, _thread(chat, params)

    def _accept(
        self, method: str, params: Params, text: str, entities: list[Entity], file: str | None = None
    ) -> bytes:
        key, chat, thread = self._place(params)
        keyboard = buttons(params)
        self._pace(key)
        chat.last_message_id += 1
        now, number, message_id = time.time(), len(self.journal) + 1, chat.last_message_id
        self.journal.append(
            Accepted(number, now, method, key, message_id, text, thread, entities, file, keyboard)
        )
        message: dict[str, Any] = {
            "message_id": message_id,
            "from": self._me,
            "chat": {"id": chat_id(key), "type": chat_kind(key)},
            "date": int(now),
        }
        if chat.topics is not None:
            message["chat"]["is_forum"] = True
        if thread is not None:
            message |= {"message_thread_id": thread, "is_topic_message": True}
        message |= {"text": text} if file is None else {"caption": text}
        if entities:
            message["entities" if file is None else "caption_entities"] = entities
        return _ok(message)

    def _pace(self, key: ChatKey) -> None:
        limits = self.limits
        if not (limits.rate or limits.chat_rate or limits.group_rate):
            return
        now = time.monotonic()
        windows = [("bot", limits.rate, 1.0), (f"chat {key}", limits.chat_rate, 1.0)]
        if chat_kind(key) != "private":
            windows.append((f"group {key}", limits.group_rate, 60.0))
        used = [_window(self._windows, *window) for window in windows if window[1]]
        wait = max((_wait(times, period - limits.jitter, now) for times, period in used), default=0.0)
        if wait > 0:
            raise _throttle(max(1, math.ceil(wait)))
        for times, _ in used:
            times.append(now)


def _unknown_method(_method: str, _params: Params) -> bytes:
    raise BotApiError(404, "Not Found: method not found")


def _window(
    windows: dict[str, deque[float]], name: str, rate: float, period: float
) -> tuple[deque[float], float]:
    """The times of the last so many messages, and the seconds within which there may be no more of them."""
    count = max(1, math.floor(rate))
    times = windows.get(name)
    if times is None or times.maxlen != count:
        times = windows[name] = deque(times or (), maxlen=count)
    return times, period * count / rate


def _wait(times: deque[float], period: float, now: float) -> float:
    return times[0] + period - now if len(times) == times.maxlen else 0.0


def _throttle(retry_after: int | None) -> BotApiError:
    if retry_after is None:
        return BotApiError(429, "Too Many Requests")
    return BotApiError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)


def _ok(result: Any) -> bytes:
    return response(200, orjson.dumps({"ok": True, "result": result}))


def _thread(chat: Chat, params: Params) -> int | None:
    if not params.get("message_thread_id"):
        return None
    thread = int(params["message_thread_id"])
    state = (chat.topics or {}).get(thread)
    if state is None or thread == 1:
        raise BotApiError(400, "Bad Request: message thread not found")
    if state == "deleted":
        raise BotApiError(400, "Bad Request: TOPIC_DELETED")
    if state == "closed":
        raise BotApiError(400, "Bad Request: TOPIC_CLOSED")
    return thread


async def serve(port: int, token: str, limits: Limits) -> None:
    """Serve until the process ends."""
    async with FakeTelegram(port=port, token=token, limits=limits) as fake:
        print(f"ready {fake.url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake Bot API server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--rate", type=float, default=0, help="messages a second of the bot")
    parser.add_argument("--chat-rate", type=float, default=0, help="messages a second of a chat")
    parser.add_argument("--group-rate", type=float, default=0, help="messages a minute of a group")
    asked = parser.parse_args()
    limits = Limits(asked.rate, asked.chat_rate, asked.group_rate)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(asked.port, asked.token, limits))


if __name__ == "__main__":
    main()
