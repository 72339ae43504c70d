"""What the edges hand in: people, specialists, and messages as opaque references to a chat's own."""

from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks for help: the address of their chat, and what the channel tells about them."""

    chat: str
    name: str
    username: str | None = None
    locale: str = "en"


@dataclass(frozen=True, slots=True)
class Operator:
    """A specialist. `id` is stable: the channel's own user id, or `api:NAME` for a caller of REST."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Media:
    """A file as the channel knows it: `file` can be sent again, `unique` tells whether it is another one."""

    kind: str
    file: str
    unique: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that somebody wrote, or its new form after an edit.

    `text` is the text or the caption, `entities` its formatting in the channel's own form. Messages with
    one `album` belong together. `reply_to` and `thread` are ids in the same chat.
    """

    chat: str
    message: int
    text: str = ""
    entities: tuple[dict[str, Any], ...] = ()
    kind: str = "text"
    media: Media | None = None
    album: str | None = None
    reply_to: int | None = None
    thread: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The notification that a person answers: `delivery` is the one they got, `text` what they read."""

    notification: UUID
    delivery: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A ticket, made now or (`fresh` is False) the one that the person had open."""

    ticket: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who has the ticket now; `mine` says whether the claim won."""

    operator: str
    mine: bool


Wrote = Literal["relayed", "internal", "repeated", "no_ticket", "banned"]
"""What became of a message: relayed, kept to the desk, seen before, of no ticket that is known, or refused."""

Rated = Literal["rated", "open", "refused"]
"""What became of a rating: kept; the ticket is open; or it was rated before, or is somebody else's."""

ClosedBy = Literal["operator", "person", "inactivity", "api"]


@dataclass(slots=True)
class Button:
    """An inline button; `action` comes back when it is pressed."""

    text: str
    action: str


@dataclass(slots=True)
class Words:
    """A text with rows of buttons."""

    text: str
    buttons: list[list[Button]] = field(default_factory=list)
