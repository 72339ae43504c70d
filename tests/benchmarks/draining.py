"""One measurement of a contestant that drains a filled queue."""

import asyncio
from dataclasses import dataclass

from tests.benchmarks import meters
from tests.benchmarks.contestants import Contestant
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage

WARM_UP = range(90_000_000, 90_000_500)
SLOWEST_RATE = 50


@dataclass(frozen=True)
class Drain:
    """`rate` is messages a second at the provider; `cpu` microseconds a message, by process; memory in MiB."""

    rate: float
    cpu: dict[str, float]
    memory_idle: float
    memory_peak: float


async def drain(stage: Stage, contestant: Contestant, messages: int, *, delay_ms: int = 0) -> Drain:
    """Fill the queue while the contestant stands still, let it go, and wait until all is done.

    Asserts that the provider got every message once, that the queue is empty and, of ours, that all
    is stored and reported.
    """
    numbers = range(int(messages * contestant.share))
    async with contestant:
        await warm_up(stage, contestant, delay_ms)
        idle = meters.memory_mib(contestant.pids)
        contestant.freeze()
        await contestant.publish(numbers)
        stage.fake.begin(delay_ms)
        before = contestant.cpu()
        contestant.thaw()
        await stage.fake.wait_for(len(numbers), deadline_of(numbers))
        await contestant.settled()
        after = contestant.cpu()
        peak = meters.peak_memory_mib(contestant.pids)
        if isinstance(contestant, Ours):
            await contestant.assert_stored(len(numbers) + len(WARM_UP))
        await last_acknowledgements(delay_ms)
    arrivals = stage.fake.arrivals()
    arrivals.assert_each_once(numbers)
    cpu = {part: (after[part] - before[part]) / len(numbers) * 1e6 for part in after}
    return Drain(arrivals.steady_rate(), cpu, idle, peak)


async def warm_up(stage: Stage, contestant: Contestant, delay_ms: int = 0) -> None:
    """Everything is connected, imported and has run once when this returns."""
    stage.fake.begin(delay_ms)
    await contestant.publish(WARM_UP)
    await stage.fake.wait_for(len(WARM_UP), deadline_of(WARM_UP))
    await contestant.settled()
    await last_acknowledgements(delay_ms)


async def last_acknowledgements(delay_ms: int) -> None:
    """The provider counts a call when it comes; the answer and the acknowledgement follow it."""
    await asyncio.sleep(0.2 + delay_ms / 1_000)


def deadline_of(numbers: range) -> float:
    return 60 + len(numbers) / SLOWEST_RATE
