"""Rendering, in a process of its own that is killed and started again when a template does not behave."""

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from service.content.templates import Format, TemplateVersion, Variant, formats_of
from service.settings import TemplateSettings

log = logging.getLogger(__name__)

_ROOT = str(Path(__file__).parents[2])
_AHEAD = 64
_START_SECONDS = 30.0
_FRAME_MAX_BYTES = 64 * 1024 * 1024
_STRIKES = 3


@dataclass(frozen=True, slots=True)
class Rendered:
    """A variant with its params in it."""

    title: str
    body: str
    format: Format


class RenderError(Exception):
    """A text that could not be made.

    `code` is stable: syntax, undefined, forbidden, failed, too_long, memory, overrun; or, with
    `temporary`, `unavailable`: it is worth trying again in a minute. `part`: title, body or "".
    """

    def __init__(
        self, code: str, reason: str, part: str = "", line: int | None = None, *, temporary: bool = False
    ) -> None:
        self.code, self.reason, self.part, self.line, self.temporary = code, reason, part, line, temporary
        place = " ".join(word for word in (part, f"line {line}" if line else "") if word)
        super().__init__(f"{place}: {reason}" if place else reason)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a variant's texts use: names of params, and the plural forms of each use of that filter."""

    names: frozenset[str]
    plurals: tuple["PluralUse", ...]


@dataclass(frozen=True, slots=True)
class PluralUse:
    """One `plural(one=…, other=…)`."""

    part: str
    line: int
    forms: frozenset[str]


@dataclass(slots=True)
class _Pending:
    frame: bytes
    source: int
    answer: asyncio.Future[dict[str, Any]]
    deaths: int = 0


@dataclass(slots=True)
class _Child:
    process: Process
    written: int = 0

    async def read(self) -> bytes:
        stream = self.process.stdout
        if stream is None:
            raise RuntimeError("the child has no output")
        length = int.from_bytes(await stream.readexactly(4), "big")
        if length > _FRAME_MAX_BYTES:
            raise asyncio.IncompleteReadError(b"", length)
        return await stream.readexactly(length)

    def write(self, frame: bytes) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(len(frame).to_bytes(4, "big") + frame)
        self.written += 1

    async def end(self) -> None:
        # Not Popen.kill(): that may reap the process, and asyncio then misses its end.
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
        await self.process.wait()


@dataclass(slots=True)
class _Strikes:
    """How often the texts of one template overran time or memory in a row, and until when it is left alone."""

    count: int = 0
    rest_until: float = 0.0


@dataclass(slots=True)
class _Penalties:
    """Templates that overrun again and again are not tried for a while: others wait behind them."""

    rest_seconds: float
    strikes: dict[int, _Strikes] = field(default_factory=dict)

    def resting(self, source: int, now: float) -> bool:
        known = self.strikes.get(source)
        return known is not None and known.rest_until > now

    def judge(self, source: int, *, overran: bool, now: float) -> None:
        if not overran:
            self.strikes.pop(source, None)
            return
        known = self.strikes.setdefault(source, _Strikes())
        known.count += 1
        if known.count >= _STRIKES:
            known.rest_until = now + self.rest_seconds


class Renderer:
    """Renders one text after the other, in the order of the calls; any number may wait.

    A text that overruns its time or memory fails alone: the process is started again for the others.
    """

    def __init__(self, settings: TemplateSettings) -> None:
        self._settings = settings
        self._pending: deque[_Pending] = deque()
        self._arrived = asyncio.Event()
        self._child: _Child | None = None
        self._serving: asyncio.Task[None] | None = None
        self._penalties = _Penalties(settings.rest_seconds)

    async def start(self) -> None:
        """Begin to serve; the process starts with the first text. Before this and after `close` nothing is rendered."""
        self._serving = asyncio.create_task(self._serve(), name="template rendering")

    async def close(self) -> None:
        """Stop it. What still waits fails as temporarily unavailable."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        await self._drop_child()
        while self._pending:
            self._fail("unavailable", "the service is stopping")

    async def render(
        self,
        version: TemplateVersion,
        variant: Variant,
        params: Mapping[str, Any],
        *,
        locale: str,
        zone: str,
        now: datetime | None = None,
    ) -> Rendered:
        """The texts of a variant, for a person with that locale and zone. Raises `RenderError`.

        `params` passed `check_params`. `now`: what relative times are told from; None: the time of rendering.
        """
        answer = await self._ask(
            variant,
            {
                "do": "render",
                "types": {param.name: param.type for param in version.params},
                "params": params,
                "locale": formats_of(variant, locale),
                "zone": zone,
                "now": None if now is None else now.isoformat(),
            },
        )
        return Rendered(answer["title"], answer["body"], variant.format)

    async def inspect(self, variant: Variant) -> Inspection:
        """What the texts of a variant use. Raises `RenderError` for what is no template."""
        answer = await self._ask(variant, {"do": "inspect"})
        uses = (PluralUse(use["part"], use["line"], frozenset(use["forms"])) for use in answer["plurals"])
        return Inspection(frozenset(answer["names"]), tuple(uses))

    async def _ask(self, variant: Variant, job: dict[str, Any]) -> dict[str, Any]:
        source = hash((variant.title, variant.body, variant.format))
        clock = asyncio.get_running_loop().time
        if self._serving is None:
            raise RenderError("unavailable", "templates are not rendered here now", temporary=True)
        if self._penalties.resting(source, clock()):
            raise RenderError(
                "unavailable", "this template overran again and again; it rests", temporary=True
            )
        job |= {"title": variant.title, "body": variant.body, "format": variant.format}
        pending = _Pending(json.dumps(job).encode(), source, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._arrived.set()
        answer = await pending.answer
        error = answer.get("error")
        overran = error is not None and error["code"] in ("overrun", "memory")
        self._penalties.judge(source, overran=overran, now=clock())
        if error is not None:
            raise RenderError(**error)
        return answer

    async def _serve(self) -> None:
        while True:
            if not self._pending:
                self._arrived.clear()
                await self._arrived.wait()
            try:
                await self._answer_next()
            except OSError as error:
                self._fail("unavailable", f"the rendering process does not start: {error}")

    async def _answer_next(self) -> None:
        """One answer for the head of the queue; what follows is written ahead meanwhile."""
        child = self._child or await self._spawn()
        self._child = child
        while child.written < min(len(self._pending), _AHEAD):
            child.write(self._pending[child.written].frame)
        try:
            async with asyncio.timeout(self._settings.kill_seconds):
                answer = json.loads(await child.read())
        except TimeoutError:
            log.warning("the rendering process did not answer and is started again")
            await self._drop_child()
            self._fail(
                "overrun", f"took more than {self._settings.render_timeout_seconds:g} s and was stopped"
            )
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._drop_child()
            self._blame_head()
        else:
            child.written -= 1
            self._settle(answer)

    def _blame_head(self) -> None:
        """The process died. It may have been what came before, once."""
        self._pending[0].deaths += 1
        if self._pending[0].deaths > 1:
            self._fail("memory", f"needs more than {self._settings.memory_max_mib} MiB of memory")

    def _fail(self, code: str, reason: str) -> None:
        error = {"code": code, "reason": reason, "temporary": code == "unavailable"}
        self._settle({"error": error})

    def _settle(self, answer: dict[str, Any]) -> None:
        waiting = self._pending.popleft().answer
        if not waiting.done():
            waiting.set_result(answer)

    async def _spawn(self) -> _Child:
        bounds = {
            "cpu_seconds": self._settings.render_timeout_seconds,
            "output_max_chars": self._settings.output_max_chars,
            "memory_max_mib": self._settings.memory_max_mib,
        }
        # Nothing of our own environment: it holds the service's secrets.
        paths = os.pathsep.join((_ROOT, *(path for path in sys.path if path)))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "service.content.renderer",
            json.dumps(bounds),
            stdin=PIPE,
            stdout=PIPE,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": paths},
        )
        child = _Child(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child.read()
        except BaseException as error:
            await child.end()
            if isinstance(error, asyncio.IncompleteReadError | TimeoutError):
                raise OSError("it ended before it was ready") from None
            raise
        return child

    async def _drop_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()
