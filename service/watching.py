"""A mailing's progress drawn in a terminal, as events of its stream tell it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

_BARS = ("made", "sent", "failed", "suppressed")


def draw(progress: Iterable[dict[str, Any]], console: Console | None = None) -> str:
    """A bar for what was made, sent, failed and suppressed of what is planned, and a line below. Returns the last status."""
    console = console or Console()
    bars = Progress(TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), console=console)
    tasks = {name: bars.add_task(name, total=None) for name in _BARS}
    status = "unknown"
    with Live(bars, console=console, refresh_per_second=4) as live:
        for now in progress:
            status = now["status"]
            for name, count in _counts(now).items():
                bars.update(tasks[name], completed=count, total=now["planned"])
            live.update(Group(bars, Text(line_of(now))))
    return status


def line_of(progress: dict[str, Any]) -> str:
    """State, rate and end in words."""
    parts = [progress["status"]]
    if progress["waits_for"]:
        parts.append(f"waits for: {progress['waits_for']}")
    if progress["rate"] is not None:
        parts.append(f"{progress['rate']:.1f}/s")
    if progress["remaining"] is not None:
        parts.append(f"{progress['remaining']} remaining")
    if progress["eta"]:
        parts.append(f"done {_when(progress['eta'])}")
    parts += [f"{kind} {count}" for kind, count in progress["failed"].items()]
    if progress["reason"]:
        parts.append(progress["reason"])
    return "   ".join(parts)


def _counts(progress: dict[str, Any]) -> dict[str, int]:
    return {
        "made": progress["made"],
        "sent": progress["sent"],
        "failed": sum(progress["failed"].values()),
        "suppressed": sum(progress["suppressed"].values()),
    }


def _when(moment: str) -> str:
    at = datetime.fromisoformat(moment).astimezone()
    return f"{at:%H:%M:%S}" if at.date() == datetime.now(UTC).astimezone().date() else f"{at:%Y-%m-%d %H:%M}"
