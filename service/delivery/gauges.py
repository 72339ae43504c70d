"""Reading the gauges: what waits, how long, and whether the parts are up. Done when somebody asks."""

import time
from collections.abc import Awaitable, Callable, Sequence

from service.contract import Priority
from service.db.database import TRANSIENT, Database
from service.delivery.engine import Engine
from service.delivery.events import Publisher
from service.delivery.jobs import account_bucket

COUNT_LIMIT = 100_000
FRESH_SECONDS = 2.0
READ_SECONDS = 2.0

# Counting stops at the limit, so that a backlog of millions does not make a scrape expensive.
_QUEUES = """
SELECT s.sender, lane.priority, count(q.due_at), extract(epoch FROM now() - min(q.due_at))::float8 AS age
FROM unnest($1::text[]) AS s(sender)
CROSS JOIN (VALUES (0::smallint), (1::smallint), (2::smallint), (3::smallint)) AS lane(priority)
LEFT JOIN LATERAL (
    SELECT d.due_at FROM delivery d
    WHERE d.sender = s.sender AND d.status = 'queued' AND d.priority = lane.priority AND d.due_at <= now()
    ORDER BY d.due_at LIMIT $2
) q ON true
GROUP BY s.sender, lane.priority
"""

_WAITS = """
SELECT bucket, greatest(extract(epoch FROM next_at - now()), 0)::float8 AS wait
FROM pacing_bucket WHERE bucket = ANY($1::text[])
"""

_OUTBOX = "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT $1) o"


def gauge_reader(
    database: Database,
    engine: Engine,
    publishers: Sequence[Publisher],
    others: Sequence[Callable[[], Awaitable[None]]],
) -> Callable[[], Awaitable[None]]:
    """A call that brings the gauges up to date, at most once every `FRESH_SECONDS`.

    `others` do so for gauges of tables that are not the engine's, and may raise one of `TRANSIENT`.
    """
    metrics = engine.metrics
    read_at = 0.0

    async def read() -> None:
        nonlocal read_at
        if time.monotonic() - read_at < FRESH_SECONDS:
            return
        read_at = time.monotonic()
        names = list(engine.senders)
        for name in names:
            metrics.sender_works.labels(name).set(engine.states.works(name))
        for name, dispatcher in engine.dispatchers.items():
            metrics.in_flight.labels(name).set(dispatcher.in_flight)
        for publisher in publishers:
            metrics.transport_up.labels(publisher.name).set(publisher.ready)
        metrics.pool.labels("open").set(database.pool.get_size())
        metrics.pool.labels("idle").set(database.pool.get_idle_size())
        try:
            await _read_tables(database, engine, names)
            for read_more in others:
                await read_more()
        except TRANSIENT:
            return  # what is known of the tables stays as it was; readiness tells why

    return read


async def _read_tables(database: Database, engine: Engine, names: Sequence[str]) -> None:
    metrics = engine.metrics
    for row in await database.pool.fetch(_QUEUES, names, COUNT_LIMIT, timeout=READ_SECONDS):
        labels = (row["sender"], Priority.of_lane(row["priority"]).value)
        metrics.queue_depth.labels(*labels).set(row["count"])
        metrics.queue_age.labels(*labels).set(row["age"] or 0)
    buckets = {account_bucket(name): name for name in names}
    for row in await database.pool.fetch(_WAITS, list(buckets), timeout=READ_SECONDS):
        metrics.pacing_wait.labels(buckets[row["bucket"]]).set(row["wait"])
    metrics.outbox_rows.set(await database.pool.fetchval(_OUTBOX, COUNT_LIMIT, timeout=READ_SECONDS))
