"""The `WEBHOOK` sender: signed HTTP calls by the Standard Webhooks specification, signature version 1.

An address is the receiver's URL. Requests carry `webhook-id` (the same for every attempt of a
delivery, so that a receiver can drop repeats), `webhook-timestamp` and `webhook-signature`.
"""

import asyncio
import base64
import binascii
import hmac
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import orjson
from pydantic_core import to_json

from service.sender_settings import WebhookSettings
from service.senders.base import (
    AddressError,
    BaseSender,
    Capabilities,
    Gone,
    Limits,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from service.senders.egress import outward_session, web_address

TIMEOUT_SECONDS = 15.0
BODY_TIMEOUT_SECONDS = 2.0
BODY_MAX_BYTES = 4_096
EXCERPT_CHARS = 200
RETRY_AFTER_MIN_SECONDS = 1.0
RETRY_AFTER_MAX_SECONDS = 86_400.0
SECRET_MIN_BYTES = 24
SECRET_MAX_BYTES = 64
SECRETS_MAX = 2

SECRET_HELP = (
    f"accepted: whsec_ and base64 of {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} bytes, or two of them with a space"
    ' between while rotating; make one with: echo "whsec_$(openssl rand -base64 32)"'
)
_TEXT_TYPES = frozenset({"text/plain", "application/json", "application/problem+json"})
_TOO_FAST = frozenset({429, 502, 504})
_OVERLOADED = frozenset({503})
_HEADERS = {
    "content-type": "application/json",
    "accept-encoding": "identity",
    "user-agent": "notifications-service",
}


class WebhookSender(BaseSender):
    """POSTs each notification to its URL. Repeats carry the same `webhook-id`; the receiver drops them."""

    name = "WEBHOOK"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        buttons=True,
        attachments=frozenset({"photo", "document"}),
        ordered=False,
        one_provider=False,
        shared_addresses=True,
        deduplicates=True,
    )

    def __init__(self, settings: WebhookSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_url
        self._allow_private = settings.allow_private
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._secrets: tuple[bytes, ...] = ()
        if settings.secret is None:
            self.off_reason = f"WEBHOOK_SECRET is not set; {SECRET_HELP}"
            return
        try:
            self._secrets = parse_secrets(settings.secret.get_secret_value())
        except ValueError:
            self.off_reason = f"WEBHOOK_SECRET is malformed; {SECRET_HELP}"

    def check_address(self, address: str) -> str:
        return str(web_address(address, allow_private=self._allow_private))

    async def preview(self, message: Message) -> Sequence[str]:
        return [encode(message).decode()]

    async def open(self) -> None:
        if self._session is not None:
            return
        self._session = outward_session(self._timeout_seconds, allow_private=self._allow_private)

    async def send(self, message: Message) -> Outcome:
        if self._session is None:
            raise RuntimeError("open() was not called")
        webhook_id = f"{message.notification_id}-{message.delivery_id}"
        body = encode(message)
        timestamp = int(time.time())
        headers = {
            **_HEADERS,
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secrets, webhook_id, timestamp, body),
        }
        try:
            url = web_address(message.address, allow_private=self._allow_private)
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                hint = retry_after_seconds(response.headers.get("retry-after"), datetime.now(UTC))
                return _judge(webhook_id, response.status, hint, await _excerpt(response))
        except (AddressError, aiohttp.InvalidURL) as error:
            return Refused(reason=f"the address {error}", code="address")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Retry(reason=f"cannot connect: {_cause(error)}", code="connect")
        except TimeoutError:
            return Unknown(reason=f"no answer within {self._timeout_seconds:g} s", code="timeout")
        except (aiohttp.ClientError, OSError) as error:
            return Unknown(reason=f"the connection broke before an answer: {_cause(error)}", code="broken")

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def parse_secrets(value: str) -> tuple[bytes, ...]:
    """The keys in `WEBHOOK_SECRET`, one or two. Raises ValueError, never with the value in its text."""
    secrets = tuple(_parse_secret(part) for part in value.split())
    if not 1 <= len(secrets) <= SECRETS_MAX:
        raise ValueError("wrong number of secrets")
    return secrets


def _parse_secret(part: str) -> bytes:
    encoded = part.removeprefix("whsec_")
    try:
        secret = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if encoded == part or not SECRET_MIN_BYTES <= len(secret) <= SECRET_MAX_BYTES:
        raise ValueError("wrong prefix or length")
    return secret


def encode(message: Message) -> bytes:
    """The request body: `{"type", "timestamp", "data"}` of the specification, as the bytes that are signed."""
    payload = {
        "type": "notification",
        "timestamp": message.created_at or datetime.now(UTC),
        "data": {
            "id": message.notification_id,
            "title": message.title,
            "body": message.body,
            "format": message.format,
            "buttons": message.buttons,
            "attachments": message.attachments,
            "metadata": message.metadata,
        },
    }
    try:
        return orjson.dumps(payload)
    except TypeError:  # a number in the metadata is larger than orjson's 64 bits
        return to_json(payload, inf_nan_mode="null")


def sign(secrets: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1,<base64>` for each secret, separated by spaces.

    Signed is `id.timestamp.body` with HMAC-SHA256; `timestamp` is in unix seconds.
    """
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """A `Retry-After` header (seconds or an HTTP date) as seconds from `now`, within bounds; None: no hint."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            at = parsedate_to_datetime(header)
            seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, RETRY_AFTER_MIN_SECONDS), RETRY_AFTER_MAX_SECONDS)


def _judge(webhook_id: str, status: int, hint: float | None, excerpt: str) -> Outcome:
    """What a status means by the specification's rules; `hint` is from `Retry-After`."""
    code, reason = str(status), f"the receiver answered {status}"
    match status // 100, status:
        case 2, _:
            return Sent((webhook_id,))
        case 3, _:
            return Refused(reason=f"{reason}; redirects are not followed", code=code)
        case 4, 410:
            return Gone(reason=reason + excerpt, code=code)
        case _ if status in _TOO_FAST or (status in _OVERLOADED and hint is not None):
            return Throttled(reason=reason + excerpt, code=code, retry_after=hint, scope=Scope.ADDRESS)
        case (5, _) | (4, 408 | 425):
            return Retry(reason=reason + excerpt, code=code, retry_after=hint)
    return Refused(reason=reason + excerpt, code=code)


async def _excerpt(response: aiohttp.ClientResponse) -> str:
    """The beginning of the answer's text for a reason, with ": " before it; empty for pages and binary."""
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            while chunk := await response.content.read(BODY_MAX_BYTES - len(raw)):
                raw += chunk
    except (aiohttp.ClientError, OSError):
        pass  # the status has said it all; a body that breaks off changes nothing
    if response.content_type not in _TEXT_TYPES or "content-encoding" in response.headers:
        return ""
    shown = "".join(c if c.isprintable() else " " for c in raw.decode("utf-8", "replace")[:EXCERPT_CHARS])
    return f": {shown.strip()}" if shown.strip() else ""


def _cause(error: Exception) -> str:
    """A connection error without the address in it: addresses may carry the receiver's own secrets."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the receiver's certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return type(error).__name__
