"""The rendering process: texts from templates that nobody has to trust.

It reads frames (four bytes of length, big-endian, and JSON) from standard input and answers each
with one on standard output, in order; the first frame it writes is empty and says that it is ready.
CPU time, memory and the length of a text are limited. A template cannot reach files, the network or
the service's secrets: they are not in this process's environment.

Only the standard library, jinja2 and babel are imported, so that it starts fast.
"""

import json
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, BinaryIO, NoReturn
from zoneinfo import ZoneInfo

from jinja2 import Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables

from service.content.filters import Filters, Reader, as_money, locale_of
from service.content.language import Format, Language

Json = dict[str, Any]

_COMPILED = 256
_REASON_MAX_CHARS = 300
_FORMATS: tuple[Format, ...] = ("plain", "markdown", "html")


class OverrunError(BaseException):
    """Out of CPU time. No `except Exception` on the way may catch it."""


class TooLongError(Exception):
    """The text is longer than allowed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one rendering may use."""

    cpu_seconds: float
    output_max_chars: int
    memory_max_mib: int


class Work:
    """Renders and inspects templates."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._filters = Filters()
        self._languages = {written_in: Language(written_in, self._filters) for written_in in _FORMATS}
        self._compiled = lru_cache(maxsize=_COMPILED)(self._compile)

    def answer(self, job: Json) -> Json:
        """The answer to one frame. Errors are part of it, all but a `MemoryError`."""
        try:
            signal.setitimer(signal.ITIMER_PROF, self._bounds.cpu_seconds)
            try:
                return self._inspect(job) if job["do"] == "inspect" else self._render(job)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except OverrunError:
            return _error("overrun", f"took more than {self._bounds.cpu_seconds:g} s and was stopped")

    def _render(self, job: Json) -> Json:
        now = datetime.now(UTC) if job["now"] is None else datetime.fromisoformat(job["now"])
        self._filters.reader = Reader(locale_of(job["locale"]), ZoneInfo(job["zone"]), now)
        types: Mapping[str, str] = job["types"]
        params = {name: _converted(kind, job["params"].get(name)) for name, kind in types.items()}
        texts = {}
        for part, written_in in _parts(job):
            try:
                texts[part] = self._text(self._compiled(written_in, job[part]), params)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a template does is its author's to know
                return _failure(part, error)
        return texts

    def _compile(self, written_in: Format, source: str) -> Template:
        return self._languages[written_in].from_string(source)

    def _text(self, template: Template, params: Json) -> str:
        pieces, length = [], 0
        for piece in template.generate(params):
            length += len(piece)
            if length > self._bounds.output_max_chars:
                raise TooLongError(f"is longer than {self._bounds.output_max_chars} characters")
            pieces.append(piece)
        return "".join(pieces)

    def _inspect(self, job: Json) -> Json:
        names: set[str] = set()
        plurals: list[Json] = []
        for part, written_in in _parts(job):
            try:
                language = self._languages[written_in]
                tree = language.parse(job[part])
                names |= find_undeclared_variables(tree)
                self._compiled(written_in, job[part])
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - the same
                return _failure(part, error)
            plurals += ({"part": part, **found} for found in _plurals(tree))
        return {"names": sorted(names - {"range", "namespace"}), "plurals": plurals}


def _parts(job: Json) -> tuple[tuple[str, Format], ...]:
    return ("title", "plain"), ("body", job["format"])


def _converted(kind: str, value: Any) -> Any:
    """A JSON value as templates see it."""
    if value is None:
        return None
    match kind:
        case "datetime":
            return datetime.fromisoformat(value.upper())
        case "date":
            return date.fromisoformat(value)
        case "money":
            return as_money(value)
        case "integer":
            return int(value)
        case _:
            return value


def _plurals(tree: nodes.Template) -> Iterable[Json]:
    for node in tree.find_all(nodes.Filter):
        if node.name == "plural" and node.dyn_kwargs is None:
            yield {"line": node.lineno, "forms": [pair.key for pair in node.kwargs]}


def _error(code: str, reason: str, part: str = "", line: int | None = None) -> Json:
    shown = reason if len(reason) <= _REASON_MAX_CHARS else reason[:_REASON_MAX_CHARS] + "…"
    return {"error": {"code": code, "reason": shown, "part": part, "line": line}}


def _failure(part: str, error: Exception) -> Json:
    match error:
        case TemplateSyntaxError():
            return _error("syntax", error.message or "is not a template", part, error.lineno)
        case TooLongError():
            return _error("too_long", str(error), part)
        case UndefinedError():
            return _error("undefined", str(error), part, _line(error.__traceback__))
        case SecurityError():
            return _error("forbidden", str(error), part, _line(error.__traceback__))
        case RecursionError():
            return _error("failed", "is nested too deeply", part)
        case _:
            reason = str(error) or type(error).__name__
            return _error("failed", reason, part, _line(error.__traceback__))


def _line(trace: TracebackType | None) -> int | None:
    """Where in the template it happened: Jinja2 writes its own lines into the traceback."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def serve(work: Callable[[Json], Json], source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until the input ends."""
    _write(sink, b"")
    while head := source.read(4):
        frame = source.read(int.from_bytes(head, "big"))
        _write(sink, json.dumps(work(json.loads(frame))).encode())


def _write(sink: BinaryIO, frame: bytes) -> None:
    sink.write(len(frame).to_bytes(4, "big") + frame)
    sink.flush()


def _stop(_signal: int, _frame: object) -> NoReturn:
    raise OverrunError


def main() -> None:
    """The process: its bounds are JSON in the first argument."""
    bounds = Bounds(**json.loads(sys.argv[1]))
    memory = bounds.memory_max_mib * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the parent, which ends this by closing the pipe
    signal.signal(signal.SIGPROF, _stop)
    work = Work(bounds)
    work.answer({"do": "render", "title": "", "body": "{{ now|datetime }}", "format": "plain"} | _FIRST)
    # Whoever filled the memory, this job or those before it: the parent tries it once more in a new process.
    with suppress(MemoryError):
        serve(work.answer, sys.stdin.buffer, sys.stdout.buffer)


_FIRST = {
    "params": {"now": "2030-01-01T00:00:00Z"},
    "types": {"now": "datetime"},
    "locale": "en",
    "zone": "UTC",
    "now": None,
}

if __name__ == "__main__":
    main()
