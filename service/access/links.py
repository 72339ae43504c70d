"""Signed links: what an address says can be relied upon, without an account or a session."""

import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime

from service.db.database import Database

TOKEN_MAX_CHARS = 1_024

_NAME = "links"
_SECRET_BYTES = 32
_SIGNATURE_BYTES = 16  # 128 bits: short enough for a bot's deep link, and beyond guessing
_EXPIRY = struct.Struct(">I")
_HEAD_BYTES = _SIGNATURE_BYTES + _EXPIRY.size
_MAKE = "INSERT INTO service_secret (name, value, created_at) VALUES ($1, $2, now()) ON CONFLICT DO NOTHING"
_READ = "SELECT value FROM service_secret WHERE name = $1"


class LinkError(ValueError):
    """A token that is not to be followed: `expired`, or else not of our making."""

    def __init__(self, *, expired: bool) -> None:
        self.expired = expired
        super().__init__("the link has expired" if expired else "the link is not valid")


class Links:
    """Makes and reads tokens. Without a secret of the settings, `open` it before use.

    A token is made of letters, digits, `-` and `_`: 27 characters and 4 for each 3 bytes of its data.
    """

    def __init__(self, secret: str | None, public_url: str) -> None:
        self._secret = None if secret is None else secret.encode()
        self._public_url = public_url

    async def open(self, database: Database) -> None:
        """Take the secret that all processes share, made at the first start. Raises one of `OUTAGE`."""
        if self._secret is None:
            async with database.connection() as connection:
                await connection.execute(_MAKE, _NAME, secrets.token_bytes(_SECRET_BYTES))
                self._secret = bytes(await connection.fetchval(_READ, _NAME))

    def url(self, purpose: str, data: str, expires_at: datetime) -> str:
        """The whole address, under this service's public one: `…/PURPOSE/TOKEN`."""
        return f"{self._public_url}/{purpose}/{self.sign(purpose, data, expires_at)}"

    def sign(self, purpose: str, data: str, expires_at: datetime) -> str:
        """A token for that purpose only, good until before that second."""
        content = _EXPIRY.pack(int(expires_at.timestamp())) + data.encode()
        return urlsafe_b64encode(self._signature(purpose, content) + content).rstrip(b"=").decode()

    def read(self, purpose: str, token: str, now: datetime | None = None) -> str:
        """The data of a token. Raises `LinkError`."""
        if len(token) > TOKEN_MAX_CHARS:
            raise LinkError(expired=False)
        try:
            raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except (Base64Error, UnicodeEncodeError):
            raise LinkError(expired=False) from None
        signature, content = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if len(raw) < _HEAD_BYTES or not hmac.compare_digest(signature, self._signature(purpose, content)):
            raise LinkError(expired=False)
        (expires_at,) = _EXPIRY.unpack_from(content)
        if (now or datetime.now(UTC)).timestamp() >= expires_at:
            raise LinkError(expired=True)
        return content[_EXPIRY.size :].decode()

    def _signature(self, purpose: str, content: bytes) -> bytes:
        if self._secret is None:
            raise RuntimeError("the links are not open")
        message = purpose.encode() + b"\0" + content
        return hmac.digest(self._secret, message, "sha256")[:_SIGNATURE_BYTES]
