"""What fakes of HTTP providers share: a server on a free port, a journal, faults on demand, steering over HTTP.

A fake says in `take` what its provider makes of a call. Beside the provider's own paths it serves:

- `GET /control/journal`: what was called, as JSON
- `POST /control/faults` with `{"status": 503, "headers": {"retry-after": "5"}, "times": 2}`: fields of `Fault`
- `POST /control/reset`: forget the journal and the faults
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import orjson
from aiohttp import web

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


class FakeProvider(ABC):
    """`async with` starts and stops it. Port 0 picks a free one. `bytes_sent` counts huge answers only."""

    def __init__(self, *, port: int = 0) -> None:
        self.journal: list[Any] = []
        self.bytes_sent = 0
        self._faults: deque[Fault] = deque()
        self._stopping = asyncio.Event()
        self._port = port
        app = web.Application(client_max_size=HUGE_BODY_BYTES)
        app.router.add_get("/control/journal", self._show_journal)
        app.router.add_post("/control/faults", self._add_faults)
        app.router.add_post("/control/reset", self._reset)
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5, access_log=None)

    @abstractmethod
    def take(self, request: web.Request, raw: bytes, *, accept: bool) -> web.Response:
        """Judge a call, note it in the journal (with its effect if `accept`), return the usual answer."""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def fault(self, fault: Fault, times: int = 1) -> None:
        """The next `times` calls end so; faults that were asked for earlier come first."""
        self._faults.extend([fault] * times)

    def clear(self) -> None:
        self.journal.clear()
        self._faults.clear()

    async def stop(self) -> None:
        """Stop listening and cut what is connected. May be called twice."""
        self._stopping.set()
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        fault = self._faults.popleft() if self._faults else Fault()
        if fault.ending == "reset" and not fault.accepts:
            return _cut(request)
        answer = self.take(request, await request.read(), accept=fault.accepts)
        if answer.status >= 400:
            return answer
        await asyncio.sleep(fault.delay_seconds)
        return await self._end(request, fault, answer)

    async def _end(self, request: web.Request, fault: Fault, answer: web.Response) -> web.StreamResponse:
        match fault.ending:
            case "reset":
                return _cut(request)
            case "hang":
                await self._stopping.wait()
                return _cut(request)
            case "garbage":
                return _garbage(request)
            case "huge":
                return await self._huge(request, fault.status or answer.status)
        if fault.status is None:
            return answer
        headers = {"content-type": "text/plain"} | {
            name.lower(): value for name, value in fault.headers.items()
        }
        return web.Response(status=fault.status, headers=headers, body=fault.body.encode())

    async def _huge(self, request: web.Request, status: int) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        response.content_type = "text/plain"
        await response.prepare(request)
        while self.bytes_sent < HUGE_BODY_BYTES:
            await response.write(_CHUNK)
            self.bytes_sent += len(_CHUNK)
        return response

    async def _show_journal(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.journal), content_type="application/json")

    async def _add_faults(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        times = wanted.pop("times", 1)
        self.fault(Fault(**wanted), times)
        return web.json_response({"faults": len(self._faults)})

    async def _reset(self, request: web.Request) -> web.Response:
        self.clear()
        return web.json_response({})


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _garbage(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.write(b"\x00\x01 this is no HTTP\r\n\r\n")
    request.transport.close()
    return web.Response()
