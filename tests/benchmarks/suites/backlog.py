"""A stored backlog: rows that were taken in while their sender was paused, and then are let go."""

from tests.benchmarks.draining import WARM_UP, deadline_of, warm_up
from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.ours import Ours
from tests.benchmarks.stage import Stage
from tests.support.waiting import wait_until

_ARE_QUEUED = "SELECT count(*) = $1 FROM delivery WHERE status = 'queued'"
SENDER = "/v1/senders/TG"


async def backlog(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """Every row is claimed from the table; none is handed over by intake."""
    figures = Figures()
    for _ in range(count):
        await _let_go(stage, figures, messages)
    return figures, [Goal("stored backlog, messages/s", "ours, backlog: messages/s")]


async def _let_go(stage: Stage, figures: Figures, messages: int) -> None:
    numbers = range(messages)
    async with Ours(stage) as ours:
        (service,) = ours.services
        await warm_up(stage, ours)
        assert service.call("POST", f"{SENDER}/pause", {"reason": "benchmark"}).status < 300
        await ours.publish(numbers)
        await wait_until(
            lambda: ours.sql.fetchval(_ARE_QUEUED, messages), deadline_of(numbers), "all are queued"
        )
        stage.fake.begin()
        before = ours.cpu()
        assert service.call("POST", f"{SENDER}/resume").status < 300
        await stage.fake.wait_for(messages, deadline_of(numbers))
        await ours.settled()
        after = ours.cpu()
        await ours.assert_stored(messages + len(WARM_UP))
    arrivals = stage.fake.arrivals()
    arrivals.assert_each_once(numbers)
    figures.add("ours, backlog: messages/s", arrivals.steady_rate())
    for part in ("own", "PostgreSQL"):
        figures.add(f"ours, backlog: {part} CPU us", (after[part] - before[part]) / messages * 1e6)
