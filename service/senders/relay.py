"""Steps of a relayed conversation, as values: what a support desk asks of a sender beside notifications.

They are no part of the public contract. A sender that can do them has the capability `relays`; its ids in
`Sent.parts` are those of the messages made, or of the thread.
"""

from dataclasses import dataclass
from typing import Any, Literal

THREAD_GONE = "thread_gone"
"""The code of `Gone` where the thread is lost and the chat is not."""
THREAD_CLOSED = "thread_closed"
"""The code of `Refused` where the thread takes no messages."""


@dataclass(frozen=True, slots=True)
class Action:
    """An inline button; `action` comes back when somebody presses it."""

    text: str
    action: str


Actions = tuple[tuple[Action, ...], ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """Messages of another chat, sent as the account's own: several are an album.

    A `caption` takes the place of the first one's.
    """

    source: str
    messages: tuple[int, ...]
    caption: str | None = None
    reply_to: int | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """A plain text."""

    text: str
    actions: Actions = ()
    reply_to: int | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """A new form of a message that was sent. `entities` is formatting in the provider's own form.

    `file` is the new media, as the provider knows it, of the kind `kind`.
    """

    message: int
    what: Literal["text", "caption", "media"]
    text: str = ""
    entities: tuple[dict[str, Any], ...] = ()
    kind: str = "text"
    file: str | None = None
    actions: Actions = ()


@dataclass(frozen=True, slots=True)
class File:
    """A document made here."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of the chat is made, opened again or closed."""

    action: Literal["open", "reopen", "close"]
    name: str = ""


Relay = Copy | Say | Edit | File | Thread
