"""What senders over HTTP share: messages of several calls, and answers that are not the provider's."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar

import orjson

from service.senders.base import (
    Attachment,
    Button,
    Gone,
    Halted,
    LengthUnit,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from service.senders.files import CODE, File, FileError, Files
from service.senders.http import Answer, HttpClient, NoAnswerError, NotReachedError
from service.senders.markup import RichText, Span, clean, length, read, split
from service.senders.multipart import multipart

READ_IN_THREAD_CHARS = 2_000
SHOWN_CHARS = 300
HINT_MAX_SECONDS = 86_400.0

Part = TypeVar("Part")
Failure = Throttled | Retry | Refused | Gone | Halted | Unknown


@dataclass(frozen=True, slots=True)
class NumberedText:
    """A part that is nothing but text; `number` counts from 0."""

    number: int
    text: str


class NotSentError(Exception):
    """A part was not sent; `outcome` says why."""

    def __init__(self, outcome: Failure) -> None:
        super().__init__(outcome)
        self.outcome = outcome


async def send_parts(
    parts: Sequence[Part],
    done: Sequence[str],
    send: Callable[[Part, float], Awaitable[str]],
    *,
    timeout_seconds: float,
) -> Outcome:
    """Send the parts that follow those `done`, one after the other.

    `send` gets a part and its deadline on the event loop's clock, and returns the provider's id. It raises
    `NotSentError`, or what fetching a file and `HttpClient.request` raise.
    """
    if not parts:
        return Refused(reason="nothing visible remains of the text", code="empty")
    ids = list(done)
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    try:
        for part in parts[len(ids) :]:
            ids.append(await send(part, deadline))  # noqa: PERF401 - those before a failure count
    except (NotSentError, FileError) as error:
        return replace(error.outcome, parts=tuple(ids))
    except NotReachedError as error:
        return Retry(reason=str(error), code="connect", parts=tuple(ids))
    except NoAnswerError as error:
        return Unknown(reason=str(error), code=error.code, parts=tuple(ids))
    return Sent(tuple(ids))


@contextmanager
def before_the_message() -> Iterator[None]:
    """For calls that prepare one, as uploads: without an answer to them it is certainly not sent."""
    try:
        yield
    except NoAnswerError as error:
        raise NotSentError(Retry(reason=f"while preparing: {error}", code=error.code)) from error
    except NotSentError as error:
        if not isinstance(error.outcome, Unknown):
            raise
        reason = f"while preparing: {error.outcome.reason}"
        raise NotSentError(Retry(reason=reason, code=error.outcome.code)) from error


async def fetch(files: Files, attachments: Sequence[Attachment], deadline: float) -> list[File]:
    """The files of a message. Raises `FileError`, and `NotSentError` when they take too long together."""
    try:
        async with asyncio.timeout_at(deadline):
            return await files.fetch(attachments)
    except TimeoutError:
        reason = "its files were not there in time"
        raise NotSentError(Retry(reason=reason, code=CODE, scope=Scope.ADDRESS)) from None


async def upload(http: HttpClient, url: str, field: str, file: File, deadline: float) -> Any:
    """The JSON that a provider's storage answers to a form with the file; None when it is none.

    The address is the provider's own, and gets no token.
    """
    content_type, body = multipart({field: file})
    headers = {"content-type": content_type}
    try:
        return json_of(await http.request("POST", url, headers=headers, body=body, deadline=deadline))
    except ValueError:  # the address is none
        return None


async def composed(message: Message, make: Callable[[Message], list[Part]]) -> list[Part]:
    """`make(message)`, beside the event loop where reading the text takes long."""
    if len(message.body) > READ_IN_THREAD_CHARS:
        return await asyncio.to_thread(make, message)
    return make(message)


def written_parts(
    text: RichText, limit: int, write: Callable[[RichText], str], unit: LengthUnit = "characters"
) -> list[str]:
    """The text as `write` makes it, in parts of at most `limit`. What fits whole, as most does, is written once."""
    if len(text.text) <= limit and length(whole := write(text), unit) <= limit:
        return [whole] if text.visible else []
    return [write(piece) for piece in split(text, limit, unit, write)]


def numbered(texts: Iterable[str]) -> list[NumberedText]:
    """The texts as parts, in their order."""
    return [NumberedText(number, text) for number, text in enumerate(texts)]


def titled_text(message: Message) -> RichText:
    """The body under its title."""
    text = read(message.body, message.format)
    title = clean(message.title).strip()
    return text.under(title) if title else text


def with_links(text: RichText, buttons: Sequence[Button]) -> RichText:
    """The text with a line for each button below it, for channels that have none, or not so many."""
    for number, button in enumerate(buttons):
        gap = "" if not text.text else "\n" if number else "\n\n"
        label = clean(button.text)
        start = len(text.text) + len(gap)
        span = Span(start, start + len(label), "link", button.url)
        text = RichText(f"{text.text}{gap}{label}", (*text.spans, span))
    return text


def files_as_links(message: Message) -> list[Button]:
    """The attachments as links, for channels that show the address of a file and take none."""
    return [
        Button(file.name or file.url.partition("?")[0].rpartition("/")[2] or file.kind, file.url)
        for file in message.attachments
    ]


def json_of(answer: Answer) -> Any:
    """The JSON of an answer; None when it is none."""
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None


def seconds_of(hint: object) -> float | None:
    """A `Retry-After` in seconds, as header (seconds or an HTTP date) or field, a day at most; None: no usable one.

    "At once" is none either: calls that use up no attempt would follow each other without a pause.
    """
    try:
        seconds = float(hint)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = _seconds_until(hint) if isinstance(hint, str) else 0.0
    return min(seconds, HINT_MAX_SECONDS) if seconds > 0 else None


def _seconds_until(date: str) -> float:
    try:
        at = parsedate_to_datetime(date)
        return (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return 0.0


def shown(text: object) -> str:
    """A provider's own words for a reason: bounded and printable."""
    return "".join(char if char.isprintable() else " " for char in str(text)[:SHOWN_CHARS]).strip()


def strange(answer: Answer, provider: str, setting: str) -> Failure:
    """What an answer means that is not the provider's own: somebody between it and us gave it.

    `setting` names the address that may be wrong.
    """
    status, code = answer.status, str(answer.status)
    reason = f"HTTP {status} without {provider}'s answer"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Refused(reason=reason, code=code)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        hint = seconds_of(answer.headers.get("retry-after"))
        return Throttled(reason="too many requests", code=code, retry_after=hint)
    if 300 <= status < 500 or status == HTTPStatus.SERVICE_UNAVAILABLE:  # noqa: PLR2004
        return Retry(reason=f"{reason}; is {setting} right?", code=code)
    return Unknown(reason=reason, code=code if status != HTTPStatus.OK else "answer")
