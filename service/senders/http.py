"""Calls of providers' HTTP APIs: HTTP/1.1 over kept connections, one call a connection at a time.

A provider's call is what a message costs most. Between asyncio's transport and the `httptools` parser
stands only what a sender needs: no redirects, no cookies, no compression, no proxies. Whatever goes wrong is
one of two errors, since that is all an outcome depends on: the call was certainly not accepted
(`NotReachedError`), or it may have been (`NoAnswerError`).
"""

import asyncio
import re
import ssl
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from service.senders.base import AddressError
from service.senders.egress import PRIVATE_PROBLEM, is_public

# A server closes what was idle for long; a call that meets the closing would have no answer.
IDLE_SECONDS = 15.0
# One look at all calls costs less than a timer for each.
LOOK_SECONDS = 0.1
ANSWER_MAX_BYTES = 4 * 1024 * 1024
ORIGINS_KEPT = 1_024

_NONE: Mapping[str, str] = MappingProxyType({})
_URL = re.compile(r"(https?://[!\"$-.0->@-~]+)([/?#][!-~]*)?", re.IGNORECASE)
_FIELD = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


class NotReachedError(Exception):
    """The call was certainly not accepted: no connection was made. The text holds no part of the URL."""


class NoAnswerError(Exception):
    """The call may have been accepted. `code` is timeout, broken or answer. The text holds no part of the URL."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class Answer:
    """What the provider answered. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Origin:
    host: str
    port: int
    tls: bool


class HttpClient:
    """Kept connections to any number of providers. The caller bounds how many calls are under way.

    `timeout_seconds` is for the whole call, `connect_seconds` for making its connection; what was idle for
    `idle_seconds` is closed. With `guarded`, an address inside a private network raises `AddressError`. `ca_file` is trusted beside the system's authorities.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        connect_seconds: float | None = None,
        idle_seconds: float = IDLE_SECONDS,
        guarded: bool = False,
        ca_file: str | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._connect_seconds = connect_seconds or timeout_seconds / 3
        self._idle_seconds = idle_seconds
        self._guarded = guarded
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._idle: defaultdict[_Origin, list[_Connection]] = defaultdict(list)
        self._open: set[_Connection] = set()
        self._calls: dict[_Connection, float] = {}
        self._looking: asyncio.TimerHandle | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = _NONE,
        body: bytes = b"",
        deadline: float | None = None,
    ) -> Answer:
        """Make one call. `url` is http or https, written in ASCII. A `deadline` on the event loop's clock is in the
        place of the client's own timeout, where several calls share one.

        Raises `NotReachedError`, `NoAnswerError`, and `AddressError` where the client is guarded; ValueError for
        what is no URL or header.
        """
        now = asyncio.get_running_loop().time()
        deadline = now + self._timeout_seconds if deadline is None else deadline
        origin, host, target = _parse(url)
        head = _head(method, target, host, headers, len(body))
        if deadline <= now:
            raise NotReachedError("no time was left for the call")
        connection = self._reuse(origin, now - self._idle_seconds) or await self._connect(origin, deadline)
        self._calls[connection] = deadline
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
        try:
            answer = await connection.call(head + body)
        except BaseException:
            connection.abort()
            raise
        finally:
            del self._calls[connection]
        if connection.reusable:
            self._idle[origin].append(connection)
        else:
            connection.abort()
        return answer

    async def close(self) -> None:
        """Close every connection; calls under way have no answer."""
        for connection in list(self._open):
            connection.abort()

    def _look(self) -> None:
        """End the calls whose time is over, and close what nobody needed for long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._open):
            deadline = self._calls.get(connection)
            if deadline is None and connection.idle_since <= now - self._idle_seconds:
                connection.abort()
            elif deadline is not None and deadline <= now:
                connection.fail("no answer in time", "timeout")
        self._looking = loop.call_later(LOOK_SECONDS, self._look) if self._open else None

    def _reuse(self, origin: _Origin, oldest: float) -> "_Connection | None":
        """The one that was used last, so that what a quiet hour needs no more grows old and is closed."""
        while idle := self._idle.get(origin):
            connection = idle.pop()
            if connection.reusable and connection.idle_since > oldest and not connection.closing:
                return connection
            connection.abort()
        return None

    def _lost(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.origin, None)

    async def _connect(self, origin: _Origin, deadline: float) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._connect_seconds)):
                host = await self._public(origin) if self._guarded else origin.host
                _, connection = await loop.create_connection(
                    lambda: _Connection(origin, self._lost),
                    host,
                    origin.port,
                    ssl=self._context() if origin.tls else None,
                    server_hostname=origin.host if origin.tls else None,
                )
        except TimeoutError:
            raise NotReachedError("cannot connect in time") from None
        except OSError as error:
            raise NotReachedError(f"cannot connect: {error.strerror or type(error).__name__}") from error
        self._open.add(connection)
        return connection

    async def _public(self, origin: _Origin) -> str:
        """The network address to connect to, so that a name cannot answer differently the second time."""
        found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port)
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        if not all(is_public(ip_address(address)) for address in addresses):
            raise AddressError(PRIVATE_PROBLEM)
        return addresses[0]

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            if self._ca_file is not None:
                self._tls.load_verify_locations(self._ca_file)
        return self._tls


class _Connection(asyncio.Protocol):
    """One connection and the call that is under way on it; also what the parser calls back."""

    def __init__(self, origin: _Origin, lost: "Callable[[_Connection], None]") -> None:
        self.origin = origin
        self.reusable = False
        self.idle_since = 0.0
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._ends_with_connection = False

    @property
    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    async def call(self, request: bytes) -> Answer:
        if self._transport is None or self.closing:
            raise NotReachedError("the connection was closed before the call")
        self.reusable = self._ends_with_connection = False
        self._size = 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def abort(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def fail(self, reason: str, code: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswerError(reason, code))
        self.abort()

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            self._answer.set_result(Answer(status, self._headers, b"".join(self._body)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.abort()  # nobody asked
            return
        self._size += len(data)
        if self._size > ANSWER_MAX_BYTES:
            self.fail(f"the answer is longer than {ANSWER_MAX_BYTES} bytes", "answer")
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.fail("the answer is not HTTP", "answer")

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._lost(self)
        if exc is None and self._ends_with_connection:
            self._finish()
        self.fail("the connection broke before an answer", "broken")

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.abort()  # more than was asked for
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._ends_with_connection = not self._headers.keys() & {"content-length", "transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._ends_with_connection = False
        if self._parser.get_status_code() < HTTPStatus.OK:
            return  # the real one follows
        self._finish()
        self.reusable = self._parser.should_keep_alive() and not self.closing
        self.idle_since = asyncio.get_running_loop().time()


def check_url(url: str) -> None:
    """Raises ValueError for what no call can be made of."""
    _parse(url)


def _parse(url: str) -> tuple[_Origin, str, str]:
    """Where to connect to, the Host header, and what to ask for."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("not an http or https URL in ASCII")
    base, path = found[1], found[2] or ""
    origin, host = _origin(base)
    target = path.partition("#")[0]
    return origin, host, target if target.startswith("/") else f"/{target}"


@lru_cache(ORIGINS_KEPT)
def _origin(base: str) -> tuple[_Origin, str]:
    parts = urlsplit(base)
    if not parts.hostname:
        raise ValueError("not an http or https URL in ASCII")
    tls = parts.scheme == "https"
    return _Origin(parts.hostname, parts.port or (443 if tls else 80), tls), parts.netloc.rpartition("@")[2]


def _head(method: str, target: str, host: str, headers: Mapping[str, str], size: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {size}"]
    for name, value in headers.items():
        if not _FIELD.fullmatch(value):
            raise ValueError(f"the header {name} holds a control character")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")
