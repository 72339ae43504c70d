"""JSON Web Tokens (RFC 7519) of somebody else's making.

Each algorithm has exactly one kind of key here, so that a token cannot choose how it is judged:
HS256 the shared secret, RS256 and ES256 the keys of the JWKS address (RFC 7517).
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import jwt

from service.access.principal import Principal, Scope
from service.errors import Unauthenticated, Unavailable
from service.settings import AuthSettings

_PUBLIC_KEY_ALGORITHMS = ("RS256", "ES256")
_TOKEN_MAX_CHARS = 8_192
_JWKS_MAX_BYTES = 1_048_576
_JWKS_TIMEOUT_SECONDS = 5.0
_JWKS_FRESH_SECONDS = 600.0
_JWKS_PAUSE_SECONDS = 5.0


class Jwks:
    """The public keys behind an address, fetched when one is missing or they are ten minutes old.

    The address is asked at most every five seconds; while it is away, keys that are known stay good.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[tuple[str | None, str], Any] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def key(self, key_id: str | None, algorithm: str) -> Any:
        """The key of that id for that algorithm. Raises `Unauthenticated`, or `Unavailable` when none is known."""
        stale = self._clock() - self._fetched_at > _JWKS_FRESH_SECONDS
        if stale or (key_id, algorithm) not in self._keys:
            await self._refresh()
        key = self._keys.get((key_id, algorithm))
        if key is None:
            raise Unauthenticated("the token names a key that JWT_JWKS_URL does not have")
        return key

    async def _refresh(self) -> None:
        async with self._fetching:
            if self._clock() - self._tried_at > _JWKS_PAUSE_SECONDS:
                self._tried_at = self._clock()
                try:
                    self._keys = _keys_of(await self._fetch())
                    self._fetched_at = self._clock()
                except (OSError, ValueError, jwt.PyJWTError):
                    self._tried_at = self._clock()
        if not self._keys:
            raise Unavailable(
                _JWKS_PAUSE_SECONDS, "the address of the tokens' keys does not answer with keys"
            )

    async def _fetch(self) -> Any:
        import aiohttp  # noqa: PLC0415 - slow to import, and used only with JWT_JWKS_URL

        timeout = aiohttp.ClientTimeout(total=_JWKS_TIMEOUT_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as answer:
                answer.raise_for_status()
                # Cut off, a larger document is no JSON.
                return json.loads(await answer.content.read(_JWKS_MAX_BYTES))
        except aiohttp.ClientError as error:
            raise OSError(type(error).__name__) from error


def _keys_of(document: Any) -> dict[tuple[str | None, str], Any]:
    return {
        (key.key_id, key.algorithm_name): key.key
        for key in jwt.PyJWKSet.from_dict(document).keys
        if key.algorithm_name in _PUBLIC_KEY_ALGORITHMS and key.public_key_use in {None, "sig"}
    }


class Tokens:
    """Verifies bearer tokens by the `JWT_*` settings.

    `exp` is required; `iss` and `aud` are checked when their settings are given. The rights are in
    `scope` (words with spaces between, RFC 8693) or `scopes` (a list); words of others are ignored.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        self._jwks = Jwks(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._leeway = settings.jwt_leeway_seconds

    @property
    def enabled(self) -> bool:
        """Whether tokens are accepted at all."""
        return self._secret is not None or self._jwks is not None

    async def verify(self, token: str) -> Principal:
        """Whose token it is. Raises `Unauthenticated` with the reason, or `Unavailable`."""
        try:
            algorithm, key = await self._key_for(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
                options={"require": ["exp"], "verify_aud": self._audience is not None},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not valid: {error}") from None
        subject = claims.get("sub", "")
        return Principal(f"jwt:{subject}", _scopes(claims), subject)

    async def _key_for(self, token: str) -> tuple[str, Any]:
        if len(token) > _TOKEN_MAX_CHARS:
            raise Unauthenticated("the token is too long")
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._secret is not None:
            return algorithm, self._secret
        if algorithm in _PUBLIC_KEY_ALGORITHMS and self._jwks is not None:
            return algorithm, await self._jwks.key(header.get("kid"), algorithm)
        raise Unauthenticated("tokens of this algorithm are not accepted")


def _scopes(claims: dict[str, Any]) -> frozenset[Scope]:
    words = claims.get("scopes", claims.get("scope"))
    if isinstance(words, str):
        words = words.split()
    if not isinstance(words, list):
        return frozenset()
    return frozenset(Scope(word) for word in words if word in set(Scope))
