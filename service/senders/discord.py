"""The `DISCORD` sender: a channel's webhook, called with `wait=true` so that failures are seen.

An address is the webhook's `ID/TOKEN`, with `:THREAD` for a thread; its URL is accepted too. Webhooks have no
idempotency key. Nobody is ever mentioned. Attachments are uploaded, buttons are links below the text.
Unconfirmed: the unit of the 2000 characters (UTF-16 here, the strictest), and what a webhook takes a second.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

import orjson
from yarl import URL

from service.sender_settings import DiscordSettings
from service.senders.base import (
    AddressError,
    Attachment,
    BaseSender,
    Capabilities,
    Gone,
    Limits,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Throttled,
    Unknown,
)
from service.senders.files import Files
from service.senders.http import Answer, HttpClient, check_url
from service.senders.markup import discord_markdown
from service.senders.multipart import multipart
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
    with_links,
    written_parts,
)
from service.settings import AttachmentSettings

TIMEOUT_SECONDS = 15.0
TEXT_MAX_UNITS = 2_000
ATTACHMENTS_MAX = 10
PAUSED_WEBHOOKS_KEPT = 10_000

ADDRESS_HELP = "accepted: a webhook's URL, or its ID/TOKEN, with :THREAD for a thread"
_ADDRESS = re.compile(r"([0-9]{1,20})/([A-Za-z0-9_-]{1,128})(?::([0-9]{1,20}))?")
_HOSTS = frozenset({"discord.com", "discordapp.com", "canary.discord.com", "ptb.discord.com"})
_PATH = re.compile(r"/api/(?:v[0-9]+/)?webhooks/([^/]+/[^/]+)/?")
# Any other name is turned away before the webhook is looked at.
_USER_AGENT = "DiscordBot (notifications-service, 1.0)"

_GONE = frozenset({10003, 10015, 50027})
_THROTTLED = frozenset({20016, 20028, 20029, 40062})
_OVERLOADED = frozenset({130000})


class DiscordSender(BaseSender):
    """Sends Discord's markdown and files to webhooks."""

    name = "DISCORD"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_UNITS,
        length_unit="utf-16 units",
        splits=True,
        buttons=True,
        attachments=frozenset({"photo", "document"}),
        shared_addresses=True,
        secret_addresses=True,
    )

    def __init__(
        self,
        settings: DiscordSettings,
        attachments: AttachmentSettings,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.webhook_url.get_secret_value() if settings.webhook_url else None
        self._api = settings.api_url.rstrip("/")
        self._webhook_rate = settings.webhook_rate
        self._timeout_seconds = timeout_seconds
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self._files = Files(attachments)
        self._used_up: dict[str, float] = {}
        self.off_reason = self._why_off()

    def check_address(self, address: str) -> str:
        found = _ADDRESS.fullmatch(_of_url(address) if "://" in address else address)
        if found is None:
            raise AddressError(f"is no webhook of Discord; {ADDRESS_HELP}")
        return found[0]

    def address_spacing(self, address: str) -> float:
        return 1 / self._webhook_rate if self._webhook_rate else 0.0

    def pacing_key(self, address: str) -> str:
        return address.partition("/")[0]

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

    def _why_off(self) -> str | None:
        if self.default_address is None:
            return "DISCORD_WEBHOOK_URL is not set"
        try:
            check_url(self._api)
        except ValueError:
            return "DISCORD_API_URL is malformed; accepted: https://host/path"
        try:
            self.default_address = self.check_address(self.default_address)
        except AddressError as error:
            return f"DISCORD_WEBHOOK_URL {error}"
        return None

    async def _send(self, address: str, part: "_Part", deadline: float) -> str:
        webhook, _, thread = address.partition(":")
        self._heed(webhook)
        payload = orjson.dumps({"content": part.text, "allowed_mentions": {"parse": []}})
        headers, body = {"content-type": "application/json"}, payload
        if part.attachments:
            with before_the_message():
                files = await fetch(self._files, part.attachments, deadline)
            named = {f"files[{number}]": file for number, file in enumerate(files)}
            headers["content-type"], body = multipart({"payload_json": payload.decode(), **named})
        url = f"{self._api}/webhooks/{webhook}?wait=true" + (f"&thread_id={thread}" if thread else "")
        headers["user-agent"] = _USER_AGENT
        answer = await self._http.request("POST", url, headers=headers, body=body, deadline=deadline)
        self._note(webhook, answer)
        return _message_id(answer)

    def _heed(self, webhook: str) -> None:
        """Make no call that Discord has already said it would throttle: too many of those ban the machine."""
        left = self._used_up.get(webhook, 0.0) - asyncio.get_running_loop().time()
        if left > 0:
            reason = "the webhook's calls are used up for the moment"
            raise NotSentError(
                Throttled(reason=reason, code="ratelimit", retry_after=left, scope=Scope.ADDRESS)
            )

    def _note(self, webhook: str, answer: Answer) -> None:
        self._used_up.pop(webhook, None)
        seconds = seconds_of(answer.headers.get("x-ratelimit-reset-after"))
        if answer.headers.get("x-ratelimit-remaining") == "0" and seconds:
            if len(self._used_up) >= PAUSED_WEBHOOKS_KEPT:
                del self._used_up[next(iter(self._used_up))]
            self._used_up[webhook] = asyncio.get_running_loop().time() + seconds


@dataclass(frozen=True, slots=True)
class _Part:
    """What one call of the webhook sends."""

    text: str
    attachments: Sequence[Attachment] = ()


def _parts(message: Message) -> list[_Part]:
    """Texts; files with the last of them, ten to a message."""
    text = with_links(titled_text(message), message.buttons)
    texts = written_parts(text, TEXT_MAX_UNITS, discord_markdown, "utf-16 units")
    parts = [_Part(written) for written in texts]
    files = message.attachments
    groups = [files[start : start + ATTACHMENTS_MAX] for start in range(0, len(files), ATTACHMENTS_MAX)]
    if groups:
        parts = parts or [_Part("")]
        parts[-1] = replace(parts[-1], attachments=groups[0])
    return [*parts, *(_Part("", group) for group in groups[1:])]


def _of_url(address: str) -> str:
    """`ID/TOKEN:THREAD` of a webhook's URL; empty for any other."""
    try:
        url = URL(address)
    except ValueError:
        return ""
    found = _PATH.fullmatch(url.raw_path)
    if url.scheme != "https" or url.raw_host not in _HOSTS or found is None or url.raw_user is not None:
        return ""
    thread = url.query.get("thread_id")
    return found[1] if thread is None else f"{found[1]}:{thread}"


def _message_id(answer: Answer) -> str:
    document = json_of(answer)
    match document:
        case {"id": str(message_id)} if message_id and answer.status == HTTPStatus.OK:
            return message_id
        case {"retry_after": int() | float() as seconds} if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            hint = seconds_of(seconds)
            raise NotSentError(_throttled(answer, hint, everywhere=document.get("global") is True))
        case {"message": str(text)} if answer.status >= HTTPStatus.BAD_REQUEST:
            raise NotSentError(_judge(answer, document.get("code"), shown(text)))
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise NotSentError(Unknown(reason="the answer has no message id", code="answer"))
    raise NotSentError(strange(answer, "Discord", "DISCORD_API_URL"))


def _throttled(answer: Answer, seconds: float | None, *, everywhere: bool) -> Throttled:
    everywhere = everywhere or answer.headers.get("x-ratelimit-scope") == "global"
    scope = Scope.ACCOUNT if everywhere else Scope.ADDRESS
    return Throttled(reason="too many messages", code=str(answer.status), retry_after=seconds, scope=scope)


def _judge(answer: Answer, number: object, text: str) -> Failure:
    """What an error means, by its code where it has one. A webhook is its own account: its token's end is its own."""
    code = str(number or answer.status)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or number in _THROTTLED:
        hint = seconds_of(answer.headers.get("retry-after"))
        return replace(_throttled(answer, hint, everywhere=False), code=code, reason=text)
    if number in _GONE:
        return Gone(reason=text, code=code)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or number in _OVERLOADED:
        return Retry(reason=text, code=code)
    return Refused(reason=text, code=code)
