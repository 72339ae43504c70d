"""Discord's webhooks: messages, files, rate limits in headers and bodies.

In a test: `async with FakeDiscord() as discord`, then `discord.api_url`, `discord.messages`, `discord.fault(...)`.

Protocol: https://docs.discord.com/developers/resources/webhook and .../topics/rate-limits. Without `wait=true`
nothing is told: the answer is 204, whatever became of the message.
"""

import itertools
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.chat_markup import Shown, discord
from tests.fakes.multipart import Part, read_form
from tests.fakes.provider import FakeProvider, Received

WEBHOOK_ID, WEBHOOK_TOKEN = "223704706495545344", "3d89bb7572e0fb30d8128367b3b1b44fecd1726de135-_fake"
CONTENT_MAX_UNITS = 2_000
FILES_MAX = 10


class DiscordError(Exception):
    """A refused call."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True)
class DiscordMessage:
    """A message in the webhook's channel or thread. `parses` is whether mentions in it notify anybody."""

    id: str
    thread: str | None
    source: str
    parses: bool = True
    files: tuple[tuple[str, int], ...] = ()
    at: float = 0.0

    @property
    def shown(self) -> Shown:
        return discord(self.source)

    @property
    def pinged(self) -> list[str]:
        """Whom it really notified."""
        return self.shown.mentions if self.parses else []


class FakeDiscord(FakeProvider):
    """One webhook. `bucket` (calls, seconds) is what it takes; None: any number.

    `announces` says whether the bucket's state stands in headers, as it does at Discord.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[DiscordMessage] = []
        self.deleted = False
        self.locked_threads: set[str] = set()
        self.bucket: tuple[int, float] | None = None
        self.announces = True
        self._ids = itertools.count(1_100_000_000_000_000_000)
        self._recent: deque[float] = deque()

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/api/v10"

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        self.journal.append({"path": request.path_qs, "body": raw.decode("utf-8", "replace")})
        if not request.headers.get("user-agent", "").startswith("DiscordBot ("):
            return web.json_response({"code": 40333, "message": "internal network error"}, status=403)
        left = self._left()
        if left is not None and left[0] <= 0:
            seconds = left[1]
            body = {
                "message": "You are being rate limited.",
                "retry_after": round(seconds, 3),
                "global": False,
            }
            headers = {
                "Retry-After": str(int(seconds) + 1),
                "X-RateLimit-Scope": "user",
                **self._headers(0, seconds),
            }
            return web.json_response(body, status=429, headers=headers)
        try:
            message = self._message(request, raw)
        except DiscordError as error:
            return web.json_response({"code": error.code, "message": error.message}, status=error.status)
        headers = {}
        if left is not None:
            self._recent.append(time.monotonic())
            headers = self._headers(left[0] - 1, left[1] or (self.bucket or (0, 0.0))[1])
        if accept:
            self.messages.append(message)
        if request.query.get("wait") != "true":
            return web.Response(status=204, headers=headers)
        body = {"id": message.id, "type": 0, "content": message.source, "channel_id": "1"}
        return web.Response(body=orjson.dumps(body), content_type="application/json", headers=headers)

    def _left(self) -> tuple[int, float] | None:
        """Calls left in the bucket, and seconds until the first one falls out of it."""
        if self.bucket is None:
            return None
        most, seconds = self.bucket
        now = time.monotonic()
        while self._recent and self._recent[0] < now - seconds:
            self._recent.popleft()
        return most - len(self._recent), self._recent[0] + seconds - now if self._recent else 0.0

    def _headers(self, left: int, seconds: float) -> dict[str, str]:
        if self.bucket is None or not self.announces:
            return {}
        return {
            "X-RateLimit-Limit": str(self.bucket[0]),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset-After": f"{seconds:.3f}",
            "X-RateLimit-Bucket": "80c17d2f203122d936070c88c8d10f33",
        }

    def _message(self, request: Received, raw: bytes) -> DiscordMessage:
        webhook_id, _, token = request.path.removeprefix("/api/v10/webhooks/").partition("/")
        if self.deleted or webhook_id != WEBHOOK_ID:
            raise DiscordError(404, 10015, "Unknown Webhook")
        if token != WEBHOOK_TOKEN:
            raise DiscordError(401, 50027, "Invalid Webhook Token")
        thread = request.query.get("thread_id")
        if thread in self.locked_threads:
            raise DiscordError(400, 160005, "The thread is locked")
        payload, files = _read(request, raw)
        content = payload.get("content", "")
        if not content.strip() and not files:
            raise DiscordError(400, 50006, "Cannot send an empty message")
        if len(content.encode("utf-16-le")) // 2 > CONTENT_MAX_UNITS or len(files) > FILES_MAX:
            raise DiscordError(400, 50035, "Invalid Form Body")
        parses = payload.get("allowed_mentions", {"parse": ["everyone", "users", "roles"]})["parse"]
        return DiscordMessage(
            str(next(self._ids)),
            thread,
            content,
            bool(parses),
            tuple((part.filename or "", len(part.value)) for part in files),
            time.monotonic(),
        )


def _read(request: Received, raw: bytes) -> tuple[dict[str, Any], list[Part]]:
    form = read_form(raw, request.headers.get("content-type", ""))
    try:
        payload = orjson.loads(form["payload_json"].value if form else raw)
    except orjson.JSONDecodeError as error:
        raise DiscordError(400, 50109, "The request body contains invalid JSON.") from error
    files = [part for name, part in form.items() if name.startswith("files[")]
    return payload, files
