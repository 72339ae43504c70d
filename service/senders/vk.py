"""The `VK` sender: messages of a community, by the method messages.send.

An address is a peer's id: a user's id, 2000000000 and the number of a chat, or minus a community's id.
Errors come inside HTTP 200, told apart by their code. VK drops what has a `random_id` that it knows; how long it
remembers is unconfirmed. Text is plain: VK's own styles are in no public schema. Unconfirmed are also the
length at which the server refuses a text (4096 is what clients cut at), the limits of inline keyboards and of
attachments, that a photo needs `photos.saveMessagesPhoto` and a document `docs.save` after their upload, and that flood
control (9) is about one peer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson

from service.sender_settings import VkSettings
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
from service.senders.markup import clean, vk_text
from service.senders.multipart import multipart
from service.senders.parts import (
    Failure,
    NotSentError,
    before_the_message,
    composed,
    fetch,
    json_of,
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
API_VERSION = "5.199"
URLENCODED_MAX_BYTES = 2_048
TEXT_MAX_UNITS = 4_096
ATTACHMENTS_MAX = 10
BUTTONS_MAX = 10
BUTTON_ROWS_MAX = 6
LABEL_MAX_CHARS = 40

ADDRESS_HELP = "accepted: a user's id, 2000000000 and a chat's number, or minus a community's id"
_ADDRESS = re.compile(r"-?[1-9][0-9]{0,14}")

# VK never says for how long: flood control and the limit of hours are left alone for longer by our own choice.
_THROTTLED = {6: None, 9: 60.0, 29: 600.0, 944: 600.0}
_OF_ONE_PEER = frozenset({9})
_TEMPORARY = frozenset({1, 10, 36})
_CREDENTIALS = frozenset({5, 7, 14, 15, 17, 23, 24, 25, 27, 1117})
# Beside messages.send, these are about one method or one peer: the key may lack the right to photos only.
_NO_ACCESS = frozenset({7, 15})
_GONE = frozenset({18, 900, 901, 902, 917, 922, 927, 936, 945, 946, 950, 985, 1012})


class VkSender(BaseSender):
    """Sends plain text with link buttons, and photos and documents that are uploaded to VK first."""

    name = "VK"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_UNITS,
        length_unit="utf-16 units",
        splits=True,
        buttons=True,
        attachments=frozenset({"photo", "document"}),
        deduplicates=True,
    )

    def __init__(
        self,
        settings: VkSettings,
        attachments: AttachmentSettings,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_peer_id
        self.off_reason = self._why_off(settings)
        self._api = settings.api_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        token = settings.token.get_secret_value() if settings.token else ""
        self._authorization = {"authorization": f"Bearer {token}"}
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self._files = Files(attachments)

    def check_address(self, address: str) -> str:
        if not _ADDRESS.fullmatch(address):
            raise AddressError(f"is not a peer's id; {ADDRESS_HELP}")
        return address

    async def preview(self, message: Message) -> Sequence[str]:
        return [part.text for part in await composed(message, _parts)]

    async def send(self, message: Message) -> Outcome:
        parts = await composed(message, _parts)

        async def send(part: _Part, deadline: float) -> str:
            return await self._send(message, part, deadline)

        return await send_parts(parts, message.parts_done, send, timeout_seconds=self._timeout_seconds)

    async def close(self) -> None:
        await self._http.close()
        await self._files.close()

    def _why_off(self, settings: VkSettings) -> str | None:
        if settings.token is None:
            return "VK_TOKEN is not set"
        if not re.fullmatch(r"[!-~]+", settings.token.get_secret_value()):
            return "VK_TOKEN is malformed; accepted: the key as the community's settings show it"
        try:
            check_url(settings.api_url)
        except ValueError:
            return "VK_API_URL is malformed; accepted: https://host"
        try:
            self.check_address(settings.default_peer_id or "1")
        except AddressError as error:
            return f"VK_DEFAULT_PEER_ID {error}"
        return None

    async def _send(self, message: Message, part: "_Part", deadline: float) -> str:
        fields = {
            "peer_id": message.address,
            "random_id": str(random_id(message.notification_id, message.delivery_id, part.number)),
            "message": part.text,
            "disable_mentions": "1",
        }
        if part.attachments:
            with before_the_message():
                fields["attachment"] = await self._upload_all(message.address, part.attachments, deadline)
        if part.buttons:
            fields["keyboard"] = _keyboard(part.buttons)
        message_id = await self._call("messages.send", fields, deadline)
        if not isinstance(message_id, int):
            raise NotSentError(Unknown(reason="the answer has no message id", code="answer"))
        return str(message_id)

    async def _upload_all(self, peer_id: str, attachments: Sequence[Attachment], deadline: float) -> str:
        files = await fetch(self._files, attachments, deadline)
        names = [
            await (self._photo if attachment.kind == "photo" else self._document)(peer_id, file, deadline)
            for attachment, file in zip(attachments, files, strict=True)
        ]
        return ",".join(names)

    async def _photo(self, peer_id: str, file: File, deadline: float) -> str:
        server = await self._call("photos.getMessagesUploadServer", {"peer_id": peer_id}, deadline)
        uploaded = await self._upload(server, "photo", file, deadline, ("server", "photo", "hash"))
        match await self._call("photos.saveMessagesPhoto", uploaded, deadline):
            case [{"owner_id": int(owner), "id": int(photo)}, *_]:
                return f"photo{owner}_{photo}"
        raise _broken_upload()

    async def _document(self, peer_id: str, file: File, deadline: float) -> str:
        server = await self._call(
            "docs.getMessagesUploadServer", {"type": "doc", "peer_id": peer_id}, deadline
        )
        uploaded = await self._upload(server, "file", file, deadline, ("file",))
        match await self._call("docs.save", {**uploaded, "title": file.name}, deadline):
            case {"doc": {"owner_id": int(owner), "id": int(document)}}:
                return f"doc{owner}_{document}"
        raise _broken_upload()

    async def _upload(
        self, server: Any, field: str, file: File, deadline: float, names: Sequence[str]
    ) -> dict[str, str]:
        """What VK's storage says of the file under these names."""
        match server:
            case {"upload_url": str(url)}:
                uploaded = await upload(self._http, url, field, file, deadline)
                if isinstance(uploaded, dict) and uploaded.keys() >= set(names):
                    return {name: str(uploaded[name]) for name in names}
        raise _broken_upload()

    async def _call(self, method: str, fields: Mapping[str, str], deadline: float) -> Any:
        """The response of one method. Raises `NotSentError`, and what `HttpClient.request` raises."""
        content_type, body = _form({**fields, "v": API_VERSION})
        headers = {**self._authorization, "content-type": content_type}
        answer = await self._http.request(
            "POST", f"{self._api}/method/{method}", headers=headers, body=body, deadline=deadline
        )
        return _response(answer, method)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one call of messages.send sends."""

    number: int
    text: str
    attachments: Sequence[Attachment] = ()
    buttons: Sequence[Button] = ()


def _form(fields: Mapping[str, str]) -> tuple[str, bytes]:
    """The Content-Type and body of a call: VK wants multipart where the other form has more than 2 kB."""
    body = urlencode(fields).encode()
    if len(body) > URLENCODED_MAX_BYTES:
        return multipart(fields)
    return "application/x-www-form-urlencoded", body


def random_id(notification_id: UUID, delivery_id: int, part: int) -> int:
    """What VK knows a repeat by: always the same for a part, never 0, in the 32 bits that VK compares.

    Numbered in order it would meet that of an earlier database again, so it is drawn from the ids.
    """
    seed = notification_id.bytes + f"{delivery_id}:{part}".encode()
    return int.from_bytes(blake2b(seed, digest_size=4).digest(), signed=True) or 1


def _parts(message: Message) -> list[_Part]:
    """Texts; files with the last of them, ten to a message; buttons under everything."""
    buttons = list(message.buttons[:BUTTONS_MAX])
    text = with_links(titled_text(message), message.buttons[BUTTONS_MAX:])
    texts = written_parts(text, TEXT_MAX_UNITS, vk_text, "utf-16 units")
    files = list(message.attachments)
    groups = [files[start : start + ATTACHMENTS_MAX] for start in range(0, len(files), ATTACHMENTS_MAX)]
    if not texts and groups:
        texts = [""]
    parts = [_Part(number, text) for number, text in enumerate(texts)]
    if groups:
        parts[-1] = replace(parts[-1], attachments=groups[0])
        parts += [_Part(len(parts) + more, "", group) for more, group in enumerate(groups[1:])]
    if parts and buttons:
        parts[-1] = replace(parts[-1], buttons=buttons)
    return parts


def _keyboard(buttons: Sequence[Button]) -> str:
    width = -(-len(buttons) // BUTTON_ROWS_MAX)
    keys = [
        {"action": {"type": "open_link", "label": _label(button.text), "link": button.url}}
        for button in buttons
    ]
    rows = [keys[start : start + width] for start in range(0, len(keys), width)]
    return orjson.dumps({"inline": True, "buttons": rows}).decode()


def _label(text: str) -> str:
    text = clean(text)
    return text if len(text) <= LABEL_MAX_CHARS else text[: LABEL_MAX_CHARS - 1] + "…"


def _response(answer: Answer, method: str) -> Any:
    match json_of(answer):
        case {"response": response}:
            return response
        case {"error": {"error_code": int(code), **error}}:
            if code in _NO_ACCESS and method != "messages.send":
                reason = f"VK does not let VK_TOKEN use {method}: {shown(error.get('error_msg', ''))}"
                raise NotSentError(Refused(reason=reason, code=str(code)))
            raise NotSentError(judge(code, shown(error.get("error_msg", "no description"))))
    raise NotSentError(strange(answer, "VK", "VK_API_URL"))


def judge(number: int, reason: str) -> Failure:
    """What an error of the API means, by its code."""
    code = str(number)
    if number in _THROTTLED:
        scope = Scope.ADDRESS if number in _OF_ONE_PEER else Scope.ACCOUNT
        return Throttled(reason=reason, code=code, retry_after=_THROTTLED[number], scope=scope)
    if number in _TEMPORARY:
        return Retry(reason=reason, code=code)
    if number in _CREDENTIALS:
        return Halted(reason=f"VK does not let VK_TOKEN in: {reason}", code=code)
    if number in _GONE:
        return Gone(reason=reason, code=code)
    return Refused(reason=reason, code=code)


def _broken_upload() -> NotSentError:
    return NotSentError(Retry(reason="VK's storage did not take the file", code="upload"))
