"""What a call of the Bot API asks for: its parameters in every encoding, and their checks."""

import re
import zlib
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tests.fakes.telegram_text import Entity, UnparsableError, parse_html
from tests.fakes.tiny_http import Request

SUPERGROUPS = -1_000_000_000_000

Params = dict[str, Any]
ChatKey = int | str


class BotApiError(Exception):
    """An answer with `ok: false`."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


def read_call(request: Request) -> tuple[str, Params]:
    """Method name and parameters, from the query and a JSON, urlencoded or multipart body."""
    params: Params = dict(parse_qsl(request.query, keep_blank_values=True))
    encoding = request.headers.get(b"content-type", b"").decode("latin-1")
    if encoding.startswith("application/json"):
        params |= orjson.loads(request.body or b"{}")
    elif encoding.startswith("application/x-www-form-urlencoded"):
        params |= dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    elif encoding.startswith("multipart/form-data"):
        params |= _multipart(request.body, encoding)
    return request.path.rpartition("/")[2], params


def chat_key(value: Any) -> ChatKey | None:
    text = str(value if value is not None else "").strip()
    if not text:
        return None
    return int(text) if re.fullmatch(r"-?\d+", text) else text.lower()


def chat_id(key: ChatKey) -> int:
    return key if isinstance(key, int) else SUPERGROUPS - zlib.crc32(key.encode())


def chat_kind(key: ChatKey) -> str:
    if isinstance(key, str):
        return "channel"
    if key > 0:
        return "private"
    return "supergroup" if key < SUPERGROUPS else "group"


def visible(params: Params, name: str) -> tuple[str, list[Entity]]:
    source = str(params.get(name) or "")
    mode = str(params.get("parse_mode") or "").lower()
    if not mode:
        return source.strip(), []
    if mode != "html":
        raise BotApiError(400, "Bad Request: unsupported parse_mode")
    try:
        return parse_html(source)
    except UnparsableError as error:
        raise BotApiError(400, f"Bad Request: can't parse entities: {error}") from error


def buttons(params: Params) -> list[list[dict[str, str]]]:
    markup = params.get("reply_markup")
    if not markup:
        return []
    try:
        rows = (orjson.loads(markup) if isinstance(markup, str) else markup)["inline_keyboard"]
        faulty = [button for row in rows for button in row if not re.match(r"(https?|tg)://", button["url"])]
        blank = [button for row in rows for button in row if not button["text"].strip()]
    except (ValueError, TypeError, KeyError) as error:
        raise BotApiError(400, "Bad Request: can't parse reply keyboard markup JSON object") from error
    if faulty or blank:
        raise BotApiError(
            400, "Bad Request: BUTTON_URL_INVALID" if faulty else "Bad Request: button text is empty"
        )
    return list(rows)


def _multipart(body: bytes, content_type: str) -> Params:
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    params: Params = {}
    for part in body.split(b"--" + boundary[1].encode() if boundary else b"\0")[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name:
            params[name[1].decode()] = value.removesuffix(b"\r\n").decode(errors="replace")
    return params
