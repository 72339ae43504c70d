"""A fake Bot API server with the official server's checks, limits, errors and faults, and people in it.

In a test: `async with FakeTelegram() as tg`, with `tg.url` as TG_API_URL and `TOKEN` as TG_BOT_TOKEN. People
are scripted through `tg.person(7)`, see `tests.fakes.telegram_people`.
As a process: `python -m tests.fakes.telegram --port 8081`, which prints `ready URL`. Beside the Bot API
it then serves the same steering over HTTP, as JSON:

- `GET  /control/counts`: totals, messages by chat, and `duplicates`: messages beyond the first of their chat, text and file
- `GET  /control/journal?after=NUMBER&limit=N`: accepted messages, oldest first; `after` is a `number`
- `GET  /control/refused`: calls that were answered with an error
- `GET  /control/answers`: the answers to buttons, by the query's id
- `GET  /control/updates`: how often each update was handed out, how many wait, and what was pushed
- `POST /control/act`: one step of a person
- `POST /control/faults`: fields of `Fault`; `DELETE` removes all
- `POST /control/limits`: fields of `Limits`; `POST /control/chats`: `id` and fields of `Chat`
- `POST /control/delay`: `{"seconds": 0.05}` before every answer
- `POST /control/reset`: forgets the journal, faults, limits, chats, people and updates
"""

import argparse
import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

import orjson
import uvloop

from tests.fakes import telegram_editing, telegram_sending, telegram_topics
from tests.fakes.telegram_control import control
from tests.fakes.telegram_pacing import Limits, throttle
from tests.fakes.telegram_params import BotApiError, ChatKey, Params, chat_key, read_call
from tests.fakes.telegram_people import Person, new_user
from tests.fakes.telegram_updates import Updates
from tests.fakes.telegram_world import Accepted, Chat, Refused, World
from tests.fakes.tiny_http import Connection, Request, TinyHttpServer, response

__all__ = ["TOKEN", "Accepted", "Chat", "FakeTelegram", "Fault", "Limits", "Refused"]

TOKEN = "123456:fake-token_of-the-tests"
HTML_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
METHODS = telegram_sending.METHODS | telegram_editing.METHODS | telegram_topics.METHODS


@dataclass(slots=True)
class Fault:
    """What to do with `times` calls (-1: all), after `skip` of them, instead of the usual.

    Without a `method` those are meant that name a chat: no polls for updates.

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
        named = chat is not None if self.method is None else self.method.lower() == method.lower()
        if not self.times or not named or self.chat not in (None, chat):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class FakeTelegram(World):
    """One bot's Bot API server. Port 0 picks a free one. `calls` counts those that name a chat."""

    def __init__(self, *, port: int = 0, token: str = TOKEN, limits: Limits | None = None) -> None:
        super().__init__(token, limits)
        self.token = token
        self.faults: list[Fault] = []
        self.calls = 0
        self.delay_seconds = 0.0
        self._server = TinyHttpServer(self._receive, port)
        self.updates = Updates(
            lambda connection, result: connection.answer(_ok(result)),
            lambda connection, error: connection.answer(self._refuse(error, "getUpdates", {})),
            self._call,
        )

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and cut what is connected. May be called twice."""
        await self.updates.stop()
        await self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._server.connections)

    def person(
        self,
        user: int,
        *,
        name: str | None = None,
        username: str | None = None,
        language: str | None = None,
    ) -> Person:
        """A user in their own chat with the bot; known after the first time, changed by what is given."""
        if user not in self.users or name or username or language:
            self.users[user] = self.users.get(user, {}) | new_user(user, name, username, language)
        return Person(self, user, user, None)

    def fault(self, kind: Any, **values: Any) -> None:
        """Add a `Fault`. Of several that fit a call, the first one added takes it."""
        self.faults.append(Fault(kind, **values))

    def reset(self) -> None:
        """As new, with the same address and token."""
        self.clear()
        self.updates.clear()
        self.faults.clear()
        self.limits, self.calls, self.delay_seconds = Limits(), 0, 0.0

    def _receive(self, connection: Connection, request: Request) -> bytes | None:
        if request.path.startswith("/control/"):
            return control(self, request)
        method, params = read_call(request)
        self.calls += "chat_id" in params
        usual = partial(self._answer, connection, request.path, method, params)
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
        self,
        fault: Fault,
        connection: Connection,
        method: str,
        params: Params,
        usual: Callable[[], bytes | None],
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
                return self._refuse(throttle(fault.retry_after), method, params)
            case "error":
                error = BotApiError(fault.status or 500, fault.description, **(fault.parameters or {}))
                return self._refuse(error, method, params)

    def _answer(self, connection: Connection, path: str, method: str, params: Params) -> bytes | None:
        try:
            self._check_token(path)
            if method.lower() == "getupdates":
                updates = self.updates.poll(connection, params)
                return None if updates is None else _ok(updates)
            return _ok(self._call(method, params))
        except BotApiError as error:
            return self._refuse(error, method, params)

    def _call(self, method: str, params: Params) -> Any:
        match method.lower():
            case "setwebhook":
                return self.updates.set_webhook(params)
            case "deletewebhook":
                return self.updates.delete_webhook(params)
            case "getwebhookinfo":
                return self.updates.webhook_info()
            case name if name in METHODS:
                return METHODS[name](self, method, params)
        raise BotApiError(404, "Not Found: method not found")

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


def _ok(result: Any) -> bytes:
    return response(200, orjson.dumps({"ok": True, "result": result}))


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
