"""The engine's values: what a notification says, a delivery in hand, and what became of it.

Nothing but a `Job` is changed once it is made. What is made for every message is not frozen all the same, here and
elsewhere: the guard makes setting a field several times as slow, 3 % of all that a message costs.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from service.contract import NotificationRequest, Priority, Target
from service.senders.base import Attachment, Button, Message, TextFormat

# These have columns of their own; the rest of a request is the notification's content.
_COLUMNS = {"id", "to", "sender", "send_at", "expires_at"}

LASTING = "mailing:"
"""How the source of a notification begins that stays until whoever made it removes it, whatever its deliveries do."""


@dataclass(slots=True)
class Content:
    """What a notification says, as all its deliveries share it.

    With a `template_version` title, body and format come from it when the message is sent. `relay` is a step
    of a conversation that somebody above the engine knows how to make.
    """

    title: str
    body: str
    format: TextFormat
    buttons: tuple[Button, ...]
    attachments: tuple[Attachment, ...]
    category: str | None
    metadata: dict[str, Any]
    template_version: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    relay: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom a delivery is: their language and zone, and the hours in which they want to be left alone.

    `quiet` is as `22:00-08:00`, several with commas. `recipient_id` and `recipient` (the producer's id) are None
    where it is nobody that we know.
    """

    recipient_id: int | None
    recipient: str | None
    locale: str
    zone: str
    quiet: str | None = None


def dump_content(request: NotificationRequest, template_version: int | None = None) -> str:
    """The JSON that `notification.content` keeps; defaults are left out."""
    stored = request.model_dump_json(exclude=_COLUMNS, exclude_defaults=True)
    if template_version is None and not isinstance(request.to, Target):
        return stored
    extra = {"recipient": request.recipient, "topic": request.topic, "template_version": template_version}
    return orjson.dumps(
        orjson.loads(stored) | {key: value for key, value in extra.items() if value is not None}
    ).decode()


def content_of(request: NotificationRequest, template_version: int | None = None) -> Content:
    return Content(
        title=request.title,
        body=request.body,
        format=request.format,
        buttons=tuple(Button(b.text, b.url) for b in request.buttons),
        attachments=tuple(Attachment(a.kind, a.url, a.name) for a in request.attachments),
        category=request.category,
        metadata=request.metadata,
        template_version=template_version,
        params=request.params,
    )


def load_content(stored: str | bytes) -> Content:
    """The reverse of `dump_content`."""
    raw = orjson.loads(stored)
    return Content(
        title=raw.get("title", ""),
        body=raw.get("body", ""),
        format=raw.get("format", "plain"),
        buttons=tuple(Button(**button) for button in raw.get("buttons", ())),
        attachments=tuple(Attachment(**attachment) for attachment in raw.get("attachments", ())),
        category=raw.get("category"),
        metadata=raw.get("metadata", {}),
        template_version=raw.get("template_version"),
        params=raw.get("params", {}),
        relay=raw.get("relay"),
    )


@dataclass(slots=True)
class Job:
    """A delivery leased to this process. `lease_ends` and `slot` are on the event loop's clock, seconds;
    `slot` is the moment pacing planned for it. `throttled_at` is when the provider began to throttle it, and
    has done nothing else since.
    """

    id: int
    notification_id: UUID
    request_id: str | None
    sender: str
    address: str
    lane: int
    content: Content
    created_at: datetime
    expires_at: datetime | None
    hold_unknown: bool
    spacing: float
    pacing_key: str
    attempt: int
    parts_done: tuple[str, ...]
    lease_ends: float
    slot: float = 0.0
    reader: Reader | None = None
    position: int = 0
    escalates: bool = False
    throttled_at: datetime | None = None

    def throttled_seconds(self, now: datetime) -> float:
        """For how long it has been throttled."""
        return 0.0 if self.throttled_at is None else (now - self.throttled_at).total_seconds()

    def message(self) -> Message:
        """This delivery as its sender sees it."""
        content = self.content
        return Message(
            notification_id=self.notification_id,
            delivery_id=self.id,
            address=self.address,
            title=content.title,
            body=content.body,
            format=content.format,
            buttons=content.buttons,
            attachments=content.attachments,
            metadata=content.metadata,
            created_at=self.created_at,
            attempt=self.attempt + 1,
            parts_done=self.parts_done,
            priority=Priority.of_lane(self.lane).value,
            expires_at=self.expires_at,
        )


@dataclass(slots=True)
class Verdict:
    """What an outcome means for a delivery: its next state and what is said about it.

    `delay` (seconds) is set when it goes back into the queue. `event` is the event type to publish
    and log; None: nothing happened that anybody has to know (a lease given back unused).
    """

    status: str
    event: str | None
    attempt: int
    parts: tuple[str, ...] = ()
    delay: float = 0.0
    address: str | None = None
    kind: str | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class Settlement:
    """A job and its verdict, waiting for their group commit."""

    job: Job
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing may leave through this bucket for so many seconds."""

    bucket: str
    seconds: float


def account_bucket(sender: str) -> str:
    """The pacing bucket of everything a sender sends."""
    return f"account:{sender}"


def address_bucket(sender: str, pacing_key: str) -> str:
    """The pacing bucket of one address, or of those that share a key."""
    return f"address:{sender}:{pacing_key}"
