"""VK's API as a community's bot sees it: messages, uploads, errors inside HTTP 200, consent.

In a test: `async with FakeVk() as vk`, then `vk.base_url`, `vk.messages`, `vk.denied`, `vk.fault(...)`.

Protocol: https://dev.vk.com/api/api-requests and https://dev.vk.com/method/messages.send. A message with a
`random_id` that the same peer has had is not sent again, and answered with the id of the first.
"""

import itertools
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.multipart import Part, read_form
from tests.fakes.provider import FakeProvider, Received

TOKEN = "vk1.a.fake-community-token-for-tests"
GROUP_ID = 77
TEXT_MAX_CHARS = 4_096
ATTACHMENTS_MAX = 10
INLINE_BUTTONS_MAX = 10
INLINE_ROWS_MAX = 6
LABEL_MAX_CHARS = 40
_MENTION = re.compile(r"\[(?:id|club|public)\d+\|([^\]]+)\]")

Form = dict[str, Part]


class VkError(Exception):
    """What the API answers instead of a response."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class VkMessage:
    """A message as the person has it."""

    id: int
    peer_id: int
    text: str
    random_id: int
    attachments: tuple[str, ...] = ()
    buttons: tuple[tuple[str, str], ...] = ()
    at: float = 0.0


@dataclass
class _Peer:
    by_random_id: dict[int, int] = field(default_factory=dict)


class FakeVk(FakeProvider):
    """One community. `denied` peers have not allowed messages; `calls_a_second` (None: any number) is its limit."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[VkMessage] = []
        self.denied: set[int] = set()
        self.missing: set[int] = set()
        self.calls_a_second: int | None = None
        self.files: dict[str, bytes] = {}
        self.file_names: dict[str, str] = {}
        self._uploaded: dict[str, tuple[str, bytes]] = {}
        self._peers: dict[int, _Peer] = {}
        self._ids = itertools.count(1)
        self._recent: deque[float] = deque()

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        form = read_form(raw, request.headers.get("content-type", ""))
        self.journal.append(
            {"path": request.path, "form": {name: _shown(part) for name, part in form.items()}}
        )
        if request.path.startswith("/upload/"):
            return web.json_response(self._upload(request.path.rpartition("/")[2], form))
        try:
            answer: Any = {"response": self._method(request, form, accept=accept)}
        except VkError as error:
            params = [
                {"key": name, "value": part.text} for name, part in form.items() if part.filename is None
            ]
            answer = {
                "error": {"error_code": error.code, "error_msg": error.message, "request_params": params}
            }
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    def _method(self, request: Received, form: Form, *, accept: bool) -> Any:
        self._admit(request, form)
        match request.path.removeprefix("/method/"):
            case "messages.send":
                return self._send(form, accept=accept)
            case "photos.getMessagesUploadServer":
                return {"upload_url": f"{self.base_url}/upload/photo", "album_id": -64, "group_id": GROUP_ID}
            case "docs.getMessagesUploadServer":
                if _text(form, "type") != "doc":
                    raise VkError(100, "One of the parameters specified was missing or invalid: type")
                return {"upload_url": f"{self.base_url}/upload/file"}
            case "photos.saveMessagesPhoto":
                return [self._save(_text(form, "photo"), "photo", "")]
            case "docs.save":
                return {"type": "doc", "doc": self._save(_text(form, "file"), "doc", _text(form, "title"))}
        raise VkError(3, "Unknown method passed")

    def _admit(self, request: Received, form: Form) -> None:
        given = request.headers.get("authorization") or f"Bearer {_text(form, 'access_token')}"
        if given != f"Bearer {TOKEN}":
            raise VkError(5, "User authorization failed: invalid access_token (4).")
        if not re.fullmatch(r"5\.\d+", _text(form, "v")):
            raise VkError(100, "One of the parameters specified was missing or invalid: v is required")
        now = time.monotonic()
        while self._recent and self._recent[0] < now - 1:
            self._recent.popleft()
        if self.calls_a_second is not None and len(self._recent) >= self.calls_a_second:
            raise VkError(6, "Too many requests per second")
        self._recent.append(now)

    def _send(self, form: Form, *, accept: bool) -> int:
        if not re.fullmatch(r"-?\d+", _text(form, "random_id")):
            raise VkError(
                100, "One of the parameters specified was missing or invalid: random_id is required"
            )
        random_id, peer_id = int(_text(form, "random_id")), int(_text(form, "peer_id") or "0")
        if not -(2**31) <= random_id < 2**31:
            raise VkError(
                100, "One of the parameters specified was missing or invalid: random_id not integer"
            )
        text = _text(form, "message")
        attachments = tuple(filter(None, _text(form, "attachment").split(",")))
        self._judge(peer_id, text, attachments)
        buttons = _buttons(_text(form, "keyboard"))
        known = self._peers.setdefault(peer_id, _Peer()).by_random_id
        if random_id and random_id in known:
            return known[random_id]
        message_id = next(self._ids)
        if accept:
            known[random_id] = message_id
            shown = text if _text(form, "disable_mentions") == "1" else _MENTION.sub(r"\1", text)
            self.messages.append(
                VkMessage(message_id, peer_id, shown, random_id, attachments, buttons, time.monotonic())
            )
        return message_id

    def _judge(self, peer_id: int, text: str, attachments: tuple[str, ...]) -> None:
        if peer_id in self.missing:
            raise VkError(100, "One of the parameters specified was missing or invalid: peer_id")
        if peer_id in self.denied:
            raise VkError(901, "Can't send messages for users without permission")
        if not text.strip() and not attachments:
            raise VkError(
                100, "One of the parameters specified was missing or invalid: message is empty or invalid"
            )
        if len(text) > TEXT_MAX_CHARS:
            raise VkError(914, "Message is too long")
        if len(attachments) > ATTACHMENTS_MAX or any(name not in self.files for name in attachments):
            raise VkError(100, "One of the parameters specified was missing or invalid: attachment")

    def _upload(self, kind: str, form: Form) -> dict[str, Any]:
        part = form.get(kind)
        if part is None or part.filename is None or not part.value:
            return {"error": "no_file", "error_descr": "no file"}
        key = f"uploaded-{next(self._ids)}"
        self._uploaded[key] = (part.filename, part.value)
        if kind == "photo":
            return {"server": 1, "photo": key, "hash": "0123456789abcdef"}
        return {"file": key}

    def _save(self, key: str, kind: str, title: str) -> dict[str, Any]:
        if key not in self._uploaded:
            raise VkError(100, f"One of the parameters specified was missing or invalid: {kind} is undefined")
        filename, content = self._uploaded.pop(key)
        file_id = next(self._ids)
        name = f"{kind}{-GROUP_ID}_{file_id}"
        self.files[name] = content
        self.file_names[name] = title or filename
        return {"id": file_id, "owner_id": -GROUP_ID}


def _text(form: Form, name: str) -> str:
    return form[name].text if name in form else ""


def _shown(part: Part) -> str:
    return part.text if part.filename is None else f"{part.filename}: {len(part.value)} bytes"


def _buttons(keyboard: str) -> tuple[tuple[str, str], ...]:
    if not keyboard:
        return ()
    try:
        document = orjson.loads(keyboard)
        rows = document["buttons"]
        buttons = tuple(_button(button["action"]) for row in rows for button in row)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise VkError(911, "Keyboard format is invalid: keyboard is not valid JSON") from error
    if not document.get("inline") or len(rows) > INLINE_ROWS_MAX or len(buttons) > INLINE_BUTTONS_MAX:
        raise VkError(911, "Keyboard format is invalid: too many buttons")
    return buttons


def _button(action: dict[str, str]) -> tuple[str, str]:
    label, link = action["label"], action["link"]
    if action["type"] != "open_link" or not 1 <= len(label) <= LABEL_MAX_CHARS:
        raise VkError(911, "Keyboard format is invalid: label is empty or too long")
    if not re.match(r"https?://", link):
        raise VkError(911, "Keyboard format is invalid: link should be a valid URL")
    return label, link
