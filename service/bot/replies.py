"""What the bot answers, as values that can be kept until they have left."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from service.support.values import Button

Rows = Sequence[Sequence[Button]]


class Reply(TypedDict, total=False):
    """`say` a message to `chat`; `redraw` or `undress` the `message` there; `toast` an answer to a pressed button."""

    do: Literal["say", "redraw", "undress", "toast"]
    chat: str
    message: int
    query: str
    text: str
    rows: list[list[tuple[str, str]]]


def say(chat: str, text: str, rows: Rows = ()) -> Reply:
    """A new message."""
    return {"do": "say", "chat": chat, "text": text, "rows": _pairs(rows)}


def redraw(chat: str, message: int, text: str, rows: Rows = ()) -> Reply:
    """Another text and other buttons in the place of a message's."""
    return {"do": "redraw", "chat": chat, "message": message, "text": text, "rows": _pairs(rows)}


def undress(chat: str, message: int) -> Reply:
    """A message without its buttons."""
    return {"do": "undress", "chat": chat, "message": message}


def toast(query: str, text: str = "") -> Reply:
    """What whoever pressed a button sees for a moment; the button stops waiting."""
    return {"do": "toast", "query": query, "text": text[:200]}


def _pairs(rows: Rows) -> list[list[tuple[str, str]]]:
    return [[(button.text, button.action) for button in row] for row in rows]
