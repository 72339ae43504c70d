"""Where the time of our process goes: py-spy's samples of its event loop during a drain."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.draining import deadline_of, warm_up
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage

RATE = 200
SHOWN = 40


async def profile(stage: Stage, messages: int) -> str:
    """Two tables: shares of the CPU time by package and function, own and with all it calls."""
    raw = stage.folder / "profile.txt"
    numbers = range(messages)
    async with Ours(stage) as ours:
        await warm_up(stage, ours)
        ours.freeze()
        await ours.publish(numbers)
        stage.fake.begin()
        ours.thaw()
        spy = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("py-spy"), "record", "--pid", str(ours.pids[0]), "--native", "--rate", str(RATE), "--duration", "600", "--format", "raw", "--output", raw, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await stage.fake.wait_for(messages, deadline_of(numbers))
        await ours.settled()
        spy.send_signal(2)
        _, complaints = await spy.communicate()
        assert raw.exists(), complaints.decode()
    return _tables(raw.read_text())


def _tables(raw: str) -> str:
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    total = 0
    for stack, samples in _stacks(raw):
        total += samples
        own[stack[-1]] += samples
        packages[_package(stack[-1])] += samples
        for frame in set(stack):
            within[frame] += samples
    parts = [
        _table("own time by package", packages, total, 15),
        _table("own time by function", own, total, SHOWN),
        _table("time with what is called", within, total, SHOWN),
    ]
    return "\n\n".join(parts)


def _stacks(raw: str) -> Iterator[tuple[list[str], int]]:
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        yield [_frame(frame) for frame in stack.split(";")], int(samples)


def _frame(frame: str) -> str:
    """`name (path/to/file.py:12)` without the line and the way to the packages."""
    name, _, place = frame.rpartition(" (")
    path = place.rpartition(":")[0] if ":" in place else place.rstrip(")")
    return f"{_inside(path)} {name}"


def _inside(path: str) -> str:
    for root in ("site-packages/", f"{os.getcwd()}/", f"python{sys.version_info[0]}.{sys.version_info[1]}/"):
        path = path.rpartition(root)[2]
    return path


def _package(frame: str) -> str:
    path = frame.partition(" ")[0]
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "service" else parts[0]


def _table(title: str, counts: Counter[str], total: int, shown: int) -> str:
    rows = (f"{count / total:6.1%}  {name}" for name, count in counts.most_common(shown))
    return "\n".join((title, *rows))
