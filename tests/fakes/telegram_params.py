"""What a call of the Bot API asks for: its parameters in every encoding, and their checks."""

import re
import zlib
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tests.fakes.telegram_text import Entity, UnparsableError, parse_html
from tests.fakes.tiny_http import Request

SUPERGROUPS = -1_000_000_000_000
CALLBACK_DATA_MAX_BYTES = 64

Params = dict[str, Any]
ChatKey = int | str
Rows = list[list[dict[str, Any]]]


class BotApiError(Exception):
    """An answer with `ok: false`."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


def bad_request(description: str) -> BotApiError:
    return BotApiError(400, f"Bad Request: {description}")


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


def number(params: Params, name: str) -> int | None:
    """An integer parameter; 0 counts as none."""
    try:
        return int(params.get(name) or 0) or None
    except (TypeError, ValueError):
        raise bad_request(f"{name} is invalid") from None


def flag(params: Params, name: str) -> bool:
    return str(params.get(name) or "").lower() in {"true", "1"}


def structure(params: Params, name: str) -> Any:
    """A value that is JSON in a form, and itself in a JSON body; None where there is none."""
    value = params.get(name)
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value) if value else None
    except orjson.JSONDecodeError:
        raise bad_request(f"can't parse {name} JSON object") from None


def visible(params: Params, name: str) -> tuple[str, list[Entity]]:
    source = str(params.get(name) or "")
    mode = str(params.get("parse_mode") or "").lower()
    if not mode:
        given = structure(params, "entities" if name == "text" else f"{name}_entities")
        return (source, list(given)) if given else (source.strip(), [])
    if mode != "html":
        raise bad_request("unsupported parse_mode")
    try:
        return parse_html(source)
    except UnparsableError as error:
        raise bad_request(f"can't parse entities: {error}") from error


def buttons(params: Params) -> Rows:
    """The rows of an inline keyboard; none for other keyboards."""
    try:
        markup = structure(params, "reply_markup") or {}
        if {"keyboard", "remove_keyboard", "force_reply"} & set(markup):
            return []
        rows = list(markup["inline_keyboard"]) if markup else []
        wrong = next(filter(None, (_wrong_button(button) for row in rows for button in row)), None)
    except (BotApiError, TypeError, KeyError) as error:
        raise bad_request("can't parse reply keyboard markup JSON object") from error
    if wrong:
        raise bad_request(wrong)
    return rows


def _wrong_button(button: dict[str, Any]) -> str | None:
    actions = button.keys() & {"url", "callback_data"}
    if len(actions) != 1:
        raise KeyError
    if not button["text"].strip():
        return "button text is empty"
    if "url" in actions:
        return None if re.match(r"(https?|tg)://", button["url"]) else "BUTTON_URL_INVALID"
    size = len(button["callback_data"].encode())
    return None if 1 <= size <= CALLBACK_DATA_MAX_BYTES else "BUTTON_DATA_INVALID"


def _multipart(body: bytes, content_type: str) -> Params:
    """A part that has a file name also gives `NAME:filename`."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    params: Params = {}
    for part in body.split(b"--" + boundary[1].encode() if boundary else b"\0")[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name, file = re.search(rb'[; ]name="([^"]*)"', head), re.search(rb'filename="([^"]*)"', head)
        if name:
            params[name[1].decode()] = value.removesuffix(b"\r\n").decode(errors="replace")
        if name and file:
            params[f"{name[1].decode()}:filename"] = file[1].decode()
    return params
