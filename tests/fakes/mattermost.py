"""A Mattermost server's incoming webhooks.

In a test: `async with FakeMattermost() as server`, then `server.base_url`, `server.posts`, `server.fault(...)`.

Protocol: https://developers.mattermost.com/integrate/webhooks/incoming/. The answer is `ok`; a post has no id.
"""

import itertools
import time
from dataclasses import dataclass

import orjson
from aiohttp import web

from tests.fakes.chat_markup import Shown, mattermost
from tests.fakes.provider import FakeProvider, Received

HOOK = "xen8zudtjp8wpkuh1s1dc7fake"
POST_MAX_CHARS = 16_383


@dataclass(frozen=True)
class MattermostPost:
    """A post in a channel; None: the webhook's own."""

    channel: str | None
    source: str
    at: float

    @property
    def shown(self) -> Shown:
        return mattermost(self.source)


class FakeMattermost(FakeProvider):
    """One server with one webhook, which may be gone; `channels` are those that exist besides its own."""

    def __init__(self) -> None:
        super().__init__()
        self.posts: list[MattermostPost] = []
        self.channels = {"town-square", "@anna"}
        self.hook_deleted = False
        self.disabled = False
        self._ids = itertools.count(1)

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        self.journal.append({"path": request.path, "body": raw.decode("utf-8", "replace")})
        if self.disabled:
            return self._error(
                501, "web.incoming_webhook.disabled.app_error", "Incoming webhooks have been disabled."
            )
        if self.hook_deleted or request.path != f"/hooks/{HOOK}":
            return self._error(400, "web.incoming_webhook.invalid.app_error", "Invalid webhook.")
        try:
            fields = orjson.loads(raw) if request.content_type == "application/json" else None
        except orjson.JSONDecodeError:
            fields = None
        if not isinstance(fields, dict):
            return self._error(400, "web.incoming_webhook.parse.app_error", "Unable to parse incoming data.")
        text, channel = fields.get("text", ""), fields.get("channel")
        if not text.strip():
            return self._error(400, "web.incoming_webhook.text.app_error", "No text specified.")
        if len(text) > POST_MAX_CHARS:
            return self._error(
                400, "web.incoming_webhook.too_long.app_error", "The text is longer than a post may be."
            )
        if channel is not None and channel not in self.channels:
            return self._error(404, "web.incoming_webhook.channel.app_error", "Couldn't find the channel.")
        if accept:
            self.posts.append(MattermostPost(channel, text, time.monotonic()))
        return web.Response(text="ok")

    def _error(self, status: int, error: str, message: str) -> web.Response:
        body = {
            "id": error,
            "message": message,
            "detailed_error": "",
            "request_id": f"request{next(self._ids)}",
            "status_code": status,
        }
        return web.json_response(body, status=status)
