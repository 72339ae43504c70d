"""What fakes of HTTP providers share: a server on a free port, a journal, faults on demand, steering over HTTP.

A fake says in `take` what its provider makes of a call. Beside the provider's own paths it serves:

- `GET /control/journal`: what was called, as JSON
- `POST /control/faults` with `{"status": 503, "headers": {"retry-after": "5"}, "times": 2}`: fields of `Fault`
- `POST /control/reset`: forget the journal and the faults
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web
from multidict import CIMultiDict, MultiDict

from tests.fakes.tiny_http import Connection, Request, TinyHttpServer, response

HUGE_BODY_BYTES = 64 * 1024 * 1024
_CHUNK = b"x" * 65_536


@dataclass(frozen=True)
class Fault:
    """What to do with one call instead of answering it well. Without a status the usual answer is given.

    `accept` says whether the call has its effect anyway; by default it has unless `status` is an error's.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    delay_seconds: float = 0.0
    ending: Literal["answer", "reset", "hang", "garbage", "huge"] = "answer"
    accept: bool | None = None

    @property
    def accepts(self) -> bool:
        return (self.status is None or self.status < 300) if self.accept is None else self.accept


class Received:
    """One call, as aiohttp's servers show it. `connection` is where its answer goes."""

    def __init__(self, request: Request, connection: Connection) -> None:
        self.connection = connection
        self.method = request.method
        self.raw_path = f"{request.path}?{request.query}" if request.query else request.path
        self.path_qs = self.raw_path
        self.path = unquote(request.path)
        self.body = request.body
        self._query = request.query
        self.headers = CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.items()
        )

    @cached_property
    def query(self) -> MultiDict[str]:
        return MultiDict(parse_qsl(self._query, keep_blank_values=True))

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        return self.body


class FakeProvider(ABC):
    """`async with` starts and stops it. Port 0 picks a free one. `bytes_sent` counts huge answers only."""

    def __init__(self, *, port: int = 0) -> None:
        self.journal: list[Any] = []
        self.bytes_sent = 0
        self._faults: deque[Fault] = deque()
        self._server = TinyHttpServer(self._take_up, port)
        self._answering: set[asyncio.Task[None]] = set()

    @abstractmethod
    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        """Judge a call, note it in the journal (with its effect if `accept`), return the usual answer."""

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def fault(self, fault: Fault, times: int = 1) -> None:
        """The next `times` calls end so; faults that were asked for earlier come first."""
        self._faults.extend([fault] * times)

    def clear(self) -> None:
        self.journal.clear()
        self._faults.clear()

    async def stop(self) -> None:
        """Stop listening and cut what is connected. May be called twice."""
        for task in self._answering:
            task.cancel()
        await self._server.stop()

    def _take_up(self, connection: Connection, request: Request) -> None:
        task = asyncio.ensure_future(self._conclude(Received(request, connection)))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _conclude(self, request: Received) -> None:
        try:
            answer = (
                self._control(request)
                if request.path.startswith("/control/")
                else await self._receive(request)
            )
        except Exception as error:  # noqa: BLE001 - a test sees it as an answer
            answer = web.Response(status=500, text=f"the fake failed: {error!r}")
        if answer is not None:
            request.connection.answer(_bytes_of(answer))

    async def _receive(self, request: Received) -> web.Response | None:
        fault = self._faults.popleft() if self._faults else Fault()
        if fault.ending == "reset" and not fault.accepts:
            return request.connection.abort()
        answer = self.take(request, request.body, accept=fault.accepts)
        if answer.status >= 400:
            return answer
        return await self._end(request, fault, answer)

    async def _end(self, request: Received, fault: Fault, answer: web.Response) -> web.Response | None:
        """What the caller gets after all; None: nothing more."""
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        match fault.ending:
            case "reset":
                return request.connection.abort()
            case "hang":
                return None
            case "garbage":
                return request.connection.finish(b"\x00\x01 this is no HTTP\r\n\r\n")
            case "huge":
                return await self._huge(request.connection, fault.status or answer.status)
        if fault.status is None:
            return answer
        headers = {"content-type": "text/plain"} | {
            name.lower(): value for name, value in fault.headers.items()
        }
        return web.Response(status=fault.status, headers=headers, body=fault.body.encode())

    async def _huge(self, connection: Connection, status: int) -> None:
        head = response(status, b"", "text/plain").replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"
        )
        await connection.write(head)
        while self.bytes_sent < HUGE_BODY_BYTES and not connection.lost.done():
            await connection.write(b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK))
            self.bytes_sent += len(_CHUNK)
        connection.finish(b"0\r\n\r\n")

    def _control(self, request: Received) -> web.Response:
        match request.method, request.path.removeprefix("/control/"):
            case "GET", "journal":
                return web.Response(body=orjson.dumps(self.journal), content_type="application/json")
            case "POST", "faults":
                wanted = json.loads(request.body)
                times = wanted.pop("times", 1)
                self.fault(Fault(**wanted), times)
                return web.json_response({"faults": len(self._faults)})
            case "POST", "reset":
                self.clear()
                return web.json_response({})
        return web.Response(status=404)


def _bytes_of(answer: web.Response) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else b""
    headers = answer.headers.copy()
    kind = headers.pop("Content-Type", "application/octet-stream")
    return response(answer.status, body, kind, **headers)
