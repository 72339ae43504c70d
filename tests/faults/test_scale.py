"""What merely waits, and what is long finished, costs nothing."""

import pytest

from tests.faults.query_plans import INTAKE, PACED_TICK, TICK, fill, measure, pages, plans
from tests.faults.support import FULL_TIMEOUT, CrashablePostgres, size, tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

SOME = 1_000
WAITING, FINISHED = size(30_000, 1_000_000), size(60_000, 10_000_000)
FACTOR = 2.0
"""An index of ten million entries is some levels deeper than one of a thousand."""
JUDGED = (INTAKE, TICK, PACED_TICK)


async def test_rows_that_wait_or_are_finished_do_not_slow_it_down(
    crashable_postgres: CrashablePostgres,
) -> None:
    url = crashable_postgres.url
    await fill(url, SOME, "sent")
    watch = await measure(url)
    milliseconds_before, before = watch.milliseconds(), await pages(url, watch)
    await fill(url, WAITING, "queued")
    await fill(url, FINISHED, "sent")
    await measure(url)  # pages that were only written are read once
    watch = await measure(url)
    after = await pages(url, watch)
    tell(
        "scale", waiting=WAITING, finished=FINISHED, pages_before=before, pages_after=after,
        milliseconds_before=_short(milliseconds_before), milliseconds_after=_short(watch.milliseconds()),
    )  # fmt: skip
    explained = await plans(url, watch)
    assert not [name for name, plan in explained.items() if "Seq Scan on delivery" in plan]
    assert not [name for name, plan in explained.items() if "Seq Scan on notification" in plan]
    assert all(after[name] <= FACTOR * before[name] for name in JUDGED), (before, after)


def _short(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in figures.items()}
