"""One answer to "who is calling?", whichever way the caller says it."""

from service.access.keys import ApiKeys
from service.access.principal import Principal
from service.access.tokens import Tokens
from service.errors import Unauthenticated

_BEARER = "bearer "


class Authenticator:
    """Takes an `X-API-Key` header or else a bearer token."""

    def __init__(self, keys: ApiKeys, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens

    @property
    def takes_tokens(self) -> bool:
        """Whether bearer tokens are accepted besides API keys."""
        return self._tokens.enabled

    async def authenticate(self, api_key: str | None, authorization: str | None) -> Principal:
        """Raises `Unauthenticated`; `Unavailable` or one of `OUTAGE` when it cannot be decided now."""
        if api_key is not None:
            principal = await self._keys.verify(api_key)
            if principal is None:
                raise Unauthenticated("this API key is unknown, expired or revoked")
            return principal
        if authorization is None:
            raise Unauthenticated("accepted: an X-API-Key header, or Authorization: Bearer with a token")
        if authorization[: len(_BEARER)].lower() != _BEARER:
            raise Unauthenticated("Authorization is not a bearer token; accepted: Bearer with a token")
        if not self._tokens.enabled:
            raise Unauthenticated(
                "tokens are off (JWT_SECRET and JWT_JWKS_URL are not set); accepted: X-API-Key"
            )
        return await self._tokens.verify(authorization[len(_BEARER) :].strip())
