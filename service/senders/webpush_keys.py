"""Web Push's cryptography: who sends (VAPID, RFC 8292), and what nobody on the way can read (RFC 8291)."""

import base64
import binascii
import os
import time
from dataclasses import dataclass
from typing import Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_BYTES = 32
PUBLIC_BYTES = 65
AUTH_BYTES = 16
SALT_BYTES = 16
RECORD_BYTES = 4_096
OVERHEAD_BYTES = SALT_BYTES + 4 + 1 + PUBLIC_BYTES + 1 + 16
"""What stands around the text: salt, record size, key length and key, the mark of the last record, the tag."""
TEXT_MAX_BYTES = RECORD_BYTES - OVERHEAD_BYTES
"""Every push service takes a body of 4096 bytes."""
TOKEN_SECONDS = 12 * 3_600
"""A signature may be good for a day at most."""
RENEW_SECONDS = 3_600
ORIGINS_KEPT = 1_000
_CURVE = ec.SECP256R1()
_LAST_RECORD = b"\x02"


def b64(raw: bytes) -> str:
    """Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The reverse, of either alphabet, padded or not. Raises ValueError."""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("not base64") from None


@dataclass(frozen=True, slots=True)
class ReaderKeys:
    """What a browser gave away of its subscription: its `public` key, encoded and as a `key`, and the secret `auth`."""

    public: bytes
    auth: bytes
    key: ec.EllipticCurvePublicKey

    @classmethod
    def parse(cls, p256dh: str, auth: str) -> Self:
        """From base64. Raises ValueError."""
        public, secret = unb64(p256dh), unb64(auth)
        if len(public) != PUBLIC_BYTES or len(secret) != AUTH_BYTES:
            raise ValueError("wrong length")
        return cls(public, secret, ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public))


def encrypt(
    text: bytes,
    reader: ReaderKeys,
    *,
    salt: bytes | None = None,
    private: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """The body that only the browser can read: one record of the content coding aes128gcm (RFC 8188).

    Salt and key are new for each message; they are given only to compare with known ones.
    """
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    private = private or ec.generate_private_key(_CURVE)
    public = _encoded(private.public_key())
    agreed = private.exchange(ec.ECDH(), reader.key)
    secret = _derive(reader.auth, agreed, b"WebPush: info\x00" + reader.public + public, 32)
    key = _derive(salt, secret, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(salt, secret, b"Content-Encoding: nonce\x00", 12)
    head = salt + RECORD_BYTES.to_bytes(4, "big") + bytes([len(public)]) + public
    return head + AESGCM(key).encrypt(nonce, text + _LAST_RECORD, None)


def _derive(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def _encoded(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class Vapid:
    """Signs for the sender. `subject` is whom a push service may write to: mailto: or https.

    One signature serves everything for the same push service during half a day.
    """

    def __init__(self, private_key: str, subject: str) -> None:
        """`private_key` is base64 of its 32 bytes. Raises ValueError."""
        raw = unb64(private_key)
        if len(raw) != KEY_BYTES:
            raise ValueError("wrong length")
        self._key = ec.derive_private_key(int.from_bytes(raw, "big"), _CURVE)
        self._subject = subject
        self._signed: dict[str, tuple[float, str]] = {}
        self.public_key = b64(_encoded(self._key.public_key()))

    def authorization(self, origin: str) -> str:
        """The header for a push service, as https://push.example.com."""
        now = time.time()
        expires_at, header = self._signed.get(origin, (0.0, ""))
        if expires_at - now < RENEW_SECONDS:
            expires_at = now + TOKEN_SECONDS
            header = self._sign(origin, int(expires_at))
            while len(self._signed) >= ORIGINS_KEPT:
                del self._signed[next(iter(self._signed))]
            self._signed[origin] = (expires_at, header)
        return header

    def _sign(self, origin: str, expires_at: int) -> str:
        claims = {"aud": origin, "exp": expires_at, "sub": self._subject}
        return f"vapid t={jwt.encode(claims, self._key, 'ES256')},k={self.public_key}"


def new_pair() -> tuple[str, str]:
    """A new private key for the service, and the public one for pages; both in base64."""
    number = ec.generate_private_key(_CURVE).private_numbers().private_value
    private = b64(number.to_bytes(KEY_BYTES, "big"))
    return private, Vapid(private, "").public_key
