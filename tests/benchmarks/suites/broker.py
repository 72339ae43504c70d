"""Broker to provider: the service beside the baselines, each with a queue of the same messages."""

from collections.abc import Callable, Sequence

from tests.benchmarks.contestants import (
    CeleryApprise,
    Contestant,
    DramatiqRequests,
    FastStreamAiogram,
    Minimal,
)
from tests.benchmarks.draining import Drain, drain
from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage

Entry = tuple[str, Callable[[], Contestant]]

OWN_CPU = Goal("CPU of our process / A's", "ours: own CPU us", "A: own CPU us", at_most=1.0)


async def rounds(
    stage: Stage, entries: Sequence[Entry], *, count: int, messages: int, delay_ms: int = 0
) -> Figures:
    """Everybody in turn, round by round."""
    figures = Figures()
    for _ in range(count):
        for name, make in entries:
            note(figures, name, await drain(stage, make(), messages, delay_ms=delay_ms))
    return figures


async def drains(stage: Stage, *, count: int, messages: int) -> Figures:
    """A and ours only."""
    entries: list[Entry] = [("A", lambda: Minimal(stage)), ("ours", lambda: Ours(stage))]
    return await rounds(stage, entries, count=count, messages=messages)


def note(figures: Figures, name: str, result: Drain) -> None:
    figures.add(f"{name}: messages/s", result.rate)
    for part, microseconds in result.cpu.items():
        if part != "PostgreSQL" or name.startswith("ours"):
            figures.add(f"{name}: {part} CPU us", microseconds)
    figures.add(f"{name}: memory idle MiB", result.memory_idle)
    figures.add(f"{name}: memory peak MiB", result.memory_peak)


async def steady(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """The provider answers at once; events go to an exchange without queues, then into a durable queue."""
    entries: list[Entry] = [
        ("A", lambda: Minimal(stage)),
        ("ours", lambda: Ours(stage)),
        ("ours, events kept", lambda: Ours(stage, events_kept=True)),
    ]
    return await rounds(stage, entries, count=count, messages=messages), [
        Goal("rate, ours / A", "ours: messages/s", "A: messages/s", at_least=1.0),
        Goal("rate with events kept, ours / A", "ours, events kept: messages/s", "A: messages/s"),
        OWN_CPU,
        Goal("CPU of PostgreSQL / A's own", "ours: PostgreSQL CPU us", "A: own CPU us", at_most=0.3),
        Goal("CPU of RabbitMQ, ours / A", "ours: RabbitMQ CPU us", "A: RabbitMQ CPU us"),
    ]


async def slow_provider(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """The provider takes 50 ms; both may have 500 calls under way."""
    env = {"TG_CONCURRENCY": "500", "DELIVERY_CONCURRENCY": "500"}
    entries: list[Entry] = [
        ("A", lambda: Minimal(stage, prefetch=500, concurrency=500)),
        ("ours", lambda: Ours(stage, env=env)),
    ]
    return await rounds(stage, entries, count=count, messages=messages, delay_ms=50), [
        Goal("rate at 50 ms, ours / A", "ours: messages/s", "A: messages/s", at_least=1.0),
        Goal("CPU at 50 ms, ours / A", "ours: own CPU us", "A: own CPU us"),
    ]


async def peers(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """The usual ways to do it, which store nothing. Those of two processes have two against our one."""
    entries: list[Entry] = [
        ("B", lambda: CeleryApprise(stage)),
        ("C1", lambda: FastStreamAiogram(stage)),
        ("C2", lambda: DramatiqRequests(stage)),
        ("ours", lambda: Ours(stage)),
    ]
    figures = await rounds(stage, entries, count=count, messages=messages)
    both = zip(figures.series["C1: messages/s"], figures.series["C2: messages/s"], strict=True)
    figures.series["best of C: messages/s"] = [max(pair) for pair in both]
    return figures, [
        Goal("rate, ours / B (Celery, Apprise)", "ours: messages/s", "B: messages/s", at_least=5.0),
        Goal("rate, ours / best of C", "ours: messages/s", "best of C: messages/s", at_least=2.5),
    ]


async def processes(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """One, two and four processes of ours on one queue and one database."""
    entries: list[Entry] = [
        ("ours", lambda: Ours(stage)),
        ("ours x2", lambda: Ours(stage, replicas=2)),
        ("ours x4", lambda: Ours(stage, replicas=4)),
    ]
    return await rounds(stage, entries, count=count, messages=messages), [
        Goal("rate, two processes / one", "ours x2: messages/s", "ours: messages/s", at_least=1.6),
        Goal("rate, four processes / one", "ours x4: messages/s", "ours: messages/s"),
    ]
