"""What the routers under `/callbacks` share: calls of providers, each with a secret of its own and no API key."""

import hmac
from typing import Any

import orjson
from pydantic import SecretStr
from starlette.requests import Request

from service.account_settings import account_prefix
from service.api.deps import ApiDeps
from service.errors import BadRequest, BodyTooLarge, NotFound
from service.settings import Settings

BODY_MAX_BYTES = 256 * 1024


def account_of(deps: ApiDeps, channel: str, account: str | None) -> tuple[str, Settings]:
    """The sender that a call is about, as `VK` or `VK:news`, and its settings. Raises `NotFound`."""
    if account is None:
        return channel, deps.settings
    name = f"{channel}:{account}"
    if name not in deps.settings.accounts_of(channel):
        raise NotFound(f"{channel} has no account {account!r}")
    return name, deps.settings.for_account(name)


def expected(secret: SecretStr | None, name: str, setting: str) -> str:
    """The secret of an account's setting. Raises `NotFound` where there is none: nobody is believed without."""
    if secret is None:
        raise NotFound(f"{account_prefix(name)}{setting} is not set")
    return secret.get_secret_value()


def same(given: object, secret: str) -> bool:
    """Whether this is the secret, in a time that tells nothing of it."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(), secret.encode())


async def read_event(request: Request) -> dict[str, Any]:
    """The JSON object of a call's body. Raises `BodyTooLarge` and `BadRequest`."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_MAX_BYTES:
            raise BodyTooLarge(f"accepted: at most {BODY_MAX_BYTES} bytes")
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(event, dict):
        raise BadRequest("the body is no JSON object")
    return event
