"""Where the time of our process goes: py-spy's samples of its event loop during a drain."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.draining import deadline_of, warm_up
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage
from tests.support.service import ROOT

RATE = 100
SHOWN = 30
_OUTER = 0.85
_WORKER = "concurrent/futures/thread.py _worker"
_WORK = "concurrent/futures/thread.py _WorkItem.run"


async def profile(stage: Stage, messages: int) -> str:
    """Three tables: shares of the CPU time by package and function, own and with all it calls."""
    raw = stage.folder / "profile.txt"
    numbers = range(messages)
    async with Ours(stage) as ours:
        await warm_up(stage, ours)
        ours.freeze()
        await ours.publish(numbers)
        stage.fake.begin()
        spy = await asyncio.create_subprocess_exec(
            *_command(ours.pids[0], raw), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        ours.thaw()
        await stage.fake.wait_for(messages, deadline_of(numbers))
        await ours.settled()
        spy.send_signal(signal.SIGINT)
        said, _ = await spy.communicate()
        assert raw.exists(), said.decode()
    return _tables(raw.read_text())


def _command(pid: int, output: Path) -> list[str]:
    spy = str(Path(sys.executable).with_name("py-spy"))
    return [
        spy,
        "record",
        "--pid",
        str(pid),
        "--native",
        "--rate",
        str(RATE),
        "--format",
        "raw",
        "--duration",
        "600",
        "--output",
        str(output),
    ]


def _tables(raw: str) -> str:
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    for stack, samples in _stacks(raw):
        own[stack[-1]] += samples
        packages[_package(stack[-1])] += samples
        for frame in set(stack):
            within[frame] += samples
    total = own.total()
    # What stands around everything tells nothing, nor does the inside of C.
    inner = Counter({f: samples for f, samples in within.items() if ".py " in f and samples < _OUTER * total})
    parts = [
        _table("own time by package", packages, total, SHOWN // 2),
        _table("own time by function", own, total, SHOWN),
        _table("time with what is called", inner, total, 2 * SHOWN),
    ]
    return "\n\n".join(parts)


def _stacks(raw: str) -> Iterator[tuple[list[str], int]]:
    """From the outermost function inwards; without threads that wait for work."""
    for line in raw.splitlines():
        frames, _, samples = line.rpartition(" ")
        stack = [_frame(frame) for frame in frames.split(";")]
        if not any(frame.startswith(_WORKER) for frame in stack) or any(
            frame.startswith(_WORK) for frame in stack
        ):
            yield stack, int(samples)


def _frame(frame: str) -> str:
    """`name (path/to/file.py:12)` without the line and the way to the packages."""
    name, _, place = frame.rpartition(" (")
    path = place.rpartition(":")[0] if ":" in place else place.rstrip(")")
    return f"{_inside(path)} {name}"


def _inside(path: str) -> str:
    for root in ("site-packages/", f"{ROOT}/", f"python{sys.version_info[0]}.{sys.version_info[1]}/"):
        path = path.rpartition(root)[2]
    return path


def _package(frame: str) -> str:
    path = frame.partition(" ")[0]
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "service" else parts[0]


def _table(title: str, counts: Counter[str], total: int, shown: int) -> str:
    rows = (f"{count / total:6.1%}  {name}" for name, count in counts.most_common(shown))
    return "\n".join((title, *rows))
