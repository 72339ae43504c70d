"""Acceptance: planned requests become rows, a batch a commit, and whoever waits is answered."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import asyncpg

from service.db.database import TRANSIENT, Connection
from service.delivery import queries
from service.delivery.dedup import is_explicit
from service.delivery.jobs import Job
from service.delivery.metrics import Metrics
from service.delivery.planning import Refusal, refuse
from service.delivery.rows import Accepted, Entry, job_of_entry, repeat_of, request_columns
from service.settings import DeliverySettings

log = logging.getLogger(__name__)

_NO_LEASE = UUID(int=0)


class Taker(Protocol):
    """The dispatcher of one sender, as the ledger sees it."""

    ordered: bool

    def room(self) -> int:
        """How many new rows it would take directly, without a claim."""
        ...

    def take(self, jobs: Sequence[Job]) -> None: ...

    def look(self) -> None:
        """There are due rows in the table."""
        ...

    def returned(self, job: Job) -> None:
        """The job is back in the table."""
        ...


class Acceptance:
    """The ledger's part that takes requests in. `held` and `takers` are the ledger's own."""

    def __init__(
        self,
        settings: DeliverySettings,
        *,
        token: UUID,
        held: dict[int, Job],
        takers: Mapping[str, Taker],
        transports: Sequence[str],
        metrics: Metrics,
        look: Callable[[set[str]], None],
        on_written: Callable[[Sequence[Entry]], None],
    ) -> None:
        self._settings = settings
        self._token = token
        self._held = held
        self._takers = takers
        self._transports = list(transports)
        self._metrics = metrics
        self._look = look
        self._on_written = on_written

    async def write(self, connection: "asyncpg.Connection[asyncpg.Record]", entries: "deque[Entry]") -> None:
        """Write the first of what waits, `DELIVERY_BATCH_ROWS` at most, and take it from the queue.

        Raises one of `TRANSIENT`, and then nothing was taken; what the database refuses is its caller's error.
        """
        while entries and entries[0].answer.done():
            entries.popleft()  # the caller gave up before its turn came
        count = min(len(entries), self._settings.batch_rows)
        batch = [entries[i] for i in range(count)]
        alive = [entry for entry in batch if not entry.answer.done()]
        again: list[Entry] = []
        try:
            again = await self._write_batch(connection, alive)
        except (*TRANSIENT, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("a batch of %d requests was refused by the database", len(alive))
            for entry in alive:
                try:
                    again += await self._write_batch(connection, [entry])
                except (*TRANSIENT, asyncio.CancelledError):
                    raise
                except Exception as error:  # noqa: BLE001 - its caller gets it
                    _fail(entry, error)
        for _ in batch:
            entries.popleft()
        entries.extendleft(reversed(again))

    async def _write_batch(
        self, connection: "asyncpg.Connection[asyncpg.Record]", batch: Sequence[Entry]
    ) -> list[Entry]:
        """Commit them and answer. Returns the entries that have to be written again without their key."""
        if not batch:
            return []
        now = datetime.now(UTC)
        lease_ends = asyncio.get_running_loop().time() + self._settings.lease_seconds
        *columns, extras = request_columns(batch, now, tell=bool(self._transports))
        rows = await connection.fetch(
            queries.INSERT_REQUESTS,
            *columns,
            self._offer(batch, now),
            [self._is_ordered(entry.first_hop.sender) for entry in batch],
            self._transports,
            self._token,
            self._settings.lease_seconds,
            extras,
        )
        made = {row["notification_id"]: row for row in rows}
        self._hand_over(batch, made, lease_ends)
        missing = [entry for entry in batch if entry.id not in made]
        for entry in batch:
            if entry.id in made:
                _answer(entry, _accepted(entry))
                self._metrics.accepted(entry.source)
        self._look_for(batch, made)
        self._on_written([entry for entry in batch if entry.id in made])
        return await self._answer_repeats(connection, missing) if missing else []

    def _is_ordered(self, sender: str) -> bool:
        taker = self._takers.get(sender)
        return taker is None or taker.ordered

    def _offer(self, batch: Sequence[Entry], now: datetime) -> list[bool]:
        """Which rows may be born leased: the sender is unpaced, idle enough, and the row is due."""
        room = {name: taker.room() for name, taker in self._takers.items()}
        offered = []
        for entry in batch:
            hop, send_at = entry.first_hop, entry.send_at
            due = entry.plan.suppressed is None and (send_at is None or send_at <= now)
            fits = due and hop.spacing == 0 and room.get(hop.sender, 0) > 0
            if fits:
                room[hop.sender] -= 1
            elif due and hop.sender in room:
                room[hop.sender] = 0  # what follows must not overtake it
            offered.append(fits)
        return offered

    def _hand_over(
        self, batch: Sequence[Entry], made: Mapping[UUID, asyncpg.Record], lease_ends: float
    ) -> None:
        jobs: dict[str, list[Job]] = {}
        for entry in batch:
            row = made.get(entry.id)
            if row is not None and row["status"] == "sending":
                job = job_of_entry(entry, row, lease_ends)
                self._held[job.id] = job
                jobs.setdefault(job.sender, []).append(job)
        for sender, leased in jobs.items():
            self._takers[sender].take(leased)

    def _look_for(self, batch: Sequence[Entry], made: Mapping[UUID, asyncpg.Record]) -> None:
        self._look(
            {
                entry.first_hop.sender
                for entry in batch
                if (row := made.get(entry.id)) is not None
                and (row["status"] == "queued" or entry.first_hop.others)
            }
        )

    async def _answer_repeats(
        self, connection: "asyncpg.Connection[asyncpg.Record]", missing: Sequence[Entry]
    ) -> list[Entry]:
        """Answer those whose key or id is taken; those that must be written again are returned."""
        rows = await connection.fetch(
            queries.FIND_REPEATED,
            [entry.dedup_key for entry in missing if entry.dedup_key is not None],
            [entry.id for entry in missing],
        )
        by_id = {row["id"]: row for row in rows}
        by_key = {row["dedup_key"]: row for row in rows}
        again = []
        for entry in missing:
            first = by_id.get(entry.id) or by_key.get(entry.dedup_key)
            if first is None:
                again.append(entry)  # the first one was removed meanwhile
            elif first["id"] == entry.id:
                _answer(entry, repeat_of(first, duplicate=False))
            elif first["content_hash"] == entry.content_hash:
                _answer(entry, repeat_of(first))
                self._metrics.repeated()
            elif entry.dedup_key is not None and is_explicit(entry.dedup_key):
                _answer(entry, _conflict(entry))
            else:
                # The transport's id was used for another message before: it identifies nothing.
                entry.dedup_key = entry.content_hash = None
                again.append(entry)
        return again


async def write_in(
    connection: Connection, batch: Sequence[Entry], now: datetime, *, transports: Sequence[str]
) -> list[Entry]:
    """Write them within the caller's transaction, none of them leased, and answer. Returns those that are new."""
    if not batch:
        return []
    *columns, extras = request_columns(batch, now, tell=bool(transports))
    nobody = [False] * len(batch)
    rows = await connection.fetch(
        queries.INSERT_REQUESTS, *columns, nobody, nobody, list(transports), _NO_LEASE, 0.0, extras
    )
    made = {row["notification_id"] for row in rows}
    for entry in batch:
        if entry.id in made:
            _answer(entry, _accepted(entry))
    missing = [entry for entry in batch if entry.id not in made]
    if missing:
        keys = [entry.dedup_key for entry in missing]
        first = {row["dedup_key"]: row for row in await connection.fetch(queries.FIND_REPEATED, keys, [])}
        for entry in missing:
            _answer(entry, repeat_of(first[entry.dedup_key]))
    return [entry for entry in batch if entry.id in made]


def _accepted(entry: Entry) -> Accepted:
    suppressed = entry.plan.suppressed
    reason = None if suppressed is None else suppressed.code
    return Accepted(entry.id, entry.request.id, duplicate=False, suppressed=reason)


def _answer(entry: Entry, answer: Accepted | Refusal) -> None:
    if not entry.answer.done():
        entry.answer.set_result(answer)


def _fail(entry: Entry, error: Exception) -> None:
    if not entry.answer.done():
        entry.answer.set_exception(error)


def _conflict(entry: Entry) -> Refusal:
    return refuse(
        "id_conflict",
        "id",
        f"{entry.request.id!r} was used for another message; accepted: the same content again, or a new id",
    )
