"""A Matrix homeserver, as far as sending goes: a token, rooms, transactions that are not repeated.

In a test: `async with FakeMatrix() as server`, then `server.base_url`, `server.events`, `server.fault(...)`.
A test sends the same to a real homeserver (Synapse).
"""

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web

from tests.fakes.provider import FakeProvider, Received

TOKEN = "syt_matrix_token_for_tests"
ROOM = "!room1:matrix.example.org"
EVENT_MAX_BYTES = 65_536
_SEND = re.compile(r"/_matrix/client/v3/rooms/([^/]+)/send/m\.room\.message/([^/]+)")


@dataclass(frozen=True)
class Event:
    """One message as the room has it."""

    event_id: str
    room: str
    content: dict[str, Any]

    @property
    def text(self) -> str:
        """What a person reads: the formatted body where there is one."""
        if self.content.get("format") != "org.matrix.custom.html":
            return str(self.content["body"])
        reader = _Reader()
        reader.feed(self.content["formatted_body"])
        reader.close()
        return reader.text.replace("\u00a0", " ")


class _Reader(HTMLParser):
    text = ""

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\n", "")

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "br":
            self.text += "\n"


class FakeMatrix(FakeProvider):
    """One homeserver with one account, a member of `rooms`."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.rooms = {ROOM}
        self._transactions: dict[tuple[str, str], str] = {}

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        self.journal.append({"path": request.raw_path, "body": raw.decode("utf-8", "replace")})
        call = _SEND.fullmatch(request.raw_path)
        if call is None:
            return _error(404, "M_UNRECOGNIZED", "Unrecognized request")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(401, "M_UNKNOWN_TOKEN", "Invalid access token passed.", soft_logout=False)
        if request.method != "PUT":
            return _error(405, "M_UNRECOGNIZED", "Unrecognized request")
        room, transaction = unquote(call[1]), call[2]
        if room not in self.rooms:
            return _error(403, "M_FORBIDDEN", f"User @bot:matrix.example.org not in room {room}")
        content = orjson.loads(raw)
        if not isinstance(content.get("body"), str) or "msgtype" not in content:
            return _error(400, "M_BAD_JSON", "no body")
        if len(raw) + 2_000 > EVENT_MAX_BYTES:
            return _error(413, "M_TOO_LARGE", "event too large")
        event_id = self._transactions.get((room, transaction)) or f"$event{len(self.journal)}"
        if accept and (room, transaction) not in self._transactions:
            self._transactions[room, transaction] = event_id
            self.events.append(Event(event_id, room, content))
        return web.json_response({"event_id": event_id})


def _error(status: int, code: str, text: str, **fields: object) -> web.Response:
    return web.json_response({"errcode": code, "error": text, **fields}, status=status)
