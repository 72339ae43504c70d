"""The statements of the hot path as the engine really sends them: how long they take, and PostgreSQL's plans.

`python -m tests.faults.query_plans [WAITING FINISHED] > docs/query-plans.md` captures the plans over so many
rows that are due tomorrow, and finished ones.
"""

import asyncio
import json
import logging
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from service.contract import parse_request
from service.db.database import Database
from service.db.ids import uuid7
from service.delivery import housekeeping, queries
from service.delivery.engine import Engine
from service.delivery.intake import Submission
from service.senders.base import BaseSender, Limits, Message, Outcome, Sent
from service.settings import DeliverySettings
from tests.faults.support import CrashablePostgres
from tests.support.engines import make_engine
from tests.support.waiting import wait_until

BATCHES, BATCH = 30, 100
INTAKE, SETTLEMENT = "Intake of a batch", "Settlement of a batch"
TICK, PACED_TICK = "Dispatch tick that finds nothing", "The same of a paced sender"
CLAIM, PACED_CLAIM = "Claim under load", "Claim of a paced sender under load"
TICKS = 30
NAMES = {
    queries.INSERT_REQUESTS: INTAKE,
    queries.SETTLE: SETTLEMENT,
    queries.claim(paced=False, ordered=True): TICK,
    queries.claim(paced=True, ordered=True): PACED_TICK,
}

_FILL = """
WITH made AS (
    INSERT INTO notification (id, source, content, route, created_at)
    SELECT uuidv7(-interval '1 day' * random()), 'http', '{"title":"t","body":"some text"}'::json,
        '[["TG","1",0]]'::jsonb, now() - interval '1 day' * random()
    FROM generate_series(1, $1::int)
    RETURNING id, created_at
)
INSERT INTO delivery (notification_id, position, sender, address, pacing_key, priority, status, hold_unknown, behind,
    started, spacing, send_at, due_at, attempt, lost_leases, created_at, finished_at, provider_ids)
SELECT id, 0, CASE WHEN random() < 0.5 THEN 'TG' ELSE 'PACED' END, address, address, (random() * 3)::smallint,
    $2::text, false, false, false, 0, at, at, CASE WHEN $2::text = 'sent' THEN 1 ELSE 0 END, 0, created_at,
    CASE WHEN $2::text = 'sent' THEN now() END, '{}'
FROM made, LATERAL (SELECT (1000 + random() * 100000)::int::text AS address,
    CASE WHEN $2::text = 'sent' THEN created_at ELSE now() + interval '1 day' * (1 + random()) END AS at) AS x
"""
FILL_AT_ONCE = 100_000


async def fill(url: str, rows: int, status: str) -> None:
    """That many deliveries: `queued` ones are due tomorrow, `sent` ones are finished."""
    connection = await asyncpg.connect(url)
    try:
        for start in range(0, rows, FILL_AT_ONCE):
            await connection.execute(_FILL, min(FILL_AT_ONCE, rows - start), status)
        await connection.execute("VACUUM ANALYZE notification, delivery")
    finally:
        await connection.close()


@dataclass
class Watch:
    """What the engine sent to PostgreSQL, by the names above."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    arguments: dict[str, tuple[str, Sequence[Any]]] = field(default_factory=dict)

    def note(self, logged: Any) -> None:
        name = NAMES.get(logged.query)
        if name is None or logged.exception is not None:
            return
        self.seconds[name].append(logged.elapsed)
        self.arguments[name] = (logged.query, logged.args)

    def milliseconds(self) -> dict[str, float]:
        """The lower quartile of each: what else the machine does makes the others slow."""
        return {name: statistics.quantiles(seconds)[0] * 1_000 for name, seconds in self.seconds.items()}


class WatchedDatabase(Database):
    """Notes what goes over the engine's own connection."""

    def __init__(self, url: str, watch: Watch) -> None:
        super().__init__(url)
        self._watch = watch

    async def connect_ledger(self, *, plan_once: bool) -> "asyncpg.Connection[asyncpg.Record]":
        connection = await super().connect_ledger(plan_once=plan_once)
        connection.add_query_logger(self._watch.note)
        return connection


class _Instant(BaseSender):
    def __init__(self, name: str, rate: float | None) -> None:
        self.name = name  # type: ignore[misc]
        self.limits = Limits(rate=rate)

    async def send(self, message: Message) -> Outcome:
        del message
        return Sent(parts=("1",))


@asynccontextmanager
async def _engine(url: str, watch: Watch) -> AsyncIterator[Engine]:
    database = WatchedDatabase(url, watch)
    await database.open()
    senders = {"TG": _Instant("TG", None), "PACED": _Instant("PACED", 5_000.0)}
    engine = make_engine(database, senders, DeliverySettings(poll_seconds=0.05))
    await engine.start([])
    try:
        yield engine
    finally:
        await engine.stop()
        await database.close()


async def measure(url: str) -> Watch:
    """Send batches through a whole engine to two senders, and watch."""
    watch = Watch()
    async with _engine(url, watch) as engine:
        for batch in range(BATCHES):
            sender = ("TG", "PACED")[batch % 2]
            requests = [
                {"body": f"{batch} {n}", "sender": sender, "to": str(1_000 + (batch * BATCH + n) % 5_000)}
                for n in range(BATCH)
            ]
            await engine.intake.accept_many(
                [Submission(parse_request(json.dumps(request)), "http") for request in requests]
            )

        async def idle() -> bool:
            return bool(
                await engine.ledger._database.pool.fetchval(
                    "SELECT NOT EXISTS (SELECT 1 FROM delivery WHERE status IN ('queued', 'sending') AND due_at <= now())"
                )
            )

        await wait_until(idle, 60, "all is sent")
        for tick, claim in ((TICK, CLAIM), (PACED_TICK, PACED_CLAIM)):
            watch.seconds[claim] = watch.seconds.pop(tick)
            watch.arguments[claim] = watch.arguments[tick]
        # Ticks that find nothing: what an idle service does all day.
        await wait_until(
            lambda: all(len(watch.seconds[tick]) >= TICKS for tick in (TICK, PACED_TICK)), 60, "ticks"
        )
    return watch


async def plans(url: str, watch: Watch) -> dict[str, str]:
    """EXPLAIN (ANALYZE, BUFFERS) of each statement with the arguments it last had; rolled back."""
    others = {
        "When the next row is due": (queries.NEXT_DUE, ("TG",)),
        "Rows that expire": (housekeeping._EXPIRE, (1_000, "expired")),
        "Leases that have run out": (housekeeping._RECLAIM, (1_000, 20, 0.0, uuid4())),
    }
    database = Database(url)
    connection = await database.connect_ledger(plan_once=False)
    try:
        return {
            name: await _explain(connection, statement, _as_new(name, arguments))
            for name, (statement, arguments) in {**watch.arguments, **others}.items()
            if name not in (CLAIM, PACED_CLAIM)  # the statements of the ticks
        }
    finally:
        await connection.close()


async def pages(url: str, watch: Watch) -> dict[str, int]:
    """How many pages of tables and indexes each statement of `NAMES` touches, found in memory or not; rolled back.

    Unlike its time this is the same on every machine, whatever else runs there.
    """
    database = Database(url)
    connection = await database.connect_ledger(plan_once=False)
    try:
        touched = {}
        for statement, name in NAMES.items():
            arguments = watch.arguments[name][1]
            await _roll_back(
                connection, statement, _as_new(name, arguments)
            )  # plans it, and meets what is dead
            before = await _touched(connection)
            await _roll_back(connection, statement, _as_new(name, arguments))
            touched[name] = await _touched(connection) - before
        return touched
    finally:
        await connection.close()


def _as_new(name: str, arguments: Sequence[Any]) -> Sequence[Any]:
    """A batch of intake that was stored before would touch little: it gets other ids."""
    return [[uuid7() for _ in arguments[0]], *arguments[1:]] if name == INTAKE else arguments


async def _touched(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    await connection.execute("SELECT pg_stat_force_next_flush()")
    return int(
        await connection.fetchval(
            "SELECT sum(hits + reads) FROM pg_stat_get_backend_io(pg_backend_pid()) WHERE object = 'relation'"
        )
    )


async def _roll_back(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str, arguments: Sequence[Any]
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetch(statement, *arguments)
    await transaction.rollback()


async def _explain(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str, arguments: Sequence[Any]
) -> str:
    transaction = connection.transaction()
    await transaction.start()
    try:
        rows = await connection.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {statement}", *arguments
        )
        return "\n".join(row[0] for row in rows)
    finally:
        await transaction.rollback()


async def _document(url: str, waiting: int, finished: int) -> str:
    await fill(url, waiting, "queued")
    await fill(url, finished, "sent")
    watch = await measure(url)
    explained = await plans(url, watch)
    parts = [
        "# Query plans",
        (
            f"`EXPLAIN (ANALYZE, BUFFERS)` of the hot path's statements over {waiting:,} deliveries that are due tomorrow "
            f"and {finished:,} finished ones. Made by `python -m tests.faults.query_plans {waiting} {finished}`."
        ),
        *(f"## {name}\n\n```\n{text}\n```" for name, text in explained.items()),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    waiting, finished = (int(number) for number in sys.argv[1:] or ("1000000", "10000000"))
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="notifications-plans-") as folder:
        postgres = CrashablePostgres(Path(folder))
        try:
            print(asyncio.run(_document(postgres.url, waiting, finished)), end="")
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
