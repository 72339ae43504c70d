"""The least HTTP/1.1 server that a fast fake needs: keep-alive, bodies of known length or chunked."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from tests.fakes.tiny import TinyConnection, TinyServer

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_HEAD_MAX_BYTES = 64 * 1024


@dataclass(slots=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    body: bytes


def response(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    """A whole answer. Header names are written with `_` for `-`."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nServer: nginx\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    ).encode() + body


Handler = Callable[["Connection", Request], bytes | None]


class Connection(TinyConnection):
    """One client. The handler answers with bytes, or with None and later through `answer` or `abort`."""

    def __init__(self, server: "TinyHttpServer") -> None:
        super().__init__(server)
        self._server = server
        self._buffer = bytearray()
        self._busy = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def answer(self, data: bytes) -> None:
        """Send what was asked for, and go on with what the client sent meanwhile."""
        self._busy = False
        if self._transport is not None:
            self._transport.write(data)
            self._work()

    async def write(self, data: bytes) -> None:
        """Send a piece of an answer, no faster than the client takes it."""
        await self._writable.wait()
        if self._transport is not None:
            self._transport.write(data)

    def finish(self, data: bytes) -> None:
        """Send this and close the connection."""
        if self._transport is not None:
            self._transport.write(data)
            self._transport.close()

    def _work(self) -> None:
        while not self._busy and self._transport is not None:
            request = self._next_request()
            if request is None:
                return
            self._busy = True
            data = self._server.handler(self, request)
            if data is not None:
                self._busy = False
                self._transport.write(data)

    def _next_request(self) -> Request | None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > _HEAD_MAX_BYTES:
                self.abort()
            return None
        first, *lines = bytes(buffer[:end]).split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            body, used = _chunked(buffer, end + 4)
        else:
            used = end + 4 + int(headers.get(b"content-length", b"0"))
            body = bytes(buffer[end + 4 : used]) if len(buffer) >= used else None
        if body is None:
            return None
        del buffer[:used]
        method, target, _ = first.decode("latin-1").split(" ", 2)
        path, _, query = target.partition("?")
        return Request(method, path, query, headers, body)


def _chunked(buffer: bytearray, start: int) -> tuple[bytes | None, int]:
    body = bytearray()
    while (line_end := buffer.find(b"\r\n", start)) >= 0:
        size = int(bytes(buffer[start:line_end]).split(b";")[0], 16)
        begin, start = line_end + 2, line_end + 2 + size + 2
        if len(buffer) < start:
            return None, 0
        body += buffer[begin : begin + size]
        if size == 0:
            return bytes(body), start
    return None, 0


class TinyHttpServer(TinyServer):
    """`async with` starts and stops it. Port 0 picks a free one."""

    def __init__(self, handler: Handler, port: int = 0) -> None:
        super().__init__(lambda: Connection(self), port)
        self.handler = handler
