"""Time from publishing to the provider, at a steady pace."""

import asyncio
import time
from collections.abc import Callable
from statistics import median, quantiles

from tests.benchmarks.contestants import Contestant, Minimal
from tests.benchmarks.draining import last_acknowledgements, warm_up
from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.messages import bodies, properties
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage

PACES = (50, 200)
SECONDS = 15
LEAD_IN_SECONDS = 1


async def latency(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """15 seconds at 50 and at 200 messages a second, of which the first second is not counted."""
    entries: list[tuple[str, Callable[[], Contestant]]] = [
        ("A", lambda: Minimal(stage)),
        ("ours", lambda: Ours(stage)),
    ]
    figures = Figures()
    for _ in range(count):
        for pace in PACES:
            for name, make in entries:
                times = await _latencies(stage, make(), pace, min(messages, pace * SECONDS))
                figures.add(f"{name} at {pace}/s: median ms", median(times))
                figures.add(f"{name} at {pace}/s: p99 ms", quantiles(times, n=100)[98])
    return figures, [
        Goal("median at 50/s, ours / A", "ours at 50/s: median ms", "A at 50/s: median ms"),
        Goal("p99 at 50/s, ours / A", "ours at 50/s: p99 ms", "A at 50/s: p99 ms"),
        Goal("median at 200/s, ours / A", "ours at 200/s: median ms", "A at 200/s: median ms", at_most=2.0),
        Goal("p99 at 200/s, ours / A", "ours at 200/s: p99 ms", "A at 200/s: p99 ms", at_most=3.0),
    ]


async def _latencies(stage: Stage, contestant: Contestant, pace: int, messages: int) -> list[float]:
    """Milliseconds from just before each publish to the arrival of its call."""
    numbers = range(messages)
    async with contestant:
        await warm_up(stage, contestant)
        stage.fake.begin()
        published = await _publish_at(stage, contestant.queue, bodies(numbers), pace)
        await stage.fake.wait_for(messages, 60)
        await contestant.settled()
        await last_acknowledgements(0)
    arrivals = stage.fake.arrivals()
    arrivals.assert_each_once(numbers)
    came = arrivals.by_number()
    return [(came[number] - published[number]) * 1e3 for number in numbers[pace * LEAD_IN_SECONDS :]]


async def _publish_at(stage: Stage, queue: str, waiting: list[bytes], pace: int) -> list[float]:
    """When each was published."""
    published: list[float] = []
    async with stage.amqp.channel() as channel, asyncio.TaskGroup() as confirms:
        amqp = await channel.get_underlay_channel()
        began = time.monotonic()
        for number, body in enumerate(waiting):
            await asyncio.sleep(began + number / pace - time.monotonic())
            published.append(time.monotonic())
            confirms.create_task(amqp.basic_publish(body, routing_key=queue, properties=properties()))
    return published
