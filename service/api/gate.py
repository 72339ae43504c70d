"""The door of `/v1`, before any route is looked for: who calls (401), with what body (413, 415).

Plain ASGI, since every request pays for it. The caller is left in `scope["principal"]`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.authenticate import Authenticator
from service.access.principal import Principal
from service.api.problems import RETRY_AFTER_SECONDS, problem_response
from service.db.database import OUTAGE
from service.errors import BadRequest, BodyTooLarge, DomainError, Unavailable, UnsupportedMediaType

PREFIX = "/v1/"
_JSON = b"application/json"
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What bodies a call takes: bytes at most, and media types."""

    max_bytes: int
    kinds: frozenset[bytes] = frozenset({_JSON})

    def takes(self, content_type: bytes) -> bool:
        if content_type in self.kinds:
            return True
        essence = content_type.partition(b";")[0].strip().lower()
        is_json = essence.startswith(b"application/") and essence.endswith(b"+json")
        return essence in self.kinds or (is_json and _JSON in self.kinds)

    @property
    def accepted(self) -> str:
        return b", ".join(sorted(self.kinds)).decode()


class Gate:
    """Wraps the application. A body that is larger than its rule allows is refused, and never held beyond it.

    `rules`: by path (a regular expression), for those calls that `rule` is not meant for.
    """

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, rule: BodyRule, rules: Mapping[str, BodyRule]
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._rule = rule
        self._rules = [(re.compile(path), special) for path, special in rules.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            scope["principal"] = await self._principal(headers)
            if scope["method"] not in _WITHOUT_BODY:
                rule = self._rule_of(scope["path"])
                if _judge_body(headers, rule):
                    receive = _limited(receive, rule.max_bytes)
        except DomainError as error:
            await problem_response(error, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _rule_of(self, path: str) -> BodyRule:
        for pattern, rule in self._rules:
            if pattern.fullmatch(path):
                return rule
        return self._rule

    async def _principal(self, headers: dict[bytes, bytes]) -> Principal:
        api_key, authorization = headers.get(b"x-api-key"), headers.get(b"authorization")
        try:
            return await self._authenticator.authenticate(
                None if api_key is None else api_key.decode("latin-1"),
                None if authorization is None else authorization.decode("latin-1"),
            )
        except OUTAGE as error:
            raise Unavailable(RETRY_AFTER_SECONDS) from error


def _judge_body(headers: dict[bytes, bytes], rule: BodyRule) -> bool:
    """Whether the body has to be counted while it arrives: its length was not said."""
    length = headers.get(b"content-length")
    if length is not None and not length.isdigit():
        raise BadRequest("Content-Length is not a number")
    if length is not None and int(length) > rule.max_bytes:
        raise BodyTooLarge(f"has {int(length)} bytes; accepted: at most {rule.max_bytes}")
    has_body = b"transfer-encoding" in headers if length is None else length != b"0"
    if has_body:
        _judge_media_type(headers, rule)
    return length is None


def _judge_media_type(headers: dict[bytes, bytes], rule: BodyRule) -> None:
    kind = headers.get(b"content-type", _JSON)
    if not rule.takes(kind):
        shown = kind.decode("latin-1")[:100]
        raise UnsupportedMediaType(f"{shown} is not taken here; accepted: Content-Type: {rule.accepted}")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("Content-Encoding is not supported; accepted: the plain body")


def _limited(receive: Receive, most: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most:
                # FastAPI turns any other exception raised while it reads a body into a 400.
                raise HTTPException(BodyTooLarge.status, f"accepted: at most {most} bytes")
        return message

    return counted
