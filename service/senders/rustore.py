"""The `RUSTORE` sender: pushes through RuStore (VKPNS), by its native or its universal API.

An address is a device's push token or, with the universal API, `topic:` and a topic's name. Which API is right
depends on the app: one that is built with the universal SDK ignores what comes by the native API. One
token a request, since an answer is about the whole request. Neither API has an idempotency key.

Unconfirmed: the body of a success, the universal API's `code`, answers to topics, and 401.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson

from service.sender_settings import RuStoreSettings
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
    Sent,
    Throttled,
)
from service.senders.http import Answer, HttpClient, check_url
from service.senders.parts import Failure, json_of, seconds_of, strange
from service.senders.push import Push, outcome_of, previewed, push_of, told, too_long, ttl_seconds

TIMEOUT_SECONDS = 15.0
PAYLOAD_MAX_BYTES = 4_096
TOPIC = "topic:"
OPEN_LINK = 1
"""The `click_action_type` of a link; 0, the default, is an intent's action."""
ADDRESS_HELP = "accepted: the push token that RuStore's SDK gave the app"
_TOKEN = re.compile(r"[!-~]{6,1000}")
_TOPIC = re.compile(r"topic:[A-Za-z0-9._~%-]{1,900}")
_DEAD = frozenset({"NOT_FOUND", "UNREGISTERED"})
_INTERNAL = re.compile(r"\binternal\b")


class RuStoreSender(BaseSender):
    """Sends a notification with its data to one device, or to a topic."""

    name = "RUSTORE"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=PAYLOAD_MAX_BYTES,
        length_unit="bytes",
        buttons=True,
        attachments=frozenset({"photo"}),
        ordered=False,
        devices=True,
    )

    def __init__(self, settings: RuStoreSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self._settings = settings
        self._universal = settings.api == "universal"
        self._base = (settings.universal_url if self._universal else settings.url).rstrip("/")
        self._url_setting = "RUSTORE_UNIVERSAL_URL" if self._universal else "RUSTORE_URL"
        self._token = settings.service_token.get_secret_value() if settings.service_token else ""
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self.off_reason = self._why_off()

    def check_address(self, address: str) -> str:
        if address.startswith(TOPIC):
            if not self._universal:
                raise AddressError("is a topic, which RuStore has in its universal API only (RUSTORE_API)")
            if not _TOPIC.fullmatch(address):
                raise AddressError(f"is no topic; accepted: {TOPIC} and letters, digits, -_.~%")
        elif not _TOKEN.fullmatch(address):
            raise AddressError(f"is no push token; {ADDRESS_HELP}")
        return address

    def check_device(self, token: str) -> str:
        if token.startswith(TOPIC):
            raise AddressError(f"leads to many devices; {ADDRESS_HELP}")
        return self.check_address(token)

    async def preview(self, message: Message) -> Sequence[str]:
        return await previewed(message)

    async def send(self, message: Message) -> Outcome:
        push = await push_of(message)
        if isinstance(push, Refused):
            return push
        content = self._content(message, push)
        path, headers, document = self._request(message.address, content)
        # The native API's limit is on the message, the universal one's on the whole request.
        size = len(orjson.dumps(document if self._universal else document["message"]))
        if size > PAYLOAD_MAX_BYTES:
            return too_long(size, PAYLOAD_MAX_BYTES)
        call = self._http.request(
            "POST",
            self._base + path,
            headers={"content-type": "application/json", **headers},
            body=orjson.dumps(document),
        )
        return await outcome_of(call, lambda answer: self._judge(message, answer))

    async def close(self) -> None:
        await self._http.close()

    def _why_off(self) -> str | None:
        if not self._settings.project_id:
            return "RUSTORE_PROJECT_ID is not set; RuStore's console shows it beside the app"
        if not re.fullmatch(r"[\w-]+", self._settings.project_id, re.ASCII):
            return "RUSTORE_PROJECT_ID is malformed; accepted: letters, digits, - and _"
        if not self._token:
            return "RUSTORE_SERVICE_TOKEN is not set; RuStore's console makes one"
        if not re.fullmatch(r"[!-~]+", self._token):
            return "RUSTORE_SERVICE_TOKEN is malformed; accepted: the token as RuStore shows it"
        try:
            check_url(self._base)
        except ValueError:
            return f"{self._url_setting} is malformed; accepted: https://host"
        return None

    def _content(self, message: Message, push: Push) -> dict[str, Any]:
        """The `message` of both APIs, without its token."""
        settings = self._settings
        shown = {"title": push.title, "body": push.body, "image": push.image}
        looks: dict[str, Any] = {
            "icon": settings.icon,
            "color": settings.color,
            "channel_id": settings.channel_id,
        }
        if push.url is not None:
            looks |= {"click_action": push.url, "click_action_type": OPEN_LINK}
        android: dict[str, Any] = {"ttl": f"{ttl_seconds(message, settings.ttl_seconds)}s"}
        if any(value is not None for value in looks.values()):
            android["notification"] = _given({**shown, **looks})
        return {"data": push.data, "notification": _given(shown), "android": android}

    def _request(self, address: str, content: dict[str, Any]) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Path, headers and body."""
        if not self._universal:
            path = f"/v1/projects/{self._settings.project_id}/messages:send"
            return (
                path,
                {"authorization": f"Bearer {self._token}"},
                {"message": {"token": address, **content}},
            )
        account = {"project_id": self._settings.project_id, "auth_token": self._token}
        document = {"providers": {"rustore": account}, "message": content}
        if address.startswith(TOPIC):
            return "/v1/send/topic", {}, {**document, "topic": address.removeprefix(TOPIC)}
        return "/v1/send", {}, {**document, "tokens": {"rustore": [address]}}

    def _judge(self, message: Message, answer: Answer) -> Outcome:
        document = json_of(answer) if answer.body.strip() else {}
        if not isinstance(document, dict):
            return strange(answer, "RuStore", self._url_setting)
        if (
            answer.status == HTTPStatus.OK
            and document.get("status", "OK") == "OK"
            and "error" not in document
        ):
            name = document.get("name")
            return Sent((name if isinstance(name, str) and name else str(message.delivery_id),))
        error = document.get("error", document)
        error = error if isinstance(error, dict) else {}
        status = str(error.get("status", ""))
        texts = error.get("errors") or [error.get("message", "")]
        text = told(
            "; ".join(map(str, texts)) if isinstance(texts, list) else texts, self._token, message.address
        )
        return _judge(answer, status, text) or strange(answer, "RuStore", self._url_setting)


def _judge(answer: Answer, status: str, text: str) -> Failure | None:
    """What an error of either API means, by its HTTP status, its own status, and its text; None: it is neither's."""
    code = status if re.fullmatch(r"[A-Z_]{1,40}", status) else str(answer.status)
    reason = f"RuStore answered {answer.status} {text}".strip()
    words = text.lower()
    if answer.status in {401, 403} or "invalid auth token" in words:
        return Halted(
            reason=f"RuStore does not accept RUSTORE_SERVICE_TOKEN for RUSTORE_PROJECT_ID: {reason}",
            code=code,
        )
    if not status:
        return None
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(reason=reason, code=code, retry_after=seconds_of(answer.headers.get("retry-after")))
    if status in _DEAD or answer.status == HTTPStatus.GONE or _names_token(words):
        return Gone(reason=reason, code=code)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or _INTERNAL.search(words):
        return Retry(reason=reason, code=code)
    return Refused(reason=reason, code=code)


def _names_token(words: str) -> bool:
    return "registration token" in words or "rustore: invalid tokens" in words


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in {None, ""}}
