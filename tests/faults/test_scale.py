"""What merely waits, and what is long finished, costs nothing."""

import pytest

from tests.faults.query_plans import INTAKE, PACED_TICK, TICK, fill, measure, plans
from tests.faults.support import FULL, FULL_TIMEOUT, CrashablePostgres, size, tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

WAITING, FINISHED = size(100_000, 1_000_000), size(200_000, 10_000_000)
FACTOR = 2.5
JUDGED = (INTAKE, TICK, PACED_TICK)


async def test_rows_that_wait_or_are_finished_do_not_slow_it_down(
    crashable_postgres: CrashablePostgres,
) -> None:
    url = crashable_postgres.url
    await measure(url)  # warm
    before = (await measure(url)).milliseconds()
    await fill(url, WAITING, "queued")
    await fill(url, FINISHED, "sent")
    await measure(url)  # pages that were only written are read once
    watch = await measure(url)
    after = watch.milliseconds()
    ratios = {name: round(after[name] / before[name], 2) for name in before}
    tell(
        "scale", waiting=WAITING, finished=FINISHED, milliseconds_before={k: round(v, 2) for k, v in before.items()},
        milliseconds_after={k: round(v, 2) for k, v in after.items()}, ratios=ratios,
    )  # fmt: skip
    explained = await plans(url, watch)
    assert not [name for name, plan in explained.items() if "Seq Scan on delivery" in plan]
    assert not [name for name, plan in explained.items() if "Seq Scan on notification" in plan]
    if FULL:
        # At the small size a statement takes a millisecond, and its time says more about the machine:
        # there the plans are the proof.
        assert all(ratios[name] < FACTOR for name in JUDGED), ratios
