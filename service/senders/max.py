"""The `MAX` sender: a bot of the messenger MAX, by its bot API.

An address is a user's id, or `chat:` and a chat's id. The API has no idempotency key, so whatever may have
been accepted is `Unknown`. Text is written as HTML. Unconfirmed: whether the 4000 characters of a text are
counted with its tags (they are here), the `payload` of uploaded files, and a Retry-After beside a 429.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import orjson

from service.sender_settings import MaxSettings
from service.senders.base import (
    AddressError,
    Attachment,
    BaseSender,
    Button,
    Capabilities,
    Gone,
    Halted,
    Limits,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Throttled,
    Unknown,
)
from service.senders.files import File, Files
from service.senders.http import Answer, HttpClient, check_url
from service.senders.markup import clean, max_markup
from service.senders.parts import (
    Failure,
    NotSentError,
    before_the_message,
    composed,
    fetch,
    json_of,
    seconds_of,
    send_parts,
    shown,
    strange,
    titled_text,
    upload,
    with_links,
    written_parts,
)
from service.settings import AttachmentSettings

TIMEOUT_SECONDS = 15.0
TEXT_MAX_CHARS = 4_000
NOT_READY = "attachment.not.ready"
NOT_READY_SECONDS = (1.0, 2.0, 4.0)
ROWS_MAX = 30
BUTTONS_IN_ROW_MAX = 3
BUTTON_TEXT_MAX_CHARS = 128

ADDRESS_HELP = "accepted: a user's id, or chat: and a chat's id"
_ADDRESS = re.compile(r"[1-9][0-9]{0,18}|chat:-?[1-9][0-9]{0,18}")
_TYPES = {"photo": "image", "document": "file"}
_SUSPENDED = re.compile(r"error\.dialog\.(?:suspended|notfound)")
# A plain `not.found` may also mean that MAX_API_URL is wrong: no reason to give up addresses.
_GONE = frozenset({"chat.not.found"})


class MaxSender(BaseSender):
    """Sends formatted text with link buttons, and photos and documents that are uploaded to MAX first."""

    name = "MAX"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_CHARS,
        splits=True,
        buttons=True,
        attachments=frozenset({"photo", "document"}),
    )

    def __init__(
        self,
        settings: MaxSettings,
        attachments: AttachmentSettings,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        not_ready_seconds: Sequence[float] = NOT_READY_SECONDS,
    ) -> None:
        self._not_ready_seconds = not_ready_seconds
        self._bot_name = settings.bot_name
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_address
        self.off_reason = self._why_off(settings)
        self._api = settings.api_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._token = settings.token.get_secret_value() if settings.token else ""
        ca_file = str(settings.ca_file) if settings.ca_file else None
        self._http = HttpClient(timeout_seconds=timeout_seconds, ca_file=ca_file)
        self._files = Files(attachments)

    def check_address(self, address: str) -> str:
        if not _ADDRESS.fullmatch(address):
            raise AddressError(f"is no user or chat of MAX; {ADDRESS_HELP}")
        return address

    def start_url(self, token: str) -> str | None:
        return None if self._bot_name is None else f"https://max.ru/{self._bot_name}?start={token}"

    async def preview(self, message: Message) -> Sequence[str]:
        return [part.text for part in await composed(message, _parts)]

    async def send(self, message: Message) -> Outcome:
        parts = await composed(message, _parts)

        async def send(part: _Part, deadline: float) -> str:
            return await self._send(message.address, part, deadline)

        return await send_parts(parts, message.parts_done, send, timeout_seconds=self._timeout_seconds)

    async def close(self) -> None:
        await self._http.close()
        await self._files.close()

    def _why_off(self, settings: MaxSettings) -> str | None:
        if settings.token is None:
            return "MAX_TOKEN is not set"
        if not re.fullmatch(r"[!-~]+", settings.token.get_secret_value()):
            return "MAX_TOKEN is malformed; accepted: the token as MAX shows it"
        try:
            check_url(settings.api_url)
        except ValueError:
            return "MAX_API_URL is malformed; accepted: https://host"
        if settings.ca_file is not None and not settings.ca_file.is_file():
            return "MAX_CA_FILE is no file; accepted: a PEM file of certificates"
        try:
            self.check_address(settings.default_address or "1")
        except AddressError as error:
            return f"MAX_DEFAULT_ADDRESS {error}"
        return None

    async def _send(self, address: str, part: "_Part", deadline: float) -> str:
        with before_the_message():
            files = await self._upload_all(part.attachments, deadline)
        body = orjson.dumps(
            {
                "text": part.text or None,
                "format": "html",
                "attachments": [*files, *_keyboard(part.buttons)] or None,
            }
        )
        path = f"/messages?{_recipient(address)}"
        for pause in self._not_ready_seconds:
            try:
                return _mid(await self._call(path, body, deadline))
            except NotSentError as error:
                if error.outcome.code != NOT_READY or asyncio.get_running_loop().time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
        return _mid(await self._call(path, body, deadline))

    async def _upload_all(self, attachments: Sequence[Attachment], deadline: float) -> list[dict[str, Any]]:
        files = await fetch(self._files, attachments, deadline)
        return [
            await self._upload(_TYPES[attachment.kind], file, deadline)
            for attachment, file in zip(attachments, files, strict=True)
        ]

    async def _upload(self, kind: str, file: File, deadline: float) -> dict[str, Any]:
        """What `POST /messages` calls the file."""
        match _answer(await self._call(f"/uploads?type={kind}", b"", deadline)):
            case {"url": str(url)}:
                match kind, await upload(self._http, url, "data", file, deadline):
                    case "image", {"photos": dict(photos)} if photos:
                        return {"type": kind, "payload": {"photos": photos}}
                    case _, {"token": str(token)}:
                        return {"type": kind, "payload": {"token": token}}
        raise NotSentError(Retry(reason="MAX's storage did not take the file", code="upload"))

    async def _call(self, path: str, body: bytes, deadline: float) -> Answer:
        headers = {"authorization": self._token, "content-type": "application/json"}
        return await self._http.request(
            "POST", self._api + path, headers=headers, body=body, deadline=deadline
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """What one message of MAX holds; `text` is HTML."""

    text: str
    attachments: Sequence[Attachment] = ()
    buttons: Sequence[Button] = ()


def _parts(message: Message) -> list[_Part]:
    """Texts; files with the last of them; buttons under everything."""
    most = ROWS_MAX * BUTTONS_IN_ROW_MAX
    text = with_links(titled_text(message), message.buttons[most:])
    parts = [_Part(written) for written in written_parts(text, TEXT_MAX_CHARS, max_markup)]
    if message.attachments:
        parts = parts or [_Part("")]
        parts[-1] = replace(parts[-1], attachments=message.attachments)
    if parts and message.buttons:
        parts[-1] = replace(parts[-1], buttons=message.buttons[:most])
    return parts


def _keyboard(buttons: Sequence[Button]) -> list[dict[str, Any]]:
    if not buttons:
        return []
    width = -(-len(buttons) // ROWS_MAX)
    keys = [
        {"type": "link", "text": clean(button.text)[:BUTTON_TEXT_MAX_CHARS], "url": button.url}
        for button in buttons
    ]
    rows = [keys[start : start + width] for start in range(0, len(keys), width)]
    return [{"type": "inline_keyboard", "payload": {"buttons": rows}}]


def _recipient(address: str) -> str:
    chat = address.removeprefix("chat:")
    return f"user_id={address}" if chat == address else f"chat_id={chat}"


def _mid(answer: Answer) -> str:
    match _answer(answer):
        case {"message": {"body": {"mid": str(mid)}}} if mid:
            return mid
    raise NotSentError(Unknown(reason="the answer has no message id", code="answer"))


def _answer(answer: Answer) -> Any:
    """The JSON of a success. Raises `NotSentError`."""
    document = json_of(answer)
    if answer.status == HTTPStatus.OK and isinstance(document, dict):
        return document
    match document:
        case {"code": str(code), "message": str(text)}:
            raise NotSentError(_judge(answer, code, shown(text)))
    raise NotSentError(strange(answer, "MAX", "MAX_API_URL"))


def _judge(answer: Answer, code: str, text: str) -> Failure:
    """What an error of the API means, by its status, code and, for a denied chat, the key in its text."""
    status, code = answer.status, shown(code)
    reason = f"{code}: {text}"
    if status == HTTPStatus.UNAUTHORIZED or code == "verify.token":
        return Halted(reason=f"MAX does not know MAX_TOKEN: {reason}", code=code)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(reason=reason, code=code, retry_after=seconds_of(answer.headers.get("retry-after")))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Retry(reason=reason, code=code)
    if code == NOT_READY:
        return Retry(reason=reason, code=code, scope=Scope.ADDRESS)
    if code in _GONE or (code == "chat.denied" and _SUSPENDED.search(text)):
        return Gone(reason=reason, code=code)
    return Refused(reason=reason, code=code)
