"""MAX's bot API: messages, two-step uploads, its errors, and the updates it posts to a webhook.

In a test: `async with FakeMax() as max_api`, then `max_api.base_url`, `max_api.messages`, `max_api.stopped`,
`max_api.fault(...)`.

Protocol: the schema of the official clients. There is no idempotency key: a repeat is a second message.
"""

import itertools
import re
import time
from collections import deque
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.multipart import read_form
from tests.fakes.provider import FakeProvider, Received

TOKEN = "f9LHodD0cOIfakeMaxTokenForTests_1234567890"
BOT_ID = 9_001
TEXT_MAX_CHARS = 4_000
ROWS_MAX = 30
LINKS_IN_ROW_MAX = 3
BUTTON_TEXT_MAX_CHARS = 128
URL_MAX_CHARS = 2_048
NOT_READY = "Key: errors.process.attachment.file.not.processed"
_TAGS = frozenset(
    ("i", "em", "b", "strong", "del", "s", "ins", "u", "pre", "code", "a", "mark", "h1", "blockquote")
)


class MaxError(Exception):
    """A refused call."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True)
class MaxMessage:
    """A message as the person has it. `text` is what is read, `styles` the tags that took effect."""

    mid: str
    recipient: str
    source: str
    format: str | None
    buttons: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    at: float = 0.0

    @property
    def text(self) -> str:
        return _show(self.source, self.format).text

    @property
    def styles(self) -> tuple[str, ...]:
        return _show(self.source, self.format).styles


@dataclass
class _Upload:
    kind: str
    content: bytes = b""
    filename: str = ""
    not_ready: int = 0


@dataclass(frozen=True)
class _Shown:
    text: str
    styles: tuple[str, ...] = field(default=())


class FakeMax(FakeProvider):
    """One bot. Users in `stopped` have stopped it, those in `unknown` never had a dialog with it.

    A new upload is refused by `POST /messages` as not ready `not_ready` times. `calls_a_second` (None: any
    number) is the bot's limit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[MaxMessage] = []
        self.stopped: set[str] = set()
        self.unknown: set[str] = set()
        self.missing: set[str] = set()
        self.not_ready = 0
        self.calls_a_second: int | None = None
        self.uploads: dict[str, _Upload] = {}
        self._ids = itertools.count(1)
        self._recent: deque[float] = deque()

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        try:
            return web.json_response(self._answer(request, raw, accept=accept), dumps=_dumps)
        except MaxError as error:
            return web.json_response({"code": error.code, "message": error.message}, status=error.status)

    def _answer(self, request: Received, raw: bytes, *, accept: bool) -> Any:
        if request.path.startswith("/storage/"):
            self.journal.append({"path": request.path, "bytes": len(raw)})
            return self._store(request, raw)
        self.journal.append({"path": request.path_qs, "body": raw.decode("utf-8", "replace")})
        self._admit(request)
        match request.method, request.path:
            case "GET", "/me":
                return {"user_id": BOT_ID, "name": "Fake", "is_bot": True}
            case "POST", "/uploads":
                return self._upload(request.query.get("type", ""))
            case "POST", "/messages":
                return self._message(request, raw, accept=accept)
        raise MaxError(404, "not.found", f"Path {request.path} is not recognized")

    def _admit(self, request: Received) -> None:
        if request.headers.get("authorization") != TOKEN:
            raise MaxError(401, "verify.token", "Invalid access_token")
        now = time.monotonic()
        while self._recent and self._recent[0] < now - 1:
            self._recent.popleft()
        if self.calls_a_second is not None and len(self._recent) >= self.calls_a_second:
            raise MaxError(429, "too.many.requests", "Too many requests")
        self._recent.append(now)

    def _upload(self, kind: str) -> dict[str, str]:
        if kind not in ("image", "video", "audio", "file"):
            raise MaxError(400, "proto.payload", "Invalid query parameter: type")
        token = f"up{next(self._ids)}"
        self.uploads[token] = _Upload(kind, not_ready=self.not_ready)
        return {"url": f"{self.base_url}/storage/{kind}/{token}"}

    def _store(self, request: Received, raw: bytes) -> Any:
        *_, kind, token = request.path.split("/")
        part = read_form(raw, request.headers.get("content-type", "")).get("data")
        if part is None or part.filename is None or not part.value:
            raise MaxError(400, "upload.error", "No file in the field data")
        upload = self.uploads[token]
        upload.content, upload.filename = part.value, part.filename
        return {"photos": {"1": {"token": token}}} if kind == "image" else {"fileId": 1, "token": token}

    def _message(self, request: Received, raw: bytes, *, accept: bool) -> dict[str, Any]:
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise MaxError(400, "proto.payload", "Invalid body") from error
        recipient = self._recipient(request)
        text = body.get("text") or ""
        if len(text) > TEXT_MAX_CHARS:
            raise MaxError(400, "proto.payload", "text: size must be between 0 and 4000")
        if body.get("format") not in (None, "html"):
            raise MaxError(400, "proto.payload", f"format: {body['format']} is not read by this fake")
        attachments = body.get("attachments") or []
        if not re.sub("<[^>]*>", "", text).strip() and not attachments:
            raise MaxError(400, "proto.payload", "text or attachments: must not be empty")
        files = tuple(self._file(item) for item in attachments if item["type"] != "inline_keyboard")
        buttons = tuple(
            button for item in attachments if item["type"] == "inline_keyboard" for button in _keyboard(item)
        )
        chat_id, seq = abs(int(recipient.rpartition(":")[2])), next(self._ids)
        mid = f"mid.{chat_id:016x}{seq:016x}"
        if accept:
            self.messages.append(
                MaxMessage(mid, recipient, text, body.get("format"), buttons, files, time.monotonic())
            )
        return {
            "message": {
                "sender": {"user_id": BOT_ID, "is_bot": True},
                "recipient": {"chat_id": chat_id, "chat_type": "dialog"},
                "timestamp": int(time.time() * 1_000),
                "body": {"mid": mid, "seq": seq, "text": text, "attachments": attachments},
            }
        }

    def _recipient(self, request: Received) -> str:
        user, chat = request.query.get("user_id"), request.query.get("chat_id")
        if (user is None) == (chat is None) or not re.fullmatch(r"-?\d+", user or chat or ""):
            raise MaxError(400, "proto.payload", "Either user_id or chat_id has to be a number")
        recipient = f"chat:{chat}" if user is None else user
        if recipient in self.stopped:
            raise MaxError(403, "chat.denied", f"Key: error.dialog.suspended, args: [{recipient}]")
        if recipient in self.unknown:
            raise MaxError(403, "chat.denied", f"Key: error.dialog.notfound, args: [{recipient}]")
        if recipient in self.missing:
            raise MaxError(404, "chat.not.found", f"Chat {recipient} not found")
        return recipient

    def _file(self, item: dict[str, Any]) -> str:
        payload = item["payload"]
        tokens = [photo["token"] for photo in payload.get("photos", {}).values()] or [
            payload.get("token", "")
        ]
        upload = self.uploads.get(tokens[0])
        if upload is None or upload.kind != item["type"]:
            raise MaxError(400, "proto.payload", "attachments: no such token")
        if not upload.content or upload.not_ready:
            upload.not_ready = max(0, upload.not_ready - 1)
            raise MaxError(400, "attachment.not.ready", NOT_READY)
        return f"{upload.kind}:{upload.filename}:{len(upload.content)}"


def update(kind: str, user_id: int, chat_id: int, **more: Any) -> dict[str, Any]:
    """What MAX posts to a webhook, with the bot's secret in `X-Max-Bot-Api-Secret`."""
    return {
        "update_type": kind,
        "timestamp": 1_790_000_000_000,
        "chat_id": chat_id,
        "user": {"user_id": user_id, "name": "Anna", "is_bot": False},
        **more,
    }


class _Reader(HTMLParser):
    """What is left of HTML on the screen: tags that are not known are stripped."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _TAGS:
            link = dict(attrs).get("href")
            self.styles.append(f"{tag} {link}" if tag == "a" else tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _show(text: str, written_in: str | None) -> _Shown:
    if written_in is None:
        return _Shown(text)
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return _Shown("".join(reader.text), tuple(reader.styles))


def _keyboard(item: dict[str, Any]) -> list[tuple[str, str]]:
    rows = item["payload"]["buttons"]
    if not 1 <= len(rows) <= ROWS_MAX or any(not 1 <= len(row) <= LINKS_IN_ROW_MAX for row in rows):
        raise MaxError(400, "proto.payload", "buttons: too many")
    buttons = [button for row in rows for button in row]
    for button in buttons:
        if button["type"] != "link" or not 1 <= len(button["text"]) <= BUTTON_TEXT_MAX_CHARS:
            raise MaxError(400, "proto.payload", "buttons: text size must be between 1 and 128")
        if not re.match(r"https?://", button["url"]) or len(button["url"]) > URL_MAX_CHARS:
            raise MaxError(400, "proto.payload", "buttons: url is invalid")
    return [(button["text"], button["url"]) for button in buttons]


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()
