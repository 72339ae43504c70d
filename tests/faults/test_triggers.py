"""Triggers in real processes: schedulers that are killed, downtime, and a million of them that merely wait."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from service.triggers import queries
from tests.conftest import StartService
from tests.faults.support import (
    FULL_TIMEOUT,
    QUICK,
    CrashablePostgres,
    WebhookProcess,
    query,
    settled,
    size,
    tell,
    value,
)
from tests.support.brokers import RabbitNode
from tests.support.net import free_port
from tests.support.service import Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

EVERY_SECOND: dict[str, Any] = {"kind": "interval", "every_seconds": 1}


async def _make(service: Service, name: str, **fields: Any) -> str:
    draft = {"name": name, "action": {"notification": {"body": name, "sender": "WEBHOOK"}}, **fields}
    answer = await service.acall("POST", "/v1/triggers", draft)
    assert answer.status == 201, answer.body
    return str(answer.json()["id"])


async def _ended(url: str, deadline: float) -> None:
    async def ended() -> bool:
        return not await value(url, "SELECT count(*) FROM trigger WHERE state = 'active'")

    await wait_until(ended, deadline, "every trigger has ended")


@pytest.mark.parametrize("through", ["memory", "rabbit"])
async def test_two_schedulers_of_which_one_is_killed_again_and_again(
    through: str,
    request: pytest.FixtureRequest,
    crashable_postgres: CrashablePostgres,
    webhook: WebhookProcess,
    start_service: StartService,
) -> None:
    """Each occurrence is fired once: one run, one notification, at the receiver once but for what was in flight."""
    seconds, count, random = size(8, 300), size(20, 50), Random(3)
    url = crashable_postgres.url
    env = {**QUICK, **webhook.env, "DATABASE_URL": url, "TRIGGERS_RESEND_SECONDS": "2"}
    if through == "rabbit":
        node: RabbitNode = request.getfixturevalue("rabbit_node")
        queue = f"triggers-{uuid4()}"
        env |= {**node.env, "RABBITMQ_QUEUE_NAME": queue, "RABBITMQ_EVENTS_QUEUE_NAME": f"{queue}-events"}
    replicas = [start_service(env), start_service(env)]
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    end = start + timedelta(seconds=seconds)
    limits = {"start_at": start.isoformat(), "end_at": end.isoformat(), "misfire": {"policy": "all"}}
    triggers = [
        await _make(replicas[number % 2], f"trigger {number}", schedule=EVERY_SECOND, **limits)
        for number in range(count)
    ]
    kills = in_flight = 0
    while datetime.now(UTC) < end:
        await asyncio.sleep(random.uniform(1, 4))  # when the next one dies is the point of the test
        victim = random.choice(replicas)
        await asyncio.to_thread(victim.kill)
        in_flight += await value(url, "SELECT count(*) FROM delivery WHERE status = 'sending'")
        kills += 1
        await asyncio.to_thread(victim.start)
    await _ended(url, 120)
    await settled(url, 120)

    runs = await query(url, "SELECT trigger_id, occurrence, outcome, notification_id FROM trigger_run")
    assert {run["outcome"] for run in runs} == {"made"}
    fired = Counter((str(run["trigger_id"]), run["occurrence"]) for run in runs)
    expected = {(one, start + timedelta(seconds=n)) for one in triggers for n in range(seconds + 1)}
    assert set(fired) == expected
    assert set(fired.values()) == {1}
    assert await value(url, "SELECT count(*) FROM notification") == len(expected)
    arrived = Counter(call["headers"]["webhook-id"] for call in webhook.calls() if call["accepted"])
    assert len(arrived) == len(expected)
    twice = sum(arrived.values()) - len(expected)
    assert twice <= in_flight
    late = await query(
        url, "SELECT extract(epoch FROM fired_at - occurrence)::float8 AS late FROM trigger_run"
    )
    tell(
        f"two schedulers, {through}", occurrences=len(expected), kills=kills, in_flight_at_kills=in_flight,
        arrived_twice=twice, late_p50=_percentile([row["late"] for row in late], 0.5),
        late_p99=_percentile([row["late"] for row in late], 0.99),
    )  # fmt: skip


async def test_downtime(
    crashable_postgres: CrashablePostgres, webhook: WebhookProcess, start_service: StartService
) -> None:
    """After it `all` has every occurrence, `once` the newest of those that were missed, `skip` none of them."""
    down, url = size(6, 600), crashable_postgres.url
    env = {**QUICK, **webhook.env, "DATABASE_URL": url}
    service = start_service(env)
    ids = {
        policy: await _make(
            service,
            policy,
            schedule=EVERY_SECOND,
            misfire={"policy": policy, **({"max_late_seconds": 4} if policy == "skip" else {})},
        )
        for policy in ("skip", "once", "all")
    }

    async def fired(policy: str) -> list[datetime]:
        rows = await query(
            url,
            "SELECT occurrence FROM trigger_run WHERE trigger_id = $1 AND outcome = 'made' ORDER BY occurrence",
            ids[policy],
        )
        return [row["occurrence"] for row in rows]

    async def each_fired() -> bool:
        return all([len(await fired(policy)) >= 2 for policy in ids])

    await wait_until(each_fired, 30, "they fire")
    await asyncio.to_thread(service.kill)
    stopped = datetime.now(UTC)
    last = {policy: (await fired(policy))[-1] for policy in ids}
    await asyncio.sleep(down)
    await asyncio.to_thread(service.start)

    async def caught_up() -> bool:
        return all([(await fired(policy))[-1] > stopped + timedelta(seconds=down + 3) for policy in ids])

    await wait_until(caught_up, 60 + down / 10, "they have caught up")
    await asyncio.to_thread(service.terminate)
    second = timedelta(seconds=1)
    every = await fired("all")
    assert every == [every[0] + second * n for n in range(len(every))]
    for policy, most_late in (("skip", 4), ("once", None)):
        rows = await query(
            url,
            """SELECT occurrence, fired_at FROM trigger_run
            WHERE trigger_id = $1 AND outcome = 'made' AND occurrence > $2 ORDER BY occurrence""",
            ids[policy],
            last[policy],
        )
        gap = rows[0]["occurrence"] - last[policy]
        assert gap > second * (down - (most_late or 0)), policy
        if most_late is not None:
            assert all(row["fired_at"] - row["occurrence"] <= second * most_late for row in rows)
        else:
            assert rows[0]["fired_at"] - rows[0]["occurrence"] < second
    skipped = await query(url, "SELECT DISTINCT trigger_id FROM trigger_run WHERE outcome = 'skipped'")
    assert ids["all"] not in {str(row["trigger_id"]) for row in skipped}
    assert {ids["skip"], ids["once"]} <= {str(row["trigger_id"]) for row in skipped}


_FILL = """
WITH made AS (
    INSERT INTO trigger (id, name, kind, draft, state, anchor_at, runs, created_at, updated_at)
    SELECT gen_random_uuid(), $5 || i, 'interval', json_build_object(
            'name', $5 || i, 'schedule', '{"kind": "interval", "every_seconds": 31536000}'::json,
            'action', '{"notification": {"body": "x", "sender": "WEBHOOK"}}'::json),
        'active', $1, 0, now(), now()
    FROM generate_series(1, $2::int) AS i RETURNING id
), numbered AS (SELECT id, row_number() OVER () - 1 AS n FROM made)
INSERT INTO trigger_due (trigger_id, repeats, held, zone, occurrence, due_at, attempt)
SELECT id, true, false, '', at, at, 0
FROM (SELECT id, $1 + CASE WHEN n % 4 = 0 THEN floor(n * $3::float8 / 60) * 60 ELSE n * $3::float8 END
        * interval '1 second' * $4::float8 AS at FROM numbered) t
"""


async def test_a_million_that_wait_cost_nothing(
    crashable_postgres: CrashablePostgres, webhook: WebhookProcess, start_service: StartService
) -> None:
    """A thousand are due a minute, a quarter of them at its first second; a million others wait for next year."""
    minutes, waiting = size(0.25, 4), size(20_000, 1_000_000)
    due, url = int(minutes * 1_000), crashable_postgres.url
    service = start_service({**QUICK, **webhook.env, "DATABASE_URL": url}, ready=True)
    connection = await asyncpg.connect(url)
    horizon = datetime.now(UTC) + timedelta(minutes=5)
    await connection.execute(_FILL, datetime.now(UTC) + timedelta(days=300), 1_000, 60.0, 1.0, "few ")
    before = await _tick(connection, horizon)
    filled = time.monotonic()
    await connection.execute(
        _FILL, datetime.now(UTC) + timedelta(days=300), waiting, 1.0, 1.0, "many ", timeout=900
    )
    await connection.execute("ANALYZE trigger, trigger_due", timeout=300)
    filled = time.monotonic() - filled
    after = await _tick(connection, horizon)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    await connection.execute(_FILL, start, due, 0.06, 1.0, "due ")

    async def all_fired() -> bool:
        return bool(await value(url, "SELECT count(*) FROM trigger_run") >= due)

    await wait_until(all_fired, minutes * 60 + 60, f"{due} have fired")
    rows = await connection.fetch(
        """SELECT extract(epoch FROM fired_at - occurrence)::float8 AS late, outcome,
            count(*) OVER (PARTITION BY trigger_id) AS times FROM trigger_run"""
    )
    plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + _bound(queries.DUE, horizon)))
    await connection.close()
    assert service.running
    assert len(rows) == due
    assert {(row["outcome"], row["times"]) for row in rows} == {("made", 1)}
    assert "trigger_due_next" in plan, plan
    late = [row["late"] for row in rows]
    tell(
        "a million triggers", waiting=waiting, fired=due, late_p50=_percentile(late, 0.5),
        late_p99=_percentile(late, 0.99), late_most=round(max(late), 3), fill_seconds=round(filled, 1),
        tick_ms_with_1000=before, tick_ms_with_all=after,
    )  # fmt: skip


def _bound(sql: str, horizon: datetime) -> str:
    return sql.replace("$1", f"'{horizon.isoformat()}'").replace("$2", "2000")


async def _tick(connection: "asyncpg.Connection[asyncpg.Record]", horizon: datetime) -> float:
    """Milliseconds of one look at what is due, at best."""
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        await connection.fetch(queries.DUE, horizon, 2_000)
        times.append(time.perf_counter() - begun)
    return round(min(times) * 1_000, 2)


def _percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(int(len(values) * share), len(values) - 1)], 3)


async def test_without_rabbitmq_what_is_due_is_fired_by_the_clock_itself(
    crashable_postgres: CrashablePostgres, webhook: WebhookProcess, start_service: StartService
) -> None:
    """A worker would fire it otherwise; readiness says what is the matter."""
    url = crashable_postgres.url
    nowhere = {"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": str(free_port())}
    service = start_service({**QUICK, **webhook.env, **nowhere, "DATABASE_URL": url})
    await _make(service, "alone", schedule=EVERY_SECOND, max_runs=3)
    await _ended(url, 30)
    await wait_until(lambda: webhook.bodies() == ["alone"] * 3, 30, "it has arrived")
    parts = (await service.acall("GET", "/health/ready")).json()["parts"]
    assert parts["triggers"]["status"] == "degraded"
    assert "fired in this process" in parts["triggers"]["detail"]
