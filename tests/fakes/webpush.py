"""A push service and the browsers behind it: signatures checked with PyJWT, messages read as a browser reads them.

In a test: `async with FakePushService() as service`, then `service.subscribe()`, `service.pushes`,
`service.unsubscribed`, `service.fault(...)`.

Protocol: RFC 8030, 8188, 8291, 8292, and the errors of Mozilla's push service.
"""

import hmac
import itertools
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.provider import FakeProvider, Received

PRIVATE_KEY = "4EtTK5DadkXY0p7DHPVrHLJJX99ZQZz3wzcxBVkVwjk"
PUBLIC_KEY = "BMjGOBakl_c7SGrBzFPYoaylU4KuOAlfKqmqQ-vrAwuh7uew-_3fD3KIG3dRHotdMovogdXLq05hjDzp1xUIkDk"
BODY_MAX_BYTES = 4_096
TTL_MAX_SECONDS = 2_592_000
URGENCIES = {"very-low", "low", "normal", "high"}


@dataclass(frozen=True)
class WebPush:
    """A push as the service worker gets it. `data` is its JSON."""

    browser: str
    data: dict[str, Any]
    ttl: int
    urgency: str
    topic: str

    @property
    def text(self) -> str:
        return f"{self.data.get('title', '')}\n{self.data.get('body', '')}"


class Browser:
    """One subscription: its keys, which never leave it, and what it gives away."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)

    @property
    def keys(self) -> dict[str, str]:
        public = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"p256dh": _b64(public), "auth": _b64(self.auth)}

    @property
    def json(self) -> str:
        """As `JSON.stringify(subscription)` has it."""
        return orjson.dumps({"endpoint": self.endpoint, "expirationTime": None, "keys": self.keys}).decode()

    @property
    def address(self) -> str:
        """In one line."""
        return f"{self.endpoint}#p256dh={self.keys['p256dh']}&auth={self.keys['auth']}"

    def read(self, body: bytes) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self.decrypt(body))
        return document

    def decrypt(self, body: bytes) -> bytes:
        """RFC 8188, 2.1 (the head), 2.2 and 2.3 (key and nonce); RFC 8291, 3.4 (what both sides know)."""
        salt, record_size, key_length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        key_id, sealed = body[21 : 21 + key_length], body[21 + key_length :]
        assert len(sealed) <= record_size, "more than one record"
        own = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        server = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key_id)
        shared = self.private.exchange(ec.ECDH(), server)
        material = _hkdf(self.auth, shared, b"WebPush: info\0" + own + key_id, 32)
        key = _hkdf(salt, material, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _hkdf(salt, material, b"Content-Encoding: nonce\0", 12)
        opened = Cipher(algorithms.AES(key), modes.GCM(nonce, sealed[-16:])).decryptor()
        padded = opened.update(sealed[:-16]) + opened.finalize()
        text, mark, _ = padded.rstrip(b"\0").rpartition(b"\x02")
        assert mark, "no last record"
        return text


def _hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 for one block."""
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")[:length]


class FakePushService(FakeProvider):
    """One push service. `unsubscribed` are paths of browsers that are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.browsers: dict[str, Browser] = {}
        self.unsubscribed: set[str] = set()
        self.pushes: list[WebPush] = []
        self._ids = itertools.count(1)

    def subscribe(self) -> Browser:
        """Another browser."""
        path = f"/wpush/v2/gAAAA-fake-{next(self._ids)}"
        browser = self.browsers[path] = Browser(f"{self.base_url}{path}")
        return browser

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.journal.append({"path": request.path, "headers": headers, "bytes": len(raw)})
        browser = self.browsers.get(request.path)
        if browser is None:
            return failure(404, 102, "Request did not validate: invalid token")
        if request.path in self.unsubscribed:
            return failure(410, 106, "No such subscription")
        if problem := self._wrong_signature(headers.get("authorization", "")):
            return failure(401, 109, problem)
        if problem := _wrong_headers(headers):
            return failure(400, 111, problem)
        if len(raw) > BODY_MAX_BYTES:
            return failure(413, 104, "This message is intended for a constrained device")
        data = browser.read(raw)
        if accept:
            self.pushes.append(
                WebPush(
                    request.path,
                    data,
                    int(headers["ttl"]),
                    headers.get("urgency", "normal"),
                    headers.get("topic", ""),
                )
            )
        return web.Response(status=201, headers={"location": f"{self.base_url}/m/message-{next(self._ids)}"})

    def _wrong_signature(self, header: str) -> str | None:
        scheme, _, rest = header.partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(",")) if rest else {}
        if scheme != "vapid" or parts.get("k") != PUBLIC_KEY:
            return "no VAPID key"
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _unb64(parts["k"]))
        try:
            claims = jwt.decode(parts["t"], key, algorithms=["ES256"], audience=self.base_url)
        except jwt.PyJWTError as error:
            return str(error)
        if claims["exp"] - time.time() > 24 * 3_600 or not claims["sub"].startswith(("mailto:", "https:")):
            return "exp or sub"
        return None


def _wrong_headers(headers: dict[str, str]) -> str | None:
    if not headers.get("ttl", "").isdigit() or int(headers["ttl"]) > TTL_MAX_SECONDS:
        return "TTL"
    if headers.get("content-encoding") != "aes128gcm":
        return "Content-Encoding"
    if headers.get("urgency", "normal") not in URGENCIES:
        return "Urgency"
    topic = headers.get("topic", "")
    if len(topic) > 32 or not topic.replace("-", "").replace("_", "").isalnum():
        return "Topic"
    return None


def failure(status: int, errno: int, text: str) -> web.Response:
    return web.json_response(failure_document(status, errno, text), status=status)


def failure_document(status: int, errno: int, text: str) -> dict[str, Any]:
    return {"code": status, "errno": errno, "error": "error", "message": text}


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
