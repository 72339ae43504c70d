"""Telegram's JSON, read so that no character of one person's holds up the others."""

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_ID_BITS = 63


def read_json(body: bytes) -> Any:
    r"""JSON with U+FFFD for what PostgreSQL's text cannot hold: NUL, and halves of characters.

    An app may cut an emoji in two, and Telegram writes the half as `"\ud83d"`, which orjson refuses. Raises
    ValueError for what is no JSON, RecursionError for what is nested too deeply.
    """
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = json.loads(body.decode(errors="replace"))
    return _clean(given)


def is_update(value: object) -> bool:
    """Whether it can be stored, under an id of its own."""
    number = value.get("update_id") if isinstance(value, Mapping) else None
    return isinstance(number, int) and not isinstance(number, bool) and not number >> _ID_BITS


def _clean(value: Any) -> Any:
    """The same lengths, in characters."""
    if isinstance(value, str):
        return value if value.isascii() and "\0" not in value else _NO_TEXT.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
