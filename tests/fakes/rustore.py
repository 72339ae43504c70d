"""RuStore's push APIs: the native and the universal one, with topics, tokens that die, and their errors.

In a test: `async with FakeRuStore() as store`, then `store.base_url`, `store.pushes`, `store.expired`,
`store.malformed`, `store.fault(...)`.

Protocol: https://www.rustore.ru/help/en/sdk/push-notifications/send-push-notifications and the clients that are
in use. There is no idempotency key: a repeat is a second push.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.fakes.provider import FakeProvider, Received

PROJECT = "fake-project-1"
TOKEN = "fake-rustore-service-token-of-the-console"
DEVICE = "fake-device-token:abcdefghijklmnopqrstuvwxyz"
MESSAGE_MAX_BYTES = 4_096


@dataclass(frozen=True)
class RuStorePush:
    """A push as the device has it. `to` is a token, or `topic:` and a topic."""

    to: str
    api: str
    title: str
    body: str
    data: dict[str, str]
    ttl: str
    message: dict[str, Any]

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.body}"


class FakeRuStore(FakeProvider):
    """One server for both APIs. `expired` and `malformed` are tokens that lead nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.pushes: list[RuStorePush] = []
        self.expired: set[str] = set()
        self.malformed: set[str] = set()

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        document = orjson.loads(raw)
        self.journal.append({"path": request.path, "body": document})
        match request.path:
            case "/v1/send":
                return self._universal(request, raw, document, accept=accept)
            case "/v1/send/topic":
                return self._topic(document, accept=accept)
        return self._native(request, document, accept=accept)

    def _native(self, request: Received, document: Any, *, accept: bool) -> web.Response:
        if (
            request.path != f"/v1/projects/{PROJECT}/messages:send"
            or request.headers.get("authorization") != f"Bearer {TOKEN}"
        ):
            return _native_error(403, "PERMISSION_DENIED", "wrong service token")
        message = document["message"]
        token = message["token"]
        if token in self.malformed:
            text = "The registration token is not a valid FCM registration token"
            return _native_error(400, "INVALID_ARGUMENT", text)
        if token in self.expired:
            return _native_error(404, "NOT_FOUND", "Requested entity was not found.")
        if problem := _problem_of(message):
            return _native_error(400, "INVALID_ARGUMENT", problem)
        if accept:
            self._show("native", token, message)
        return web.json_response({})

    def _universal(self, request: Received, raw: bytes, document: Any, *, accept: bool) -> web.Response:
        if "authorization" in request.headers or not _is_account(document):
            return _universal_error(401, "PROVIDER_ERROR", "rustore: invalid auth token")
        (token,) = document["tokens"]["rustore"]
        if token in self.expired | self.malformed:
            return _universal_error(400, "PROVIDER_ERROR", f"rustore: invalid tokens: {token[:6]}")
        problem = _problem_of(document["message"])
        if len(raw) > MESSAGE_MAX_BYTES:
            problem = "request is too large"
        if problem:
            return _universal_error(400, "VALIDATION_ERROR", problem)
        if accept:
            self._show("universal", token, document["message"])
        return web.json_response({"status": "OK"})

    def _topic(self, document: Any, *, accept: bool) -> web.Response:
        if not _is_account(document):
            return _universal_error(401, "PROVIDER_ERROR", "rustore: invalid auth token")
        if problem := _problem_of(document["message"]):
            return _universal_error(400, "VALIDATION_ERROR", problem)
        if accept:
            self._show("universal", f"topic:{document['topic']}", document["message"])
        return web.json_response({"status": "OK"})

    def _show(self, api: str, to: str, message: dict[str, Any]) -> None:
        shown = message.get("notification", {})
        self.pushes.append(
            RuStorePush(
                to, api, shown.get("title", ""), shown.get("body", ""), message.get("data", {}),
                message.get("android", {}).get("ttl", ""), message,
            )
        )  # fmt: skip


def _problem_of(message: dict[str, Any]) -> str | None:
    size = len(orjson.dumps(message))
    if size > MESSAGE_MAX_BYTES:
        return f"message is {size} bytes"
    if not all(isinstance(value, str) for value in message.get("data", {}).values()):
        return "message.data must be strings"
    if not message.get("data") and not message.get("notification"):
        return "message.notification is required"
    unknown = message.keys() - {"token", "data", "notification", "android"}
    unknown |= message.get("android", {}).keys() - {"ttl", "notification"}
    unknown |= message.get("notification", {}).keys() - {"title", "body", "image"}
    return f"unknown fields: {sorted(unknown)}" if unknown else None


def _is_account(document: Any) -> bool:
    return document["providers"] == {"rustore": {"project_id": PROJECT, "auth_token": TOKEN}}


def _native_error(code: int, status: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message, "status": status}, status=code)


def _universal_error(code: int, status: str, *errors: str) -> web.Response:
    return web.json_response({"status": status, "code": code, "errors": list(errors)}, status=code)
