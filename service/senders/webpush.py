"""The `WEBPUSH` sender: notifications in browsers, by RFC 8030, 8291 and 8292.

An address is a subscription: the push service's URL with the browser's keys behind it,
`https://push.example.com/abc#p256dh=…&auth=…`; the JSON that browsers make of a subscription is taken too.
The URL is whatever a browser said, so private addresses are refused, and what one push service answers says
nothing about the others or the account. A repeat replaces its predecessor as long as that was not delivered (Topic).

Unconfirmed, from the RFCs only: the headers, and which answers beside Mozilla's mean what.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import orjson
from yarl import URL

from service.sender_settings import WebPushSettings
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
from service.senders.egress import web_address
from service.senders.http import Answer, HttpClient
from service.senders.parts import json_of, seconds_of
from service.senders.push import Push, outcome_of, previewed, push_of, told, too_long, ttl_seconds
from service.senders.webpush_keys import TEXT_MAX_BYTES, ReaderKeys, Vapid, b64, encrypt

TIMEOUT_SECONDS = 15.0
ID_MAX_CHARS = 200
ADDRESS_HELP = 'accepted: a subscription, {"endpoint": "https://…", "keys": {"p256dh": "…", "auth": "…"}}'
_SUBJECT = re.compile(r"(mailto:[^\s@]+@[^\s@]+|https://\S+)")
_URGENCY = {"urgent": "high", "high": "high", "normal": "normal", "bulk": "low"}
_ACCEPTED = frozenset({200, 201, 202, 204})
_FROM_BETWEEN = frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser is reached, and how to write so that only it can read."""

    url: URL
    keys: ReaderKeys

    def __str__(self) -> str:
        return f"{self.url}#p256dh={b64(self.keys.public)}&auth={b64(self.keys.auth)}"

    @property
    def origin(self) -> str:
        """The push service."""
        return f"{self.url.scheme}://{self.url.raw_authority}"


class WebPushSender(BaseSender):
    """Sends the text as encrypted JSON, for the page's service worker to show."""

    name = "WEBPUSH"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_BYTES,
        length_unit="bytes",
        buttons=True,
        attachments=frozenset({"photo"}),
        ordered=False,
        one_provider=False,
        devices=True,
    )

    def __init__(self, settings: WebPushSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self._settings = settings
        self._http = HttpClient(timeout_seconds=timeout_seconds, guarded=not settings.allow_private)
        self._vapid: Vapid | None = None
        try:
            self._vapid = _vapid(settings)
        except ValueError as error:
            self.off_reason = str(error)

    def check_address(self, address: str) -> str:
        return str(self._subscription(address))

    async def preview(self, message: Message) -> Sequence[str]:
        return await previewed(message)

    async def send(self, message: Message) -> Outcome:
        if self._vapid is None:
            raise RuntimeError(self.off_reason)
        push = await push_of(message)
        if isinstance(push, Refused):
            return push
        text = orjson.dumps(_shown(push))
        if len(text) > TEXT_MAX_BYTES:
            return too_long(len(text), TEXT_MAX_BYTES)
        try:
            subscription = self._subscription(message.address)
            headers = {
                "authorization": self._vapid.authorization(subscription.origin),
                "content-encoding": "aes128gcm",
                "content-type": "application/octet-stream",
                "ttl": str(ttl_seconds(message, self._settings.ttl_seconds)),
                "urgency": _URGENCY[message.priority],
                "topic": b64(message.notification_id.bytes),
            }
            call = self._http.request(
                "POST", str(subscription.url), headers=headers, body=encrypt(text, subscription.keys)
            )
            return await outcome_of(call, lambda answer: _judge(message, answer))
        except AddressError as error:
            return Refused(reason=f"the address {error}", code="address")

    async def close(self) -> None:
        await self._http.close()

    def _subscription(self, address: str) -> Subscription:
        """Raises `AddressError`."""
        endpoint, p256dh, auth = _fields(address)
        url = web_address(endpoint, allow_private=self._settings.allow_private)
        try:
            keys = ReaderKeys.parse(p256dh, auth)
        except ValueError:
            raise AddressError(f"has no usable keys; {ADDRESS_HELP}") from None
        return Subscription(url, keys)


def _vapid(settings: WebPushSettings) -> Vapid:
    """Raises ValueError with what is missing."""
    make = "`notifications keys webpush` makes one"
    if settings.private_key is None:
        raise ValueError(f"WEBPUSH_PRIVATE_KEY is not set; {make}")
    if settings.subject is None or not _SUBJECT.fullmatch(settings.subject):
        raise ValueError(
            "WEBPUSH_SUBJECT is not set or malformed; accepted: mailto:you@example.com or https://host"
        )
    try:
        return Vapid(settings.private_key.get_secret_value(), settings.subject)
    except ValueError:
        raise ValueError(f"WEBPUSH_PRIVATE_KEY is malformed; {make}") from None


def _fields(address: str) -> tuple[str, str, str]:
    """Endpoint, p256dh and auth of a subscription, as JSON or in one line."""
    if not address.startswith("{"):
        endpoint, _, fragment = address.partition("#")
        keys: Any = dict(parse_qsl(fragment))
        return endpoint, keys.get("p256dh", ""), keys.get("auth", "")
    try:
        match orjson.loads(address):
            case {"endpoint": str(endpoint), "keys": {"p256dh": str(p256dh), "auth": str(auth)}}:
                return endpoint, p256dh, auth
    except orjson.JSONDecodeError:
        pass
    raise AddressError(f"is no subscription; {ADDRESS_HELP}")


def _shown(push: Push) -> dict[str, Any]:
    """What the service worker gets, as JSON."""
    fields = {"title": push.title, "body": push.body, "image": push.image, "data": push.data}
    return {name: value for name, value in fields.items() if value}


def _judge(message: Message, answer: Answer) -> Outcome:
    """What a push service's status means; its words are only for people."""
    if answer.status in _ACCEPTED:
        name = answer.headers.get("location", "").rpartition("/")[2][:ID_MAX_CHARS]
        return Sent((name or str(message.delivery_id),))
    return _failure(answer, message.address)


def _failure(answer: Answer, address: str) -> Outcome:
    status, code = answer.status, str(answer.status)
    document = json_of(answer)
    words = document.get("message", "") if isinstance(document, dict) else ""
    reason = f"the push service answered {status} {told(words, address, address.partition('#')[0])}".strip()
    hint = seconds_of(answer.headers.get("retry-after"))
    match status:
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return Gone(reason=reason, code=code)
        case HTTPStatus.FORBIDDEN:
            return Gone(reason=f"{reason}; the page subscribed with another applicationServerKey", code=code)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Throttled(reason=reason, code=code, retry_after=hint, scope=Scope.ADDRESS)
        case _ if status in _FROM_BETWEEN and document is None:
            return Unknown(reason=reason, code=code)
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Retry(reason=reason, code=code, retry_after=hint)
    return Refused(reason=reason, code=code)
