"""Slack: incoming webhooks that answer in words, and chat.postMessage that answers errors inside HTTP 200.

In a test: `async with FakeSlack() as slack`, then `slack.api_url`, `slack.hooks_url`, `slack.hook`, `slack.messages`.

Protocol: https://docs.slack.dev/messaging and https://docs.slack.dev/reference/methods/chat.postMessage.
"""

import itertools
import time
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.chat_markup import Shown, slack
from tests.fakes.provider import FakeProvider, Received

TOKEN = "xoxb-fake-bot-token-for-tests"
HOOK_PATH = "/T0FAKE/B0FAKE/fakeHookSecretForTests24"
TEXT_MAX_CHARS = 40_000


@dataclass(frozen=True)
class SlackMessage:
    """A message in a channel; `channel` is the hook's path where it came by a webhook."""

    ts: str
    channel: str
    source: str
    at: float

    @property
    def shown(self) -> Shown:
        return slack(self.source)


class FakeSlack(FakeProvider):
    """One workspace. What a channel in `states` or the webhook in `hook_state` answers is its error's word."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[SlackMessage] = []
        self.states: dict[str, str] = {}
        self.hook_state: tuple[int, str] | None = None
        self.spacing_seconds: float | None = None
        self._ids = itertools.count(1)
        self._last: dict[str, float] = {}

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/api"

    @property
    def hooks_url(self) -> str:
        return f"{self.base_url}/services"

    @property
    def hook(self) -> str:
        return self.hooks_url + HOOK_PATH

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        self.journal.append({"path": request.path, "body": raw.decode("utf-8", "replace")})
        if request.path.startswith("/services/"):
            return self._hook(request.path.removeprefix("/services"), raw, accept=accept)
        if request.path == "/api/chat.postMessage":
            return self._post_message(request, raw, accept=accept)
        return web.Response(status=404, text="<html>not found</html>", content_type="text/html")

    def _hook(self, path: str, raw: bytes, *, accept: bool) -> web.Response:
        if self.hook_state is not None:
            return web.Response(status=self.hook_state[0], text=self.hook_state[1])
        if path != HOOK_PATH:
            return web.Response(status=404, text="no_service")
        try:
            message = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return web.Response(status=400, text="invalid_payload")
        if not message.get("text", "").strip():
            return web.Response(status=400, text="no_text")
        if self._too_fast(path):
            return web.Response(status=429, text="rate_limited", headers={"Retry-After": "1"})
        self._keep(path, message["text"], accept=accept)
        return web.Response(text="ok")

    def _post_message(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error("invalid_auth")
        message = orjson.loads(raw)
        channel, text = message.get("channel", ""), message.get("text", "")
        if channel in self.states:
            return _error(self.states[channel])
        if not text.strip():
            return _error("no_text")
        if len(text) > TEXT_MAX_CHARS:
            return _error("msg_too_long")
        if self._too_fast(channel):
            return web.json_response(
                {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "1"}
            )
        ts = self._keep(channel, text, accept=accept)
        return _json({"ok": True, "channel": channel, "ts": ts, "message": {"text": text, "type": "message"}})

    def _keep(self, channel: str, text: str, *, accept: bool) -> str:
        ts = f"1790000000.{next(self._ids):06}"
        if accept:
            self._last[channel] = time.monotonic()
            self.messages.append(SlackMessage(ts, channel, text, time.monotonic()))
        return ts

    def _too_fast(self, channel: str) -> bool:
        last = self._last.get(channel)
        return (
            self.spacing_seconds is not None
            and last is not None
            and time.monotonic() < last + self.spacing_seconds
        )


def _error(word: str) -> web.Response:
    return _json({"ok": False, "error": word})


def _json(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")
