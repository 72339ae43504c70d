"""Firebase Cloud Messaging, HTTP v1: the grant of access tokens by a signed JWT, messages, tokens that die.

In a test: `async with FakeFcm() as fcm`, then `fcm.key_file(folder)`, `fcm.base_url`, `fcm.pushes`,
`fcm.unregistered`, `fcm.fault(...)`, `fcm.grant_fault(...)`.

Protocol: the discovery document of fcm v1, and the errors that Firebase documents. Tokens are checked with PyJWT.
"""

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.fakes.provider import FakeProvider, Fault, Received

PROJECT = "fake-project"
EMAIL = "sender@fake-project.iam.gserviceaccount.com"
KEY_ID = "0123456789abcdef"
DEVICE = "fake_device:APA91bFakeRegistrationTokenForTests"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TARGETS = {"fid", "token", "topic", "condition"}
FIELDS = TARGETS | {"notification", "data", "android", "apns", "webpush", "fcm_options"}
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


@dataclass(frozen=True)
class FcmPush:
    """A push as the device or topic has it: `to` is a token, or as `topic:news`."""

    to: str
    title: str
    body: str
    message: dict[str, Any]

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.body}"


class FakeFcm(FakeProvider):
    """One server for tokens and messages. `grants` counts tokens; one lives `life_seconds` by its own saying."""

    def __init__(self, *, life_seconds: int = 3_600) -> None:
        super().__init__()
        self.pushes: list[FcmPush] = []
        self.unregistered: set[str] = set()
        self.malformed: set[str] = set()
        self.elsewhere: set[str] = set()
        self.grants = 0
        self.life_seconds = life_seconds
        self._tokens: set[str] = set()
        self._grant_faults: deque[Fault] = deque()
        self._ids = itertools.count(1)

    def key_file(self, folder: Path) -> Path:
        """Write the service account's key; its path."""
        path = folder / "fcm-key.json"
        fields = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": KEY_ID,
            "private_key": pem(),
            "client_email": EMAIL,
            "token_uri": f"{self.base_url}/token",
        }
        path.write_bytes(orjson.dumps(fields))
        return path

    def grant_fault(self, fault: Fault, times: int = 1) -> None:
        """The next calls for a token end so."""
        self._grant_faults.extend([fault] * times)

    def revoke(self) -> None:
        """Every token given so far is worth nothing."""
        self._tokens.clear()

    async def _receive(self, request: Received) -> web.Response | None:
        if request.path != "/token":
            return await super()._receive(request)
        fault = self._grant_faults.popleft() if self._grant_faults else Fault()
        answer = self._grant(await request.read(), accept=fault.accepts)
        await asyncio.sleep(fault.delay_seconds)
        return await self._end(request, fault, answer)

    def _grant(self, raw: bytes, *, accept: bool) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(raw.decode()).items()}
        self.journal.append({"path": "/token", "form": form})
        try:
            claims = jwt.decode(
                form["assertion"],
                _key().public_key(),
                algorithms=["RS256"],
                audience=f"{self.base_url}/token",
            )
            good = form["grant_type"] == GRANT and claims["iss"] == EMAIL and "scope" in claims
            good &= 0 < claims["exp"] - claims["iat"] <= 3_600
        except (jwt.PyJWTError, KeyError):
            good = False
        if not good:
            return web.json_response({"error": "invalid_grant", "error_description": "Bad JWT"}, status=400)
        token = f"ya29.fake-access-token-{self.grants}"
        if accept:
            self.grants += 1
            self._tokens.add(token)
        return web.json_response(
            {"access_token": token, "expires_in": self.life_seconds, "token_type": "Bearer"}
        )

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        document = orjson.loads(raw)
        self.journal.append({"path": request.path, "body": document})
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return failure(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if request.path != f"/v1/projects/{PROJECT}/messages:send":
            return failure(403, "PERMISSION_DENIED", "Permission denied on resource project.")
        message = document["message"]
        (kind,) = TARGETS & message.keys()
        to = message[kind]
        if to in self.unregistered:
            return failure(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED")
        if to in self.elsewhere:
            return failure(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH")
        if to in self.malformed:
            text = "The registration token is not a valid FCM registration token"
            return failure(400, "INVALID_ARGUMENT", text, "INVALID_ARGUMENT", field=f"message.{kind}")
        if problem := _problem_of(message, 4_096 if kind in {"fid", "token"} else 2_048):
            return failure(400, "INVALID_ARGUMENT", problem, "INVALID_ARGUMENT", field="message.data")
        if accept:
            shown = message["notification"]
            to = to if kind == "token" else f"{kind}:{to}"
            self.pushes.append(FcmPush(to, shown.get("title", ""), shown.get("body", ""), message))
        return web.json_response({"name": f"projects/{PROJECT}/messages/{next(self._ids)}"})


def _problem_of(message: dict[str, Any], most: int) -> str | None:
    data = message.get("data", {})
    if unknown := message.keys() - FIELDS:
        return f"Unknown name {sorted(unknown)}"
    if any(not isinstance(value, str) for value in data.values()):
        return "data: a string is required"
    if any(
        name in {"from", "message_type"} or name.startswith(("google.", "gcm.notification.")) for name in data
    ):
        return "data: the key is reserved"
    if len(orjson.dumps({"notification": message["notification"], "data": data})) > most:
        return "Message is too big"
    return None


def failure(status: int, name: str, text: str, code: str | None = None, *, field: str = "") -> web.Response:
    return web.json_response(failure_document(status, name, text, code, field=field), status=status)


def failure_document(
    status: int, name: str, text: str, code: str | None = None, *, field: str = ""
) -> dict[str, Any]:
    """The body of an error. `code` is FCM's own, in its details."""
    details: list[dict[str, Any]] = [{"@type": FCM_ERROR, "errorCode": code}] if code else []
    if field:
        violations = [{"field": field, "description": text}]
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
    return {"error": {"code": status, "message": text, "status": name, "details": details}}


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem() -> str:
    """The private key, as the key file has it."""
    return _key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
