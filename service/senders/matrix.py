"""The `MATRIX` sender: events in rooms, through the Client-Server API of the account's homeserver.

An address is the id of a room in which the account is a member. The transaction id of a call is made of the delivery
and the part, so that the homeserver itself drops a repeat. Buttons and attachments are links below the text.
Protocol: https://spec.matrix.org/latest/client-server-api/.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson

from service.sender_settings import MatrixSettings
from service.senders.base import (
    AddressError,
    BaseSender,
    Capabilities,
    Gone,
    Halted,
    Limits,
    Message,
    Outcome,
    Refused,
    Retry,
    Throttled,
    Unknown,
)
from service.senders.http import Answer, HttpClient, check_url
from service.senders.markup import RichText, matrix_html, matrix_text, split
from service.senders.parts import (
    Failure,
    NotSentError,
    composed,
    files_as_links,
    json_of,
    seconds_of,
    send_parts,
    shown,
    strange,
    titled_text,
    with_links,
)

TIMEOUT_SECONDS = 15.0
# An event may have 65536 bytes; the homeserver adds ids, hashes and signatures to the content.
CONTENT_MAX_BYTES = 60_000
ROOM_MAX_BYTES = 255

ADDRESS_HELP = "accepted: a room's id, as !abc:example.org"
_ROOM = re.compile(r"![^\s:\x00-\x1f\x7f-\x9f]+(?::[A-Za-z0-9.-]+(?::[0-9]{1,5})?)?")
_TOKEN = re.compile(r"[!-~]+")
_NO_TOKEN = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"})
_GONE = frozenset({"M_FORBIDDEN", "M_NOT_FOUND"})


class MatrixSender(BaseSender):
    """Sends formatted messages that mention nobody."""

    name = "MATRIX"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=CONTENT_MAX_BYTES,
        length_unit="bytes",
        splits=True,
        buttons=True,
        deduplicates=True,
    )

    def __init__(self, settings: MatrixSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_room
        self._rooms = f"{(settings.url or '').rstrip('/')}/_matrix/client/v3/rooms"
        self._token = settings.token.get_secret_value() if settings.token else ""
        self._type = "m.notice" if settings.notices else "m.text"
        self._timeout_seconds = timeout_seconds
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self.off_reason = self._why_off(settings)

    def check_address(self, address: str) -> str:
        if not _ROOM.fullmatch(address) or len(address.encode()) > ROOM_MAX_BYTES:
            raise AddressError(f"is not a room; {ADDRESS_HELP}")
        return address

    async def preview(self, message: Message) -> Sequence[str]:
        return [part.content["body"] for part in await composed(message, self._parts)]

    async def send(self, message: Message) -> Outcome:
        room = quote(message.address, safe="")

        async def send(part: _Part, deadline: float) -> str:
            transaction = f"{message.notification_id}.{message.delivery_id}.{part.number}"
            url = f"{self._rooms}/{room}/send/m.room.message/{transaction}"
            return await self._put(url, orjson.dumps(part.content), deadline)

        parts = await composed(message, self._parts)
        return await send_parts(parts, message.parts_done, send, timeout_seconds=self._timeout_seconds)

    async def close(self) -> None:
        await self._http.close()

    def _why_off(self, settings: MatrixSettings) -> str | None:
        if not settings.url:
            return "MATRIX_URL is not set"
        if not self._token:
            return "MATRIX_TOKEN is not set"
        if not _TOKEN.fullmatch(self._token):
            return "MATRIX_TOKEN is malformed; accepted: an access token, in ASCII and without spaces"
        try:
            check_url(settings.url)
        except ValueError:
            return "MATRIX_URL is malformed; accepted: https://host"
        try:
            self.check_address(settings.default_room or "!a:b")
        except AddressError as error:
            return f"MATRIX_DEFAULT_ROOM {error}"
        return None

    def _parts(self, message: Message) -> list["_Part"]:
        made: dict[RichText, dict[str, Any]] = {}

        def content(piece: RichText) -> dict[str, Any]:
            if piece not in made:
                made[piece] = self._content(piece)
            return made[piece]

        def written(piece: RichText) -> str:
            return orjson.dumps(content(piece)).decode()

        text = with_links(titled_text(message), (*message.buttons, *files_as_links(message)))
        pieces = split(text, CONTENT_MAX_BYTES, "bytes", written)
        return [_Part(number, content(piece)) for number, piece in enumerate(pieces)]

    def _content(self, text: RichText) -> dict[str, Any]:
        content = {"msgtype": self._type, "body": matrix_text(text), "m.mentions": {}}
        if text.spans:
            content |= {"format": "org.matrix.custom.html", "formatted_body": matrix_html(text)}
        return content

    async def _put(self, url: str, content: bytes, deadline: float) -> str:
        """The id of the event."""
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        answer = await self._http.request("PUT", url, headers=headers, body=content, deadline=deadline)
        match json_of(answer):
            case {"event_id": str(event_id)} if answer.status == HTTPStatus.OK and event_id:
                return event_id
            case {"errcode": str(error), **fields} if answer.status >= HTTPStatus.BAD_REQUEST:
                raise NotSentError(_judge(answer, shown(error), fields))
            case dict() if answer.status == HTTPStatus.OK:
                raise NotSentError(Unknown(reason="the answer has no event_id", code="answer"))
        raise NotSentError(strange(answer, "a homeserver", "MATRIX_URL"))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one call sends; `number` counts from 0."""

    number: int
    content: dict[str, Any]


def _judge(answer: Answer, error: str, fields: Mapping[Any, Any]) -> Failure:
    """What an error means, by its code."""
    reason = shown(fields.get("error", error))
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or error == "M_LIMIT_EXCEEDED":
        return Throttled(reason="too many requests", code=error, retry_after=_hint(answer, fields))
    if error in _NO_TOKEN or answer.status == HTTPStatus.UNAUTHORIZED:
        return Halted(reason=f"the homeserver does not know MATRIX_TOKEN: {reason}", code=error)
    if error in _GONE:
        return Gone(reason=reason, code=error)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Retry(reason=reason, code=error)
    return Refused(reason=reason, code=error)


def _hint(answer: Answer, fields: Mapping[Any, Any]) -> float | None:
    """Seconds to wait: the header's are whole ones, those of the older field exact."""
    milliseconds = seconds_of(fields.get("retry_after_ms"))
    return seconds_of(answer.headers.get("retry-after")) if milliseconds is None else milliseconds / 1_000
