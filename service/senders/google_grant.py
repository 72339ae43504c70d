"""Access tokens of Google by a service account's key: the JWT grant of OAuth 2 (RFC 7523)."""

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from service.senders.base import Halted, Retry, Throttled
from service.senders.http import HttpClient, NoAnswerError, NotReachedError, check_url
from service.senders.parts import json_of, seconds_of, shown
from service.tasks import end

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE_SECONDS = 3_600
"""What is asked for, and the most that Google gives."""
RENEW_SECONDS = 300.0
"""So long before a token ends another one is fetched, while the old one is still used."""
SPARE_SECONDS = 30.0
"""A token that ends within these is not used any more: clocks differ, and calls take time."""


class GrantError(Exception):
    """There is no token now; `outcome` is what that means for a message."""

    def __init__(self, outcome: Halted | Retry | Throttled) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account's key file."""

    email: str
    project_id: str
    key_id: str
    key: RSAPrivateKey
    token_url: str


def read_account(path: Path) -> ServiceAccount:
    """The account of a key file. Raises ValueError, never with what the file holds."""
    try:
        fields = orjson.loads(path.read_bytes())
        check_url(fields["token_uri"])
        return ServiceAccount(
            fields["client_email"],
            fields["project_id"],
            fields["private_key_id"],
            _rsa_key(fields["private_key"]),
            fields["token_uri"],
        )
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("is no key file of a service account") from None


def _rsa_key(pem: str) -> RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("not an RSA key")
    return key


class Grants:
    """Gives the account's token. However many calls need a new one, it is asked for once.

    `clock` is in unix seconds, since what is signed says when.
    """

    def __init__(self, account: ServiceAccount, scopes: str, http: HttpClient) -> None:
        self._account = account
        self._scopes = scopes
        self._http = http
        self._clock = time.time
        self._token = ""
        self._ends_at = 0.0
        self._renewal: asyncio.Task[None] | None = None

    async def token(self) -> str:
        """A token that is good now. Raises `GrantError`."""
        left = self._ends_at - self._clock()
        if left < RENEW_SECONDS:
            renewal = self._renew()
            if left < SPARE_SECONDS:
                # A caller that is cancelled must not take the token from the others.
                await asyncio.shield(renewal)
        return self._token

    def forget(self, token: str) -> None:
        """That token is not accepted any more."""
        if token == self._token:
            self._ends_at = 0.0

    async def close(self) -> None:
        await end(self._renewal)

    def _renew(self) -> "asyncio.Task[None]":
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._fetch(), name="google-grant")
            # Ahead of time nobody waits for it, and the next call tries again.
            self._renewal.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._renewal

    async def _fetch(self) -> None:
        now = self._clock()
        try:
            answer = await self._http.request(
                "POST",
                self._account.token_url,
                headers={"content-type": "application/x-www-form-urlencoded"},
                body=urlencode({"grant_type": GRANT, "assertion": self._assertion(int(now))}).encode(),
            )
        except (NotReachedError, NoAnswerError) as error:
            raise GrantError(Retry(reason=f"Google gives no access token: {error}", code="grant")) from None
        match json_of(answer):
            case {"access_token": str(token), "expires_in": int(seconds)} if answer.status == HTTPStatus.OK:
                self._token, self._ends_at = token, now + seconds
            case document:
                raise GrantError(_refusal(answer.status, document, answer.headers.get("retry-after")))

    def _assertion(self, now: int) -> str:
        account = self._account
        claims = {
            "iss": account.email,
            "scope": self._scopes,
            "aud": account.token_url,
            "iat": now,
            "exp": now + LIFE_SECONDS,
        }
        return jwt.encode(claims, account.key, "RS256", headers={"kid": account.key_id})


def _refusal(status: int, document: object, hint: str | None) -> Halted | Retry | Throttled:
    match document:
        case {"error": str(error)} if 400 <= status < 500 and status != HTTPStatus.TOO_MANY_REQUESTS:  # noqa: PLR2004
            return Halted(
                reason=f"Google does not accept the service account's key: {shown(error)}", code="grant"
            )
    reason = f"Google gives no access token: HTTP {status}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(reason=reason, code="grant", retry_after=seconds_of(hint))
    return Retry(reason=reason, code="grant", retry_after=seconds_of(hint))
