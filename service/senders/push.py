"""What senders of push messages share: what a push shows and carries, its life, and the one call it takes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from service.senders.base import Button, Message, Outcome, Refused, Retry, Unknown
from service.senders.http import Answer, NoAnswerError, NotReachedError
from service.senders.markup import clean, plain_text, read
from service.senders.parts import composed, shown, with_links

TTL_MAX_SECONDS = 4 * 7 * 24 * 3600
HIDDEN = "…"


@dataclass(frozen=True, slots=True)
class Push:
    """A push as plain text. `url` is what a tap opens, `image` a picture's address, `data` what the app gets."""

    title: str
    body: str
    url: str | None
    image: str | None
    data: dict[str, str]


async def push_of(message: Message) -> Push | Refused:
    """The push that says this."""
    (push,) = await composed(message, lambda told: [_push(told)])
    if not f"{push.title}{push.body}".strip():
        return Refused(reason="nothing visible remains of the text", code="empty")
    return push


async def previewed(message: Message) -> list[str]:
    """What its reader sees."""
    push = await push_of(message)
    return [] if isinstance(push, Refused) else ["\n\n".join(filter(None, (push.title, push.body)))]


def _push(message: Message) -> Push:
    files = [file for file in message.attachments if file.kind == "document"]
    text = with_links(
        read(message.body, message.format), [Button(file.name or file.kind, file.url) for file in files]
    )
    # What a tap opens is never the link by which its reader leaves.
    opened = [button.url for button in message.buttons if button.url != message.unsubscribe_url]
    images = [file.url for file in message.attachments if file.kind == "photo"]
    url = opened[0] if opened else None
    data = {
        "notification_id": str(message.notification_id),
        "url": url,
        "buttons": _json([{"text": clean(button.text), "url": button.url} for button in message.buttons]),
        "metadata": _json(message.metadata),
    }
    return Push(
        title=clean(message.title).strip(),
        body=plain_text(text),
        url=url,
        image=images[0] if images else None,
        data={name: value for name, value in data.items() if value is not None},
    )


def _json(value: object) -> str | None:
    return orjson.dumps(value, default=str).decode() if value else None


def ttl_seconds(message: Message, usual: int, now: datetime | None = None) -> int:
    """How long a push that cannot be shown at once is kept: until the message expires, else `usual`; 1 at least."""
    if message.expires_at is None:
        return usual
    left = (message.expires_at - (now or datetime.now(UTC))).total_seconds()
    return min(max(int(left), 1), TTL_MAX_SECONDS)


async def outcome_of(call: Awaitable[Answer], judge: Callable[[Answer], Outcome]) -> Outcome:
    """What became of the one call that a push takes."""
    try:
        return judge(await call)
    except NotReachedError as error:
        return Retry(reason=str(error), code="connect")
    except NoAnswerError as error:
        return Unknown(reason=str(error), code=error.code)


def too_long(size: int, most: int) -> Refused:
    return Refused(reason=f"is {size} bytes as a push; accepted: at most {most}", code="too_long")


def told(text: object, *secrets: str) -> str:
    """A provider's own words for a reason, without what nobody may read there."""
    words = str(text)
    for secret in filter(None, secrets):
        words = words.replace(secret, HIDDEN)
    return shown(words)
