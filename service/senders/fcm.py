"""The `FCM` sender: pushes through Firebase Cloud Messaging, HTTP v1, in the name of a service account.

An address is a device's registration token, `fid:` and a Firebase installation id (which replaces the token),
`topic:` and a topic's name, or `condition:` and a condition on topics. There is no idempotency key.

Unconfirmed: which bytes count as the payload (notification and data do here), the fields within `apns`,
`webpush` and `android.notification`, and an installation id's form.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson

from service.sender_settings import FcmSettings
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
    Unknown,
)
from service.senders.google_grant import GrantError, Grants, ServiceAccount, read_account
from service.senders.http import Answer, HttpClient, check_url
from service.senders.parts import Failure, json_of, seconds_of, strange
from service.senders.push import Push, outcome_of, previewed, push_of, told, too_long, ttl_seconds

TIMEOUT_SECONDS = 15.0
PAYLOAD_MAX_BYTES = 4_096
TOPIC_PAYLOAD_MAX_BYTES = 2_048
THROTTLED_SECONDS = 60.0
"""The least pause after a 429 that says no time."""
SCOPES = "https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/firebase"
ADDRESS_HELP = "accepted: a registration token, fid:ID, topic:NAME, condition:EXPRESSION"
_ADDRESSES = {
    "fid": re.compile(r"[A-Za-z0-9_-]{10,64}"),
    "topic": re.compile(r"[A-Za-z0-9._~%-]{1,900}"),
    "condition": re.compile(r"[ -~]{1,900}"),
    "token": re.compile(r"[A-Za-z0-9_:-]{10,1000}"),
}
_MANY = frozenset({"topic", "condition"})
_URGENT = frozenset({"urgent", "high"})
_URGENCY = {"urgent": "high", "high": "high", "normal": "normal", "bulk": "low"}
_FCM_ERROR = "google.firebase.fcm.v1.FcmError"
_DEAD_TEXT = "not a valid fcm registration token"
_THROTTLED = frozenset({"QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED"})
_CREDENTIALS = frozenset(
    {"THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR", "UNAUTHENTICATED", "PERMISSION_DENIED"}
)


class FcmSender(BaseSender):
    """Sends a notification with its data to one device, or to a topic."""

    name = "FCM"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=PAYLOAD_MAX_BYTES,
        length_unit="bytes",
        buttons=True,
        attachments=frozenset({"photo"}),
        ordered=False,
        devices=True,
    )

    def __init__(self, settings: FcmSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self._settings = settings
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self._grants: Grants | None = None
        self._url = ""
        try:
            account = _account(settings)
        except ValueError as error:
            self.off_reason = str(error)
        else:
            project = settings.project_id or account.project_id
            self._url = f"{settings.url.rstrip('/')}/v1/projects/{project}/messages:send"
            self._grants = Grants(account, SCOPES, self._http)

    def check_address(self, address: str) -> str:
        kind, value = _target(address)
        if not _ADDRESSES[kind].fullmatch(value):
            raise AddressError(f"leads nowhere in FCM; {ADDRESS_HELP}")
        return address

    def check_device(self, token: str) -> str:
        if _target(token)[0] in _MANY:
            raise AddressError("leads to many devices; accepted: a registration token, fid:ID")
        return self.check_address(token)

    async def preview(self, message: Message) -> Sequence[str]:
        return await previewed(message)

    async def send(self, message: Message) -> Outcome:
        if self._grants is None:
            raise RuntimeError(self.off_reason)
        push = await push_of(message)
        if isinstance(push, Refused):
            return push
        kind, value = _target(message.address)
        document = {kind: value, **self._content(message, push)}
        size = len(orjson.dumps({"notification": document["notification"], "data": document["data"]}))
        most = TOPIC_PAYLOAD_MAX_BYTES if kind in _MANY else PAYLOAD_MAX_BYTES
        if size > most:
            return too_long(size, most)
        try:
            token = await self._grants.token()
            outcome = await self._call(document, token)
            if isinstance(outcome, Halted) and outcome.code == "UNAUTHENTICATED":
                # Google may end a token before its time.
                self._grants.forget(token)
                outcome = await self._call(document, await self._grants.token())
        except GrantError as error:
            return error.outcome
        return outcome

    async def close(self) -> None:
        if self._grants is not None:
            await self._grants.close()
        await self._http.close()

    async def _call(self, document: dict[str, Any], token: str) -> Outcome:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        body = orjson.dumps({"message": document})
        call = self._http.request("POST", self._url, headers=headers, body=body)
        secrets = (token, *(str(document[kind]) for kind in ("token", "fid") if kind in document))
        return await outcome_of(call, lambda answer: _judge(answer, secrets))

    def _content(self, message: Message, push: Push) -> dict[str, Any]:
        """The message without its target."""
        settings = self._settings
        ttl = ttl_seconds(message, settings.ttl_seconds)
        urgent = message.priority in _URGENT
        android: dict[str, Any] = {"ttl": f"{ttl}s", "priority": "HIGH" if urgent else "NORMAL"}
        looks = {"channel_id": settings.channel_id, "icon": settings.icon, "color": settings.color}
        if any(looks.values()):
            android["notification"] = _given(looks)
        apns: dict[str, Any] = {"headers": {"apns-priority": "10" if urgent else "5"}}
        if message.expires_at is not None:
            apns["headers"]["apns-expiration"] = str(int(message.expires_at.timestamp()))
        if push.image is not None:
            apns |= {"payload": {"aps": {"mutable-content": 1}}, "fcm_options": {"image": push.image}}
        webpush: dict[str, Any] = {"headers": {"TTL": str(ttl), "Urgency": _URGENCY[message.priority]}}
        if push.url is not None and push.url.startswith("https://"):
            webpush["fcm_options"] = {"link": push.url}
        return {
            "notification": _given({"title": push.title, "body": push.body, "image": push.image}),
            "data": push.data,
            "android": android,
            "apns": apns,
            "webpush": webpush,
        }


def _account(settings: FcmSettings) -> ServiceAccount:
    """Raises ValueError with why there is none."""
    if settings.key_file is None:
        raise ValueError("FCM_KEY_FILE is not set; Firebase's console makes a key file of a service account")
    try:
        account = read_account(settings.key_file)
    except ValueError as error:
        raise ValueError(f"FCM_KEY_FILE {error}") from None
    if not re.fullmatch(r"[A-Za-z0-9:._-]+", settings.project_id or account.project_id):
        raise ValueError("FCM_PROJECT_ID is malformed; accepted: letters, digits, -")
    try:
        check_url(settings.url)
    except ValueError:
        raise ValueError("FCM_URL is malformed; accepted: https://host") from None
    return account


def _target(address: str) -> tuple[str, str]:
    """The field of the message that says where to, and its value."""
    kind, separator, value = address.partition(":")
    return (kind, value) if separator and kind in _ADDRESSES and kind != "token" else ("token", address)


def _judge(answer: Answer, secrets: Sequence[str]) -> Outcome:
    match json_of(answer):
        case {"name": str(name)} if answer.status == HTTPStatus.OK and name:
            return Sent((name,))
        case {"error": {"status": str(status)} as error} if answer.status != HTTPStatus.OK:
            return _failure(answer, status, error, told(error.get("message", ""), *secrets))
        case dict() if answer.status == HTTPStatus.OK:
            return Unknown(reason="the answer has no message id", code="answer")
    return strange(answer, "FCM", "FCM_URL")


def _failure(answer: Answer, status: str, error: dict[str, Any], text: str) -> Failure:
    """What an error means: by FCM's own code in its details, else by Google's status."""
    details = [detail for detail in error.get("details") or () if isinstance(detail, dict)]
    fcm = next((str(d["errorCode"]) for d in details if "errorCode" in d), None)
    found = fcm or status
    code = found if re.fullmatch(r"[A-Z_]{1,40}", found) else str(answer.status)
    reason = f"FCM answered {answer.status} {code}: {text}"
    hint = seconds_of(answer.headers.get("retry-after"))
    match code:
        case "UNREGISTERED" | "SENDER_ID_MISMATCH":
            return Gone(reason=reason, code=code)
        case "INVALID_ARGUMENT" if _is_about_the_token(details, text):
            return Gone(reason=reason, code=code)
        case _ if code in _CREDENTIALS:
            return Halted(reason=f"FCM does not accept the account of FCM_KEY_FILE: {reason}", code=code)
        case _ if code in _THROTTLED or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return Throttled(reason=reason, code=code, retry_after=hint or THROTTLED_SECONDS)
        case _ if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Retry(reason=reason, code=code, retry_after=hint)
    return Refused(reason=reason, code=code)


def _is_about_the_token(details: Sequence[dict[str, Any]], text: str) -> bool:
    """A malformed token is an invalid argument too, and that is no fault of the message."""
    if not any(str(detail.get("@type", "")).endswith(_FCM_ERROR) for detail in details):
        return False
    violations = [v for detail in details for v in detail.get("fieldViolations") or () if isinstance(v, dict)]
    fields = {str(violation.get("field")) for violation in violations}
    return bool(fields & {"message.token", "message.fid"}) or _DEAD_TEXT in text.lower()


def _given(fields: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
