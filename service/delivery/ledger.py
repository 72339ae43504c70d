"""The one writer of this process: intake, settlement and claims in turn, each as a group commit.

While one batch is being committed the next one gathers, so that under load a commit is shared by
hundreds of messages and an idle service answers at once. Because a single loop writes, what this
process believes to hold and what the table says never drift apart by more than one statement: a
settlement is in the table before the next request is judged against it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg

from service.db.database import OUTAGE, TRANSIENT, Database
from service.delivery import queries
from service.delivery.acceptance import Acceptance, Taker
from service.delivery.jobs import Job, Pause, Settlement
from service.delivery.metrics import Metrics
from service.delivery.rows import (
    Entry,
    job_of_row,
    verdict_columns,
)
from service.settings import DeliverySettings

log = logging.getLogger(__name__)

WAKE_ROWS = 20
GATHER_LOOKS = 4
STREAM_ROWS = 10
"""So many rows at once are a stream: each commit costs the same, and the next rows are on their way."""
RECONNECT_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class ClaimOrder:
    """A dispatcher's wish for rows."""

    sender: str
    statement: str
    arguments: tuple[Any, ...]
    answer: "asyncio.Future[int]"


@dataclass(slots=True)
class _Inbox:
    """What waits for the next round."""

    entries: deque[Entry] = field(default_factory=deque)
    settlements: deque[Settlement] = field(default_factory=deque)
    pauses: deque[Pause] = field(default_factory=deque)
    claims: deque[ClaimOrder] = field(default_factory=deque)
    starts: "deque[tuple[Job, asyncio.Future[bool]]]" = field(default_factory=deque)
    hurry: bool = False
    """Somebody stands still until the next commit."""

    @property
    def rows(self) -> int:
        return len(self.entries) + len(self.settlements)

    def __bool__(self) -> bool:
        return bool(self.entries or self.settlements or self.pauses or self.claims or self.starts)


class Ledger:
    """Group commit for one process, on connections of its own.

    `transports` are the names of those that publish events; none: no outbox rows are written. `sharing` are
    the accounts that use the contacts of their plain name.
    """

    def __init__(  # noqa: PLR0913 - its parts, by name
        self,
        database: Database,
        settings: DeliverySettings,
        *,
        transports: Sequence[str],
        sharing: Sequence[str],
        metrics: Metrics,
        on_outbox: Callable[[], None],
        on_fan_out: Callable[[], None],
        on_foreign_rows: Callable[[set[str]], None],
        on_relayed: Callable[[Sequence[int]], None],
    ) -> None:
        self.token = uuid4()
        self.held: dict[int, Job] = {}
        self.takers: dict[str, Taker] = {}
        self._database = database
        self._settings = settings
        self._transports = list(transports)
        self._sharing = list(sharing)
        self._metrics = metrics
        self._on_outbox = on_outbox
        self._on_fan_out = on_fan_out
        self._on_foreign_rows = on_foreign_rows
        self._on_relayed = on_relayed
        self._acceptance = Acceptance(
            settings,
            token=self.token,
            held=self.held,
            takers=self.takers,
            transports=transports,
            metrics=metrics,
            look=self._look,
            on_written=self._on_written,
        )
        self._inbox = _Inbox()
        self._wake = asyncio.Event()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        # Claims are on a connection of their own, since their best plan depends on how many rows they want.
        self._claiming: asyncpg.Connection[asyncpg.Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.outage: str | None = None

    # --- what others ask for -------------------------------------------------------------------

    @property
    def waiting_entries(self) -> int:
        return len(self._inbox.entries)

    def submit(self, entries: Sequence[Entry], *, hurry: bool) -> None:
        """Queue requests; each entry's future is answered after the commit. `hurry`: it waits for no company."""
        self._inbox.entries.extend(entries)
        self._inbox.hurry |= hurry
        self._wake.set()

    def settle(self, settlement: Settlement) -> None:
        """Queue a verdict. It is kept in memory until it is committed."""
        self._inbox.settlements.append(settlement)
        self._wake.set()

    def pause(self, pause: Pause) -> None:
        """Queue a pause of a pacing bucket; it is committed with the next settlements."""
        self._inbox.pauses.append(pause)
        self._wake.set()

    async def claim(self, sender: str, statement: str, arguments: tuple[Any, ...]) -> int:
        """Lease due rows and hand them to the sender's dispatcher. Returns how many there were."""
        order = ClaimOrder(sender, statement, arguments, asyncio.get_running_loop().create_future())
        self._inbox.claims.append(order)
        self._wake.set()
        return await order.answer

    async def mark_started(self, job: Job) -> bool:
        """Record that the call is about to be made. False: the lease was lost, do not send."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._inbox.starts.append((job, answer))
        self._wake.set()
        return await answer

    def forget(self, job: Job) -> None:
        """The job's lease was lost: another process answers for it."""
        self.held.pop(job.id, None)

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="ledger")

    async def close(self) -> None:
        """Write what is still waiting, then stop. Waits for as long as the database needs."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        for connection in (self._connection, self._claiming):
            if connection is not None:
                await connection.close()

    def abandon(self) -> None:
        """Stop at once; whoever finds the leases expired takes the rows over."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        failures = 0
        while True:
            if not self._inbox:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
            try:
                connection = self._connection or await self._connect()
                if self._inbox.rows >= STREAM_ROWS and not self._inbox.hurry and not self._closing:
                    await self._gather()
                await self._round(connection)
                failures = 0
                self.outage = None
            except TRANSIENT as error:
                self.outage = f"{type(error).__name__}: {error}"
                pause = RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)]
                if failures == 0:
                    log.warning("PostgreSQL is away, trying again: %s", self.outage)
                failures += 1
                await self._drop_connection(error)
                await asyncio.sleep(pause)
            except Exception:
                # A statement that is wrong in itself: whoever waits for it must not take all others along.
                log.exception("the ledger made a mistake")
                await asyncio.sleep(RECONNECT_SECONDS[-1])

    async def _gather(self) -> None:
        """Wait for company, for as long as some comes: a commit shared by many costs each of them less."""
        for _ in range(GATHER_LOOKS):
            rows = self._inbox.rows
            if rows >= self._settings.batch_rows:
                return
            await asyncio.sleep(self._settings.gather_seconds / GATHER_LOOKS)
            if self._inbox.rows == rows:
                return

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._claiming is None:
            self._claiming = await self._database.connect_ledger(plan_once=False)
        connection = await self._database.connect_ledger(plan_once=True)
        # Leases taken by a statement whose answer never arrived.
        await connection.execute(queries.RELEASE_STRAYS, self.token, list(self.held))
        self._connection = connection
        return connection

    async def _drop_connection(self, error: BaseException) -> None:
        if isinstance(error, OUTAGE):
            for connection in (self._connection, self._claiming):
                if connection is not None:
                    connection.terminate()
            self._connection = self._claiming = None

    async def _round(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        inbox = self._inbox
        if inbox.settlements or inbox.pauses:
            await self._settle(connection)
        if inbox.starts:
            await self._mark_started(connection)
        if inbox.entries:
            inbox.hurry = False
            await self._acceptance.write(connection, inbox.entries)
        while inbox.claims and self._claiming is not None:
            await self._claim(self._claiming, inbox.claims[0])
            inbox.claims.popleft()

    # --- settlement ------------------------------------------------------------------------------

    async def _settle(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        inbox = self._inbox
        count = min(len(inbox.settlements), self._settings.batch_rows)
        batch = [inbox.settlements[i] for i in range(count)]
        pauses = list(inbox.pauses)
        try:
            woken = await self._write_verdicts(connection, batch, pauses)
        except (*TRANSIENT, asyncio.CancelledError):
            raise
        except Exception:
            # One bad row must not hold up the others: find it by writing them one by one.
            log.exception("a batch of %d verdicts was refused by the database", count)
            woken = await self._write_one_by_one(connection, batch, pauses)
        for settlement in batch:
            inbox.settlements.popleft()
            self.held.pop(settlement.job.id, None)
            if settlement.verdict.status == "queued" and (taker := self.takers.get(settlement.job.sender)):
                taker.returned(settlement.job)
        for _ in pauses:
            inbox.pauses.popleft()
        self._metrics.settled(batch)
        if relayed := [
            s.job.id for s in batch if s.job.content.relay is not None and s.verdict.status != "queued"
        ]:
            self._on_relayed(relayed)
        self._look(set(woken))
        if self._transports:
            self._on_outbox()

    async def _write_one_by_one(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        batch: Sequence[Settlement],
        pauses: Sequence[Pause],
    ) -> list[str]:
        woken = await self._write_verdicts(connection, [], pauses)
        for settlement in batch:
            try:
                woken += await self._write_verdicts(connection, [settlement], [])
            except (*TRANSIENT, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 - it is reported, and its lease will run out
                log.error("the verdict on delivery %d cannot be written: %r", settlement.job.id, error)  # noqa: TRY400
        return woken

    async def _write_verdicts(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        batch: Sequence[Settlement],
        pauses: Sequence[Pause],
    ) -> list[str]:
        """Commit them. Returns the senders that now have rows to look at."""
        now = datetime.now(UTC)
        row = await connection.fetchrow(
            queries.SETTLE,
            *verdict_columns(batch, now, tell=bool(self._transports)),
            [pause.bucket for pause in pauses],
            [pause.seconds for pause in pauses],
            WAKE_ROWS,
            self.token,
            self._transports,
            [str(settlement.job.notification_id) for settlement in batch],
            self._sharing,
        )
        return list(row[1]) if row else []

    async def _mark_started(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        batch = list(self._inbox.starts)
        rows = await connection.fetch(queries.MARK_STARTED, [job.id for job, _ in batch], self.token)
        mine = {row["id"] for row in rows}
        for job, answer in batch:
            self._inbox.starts.popleft()
            if not answer.done():
                answer.set_result(job.id in mine)

    # --- who else has to know --------------------------------------------------------------------

    def _on_written(self, entries: Sequence[Entry]) -> None:
        if any(entry.plan.topic is not None for entry in entries):
            self._on_fan_out()
        if self._transports and entries:
            self._on_outbox()

    def _look(self, senders: set[str]) -> None:
        """Wake the dispatchers concerned, in this process or, where it has none, in the others."""
        for name in senders & self.takers.keys():
            self.takers[name].look()
        if foreign := senders - self.takers.keys():
            self._on_foreign_rows(foreign)

    # --- claims ----------------------------------------------------------------------------------

    async def _claim(self, connection: "asyncpg.Connection[asyncpg.Record]", order: ClaimOrder) -> None:
        if order.answer.done():
            return
        now = asyncio.get_running_loop().time()
        rows = await connection.fetch(
            order.statement,
            *order.arguments[:2],
            self.token,
            self._settings.lease_seconds,
            *order.arguments[2:],
        )
        jobs = [job_of_row(order.sender, row, now, self._settings.lease_seconds) for row in rows]
        self.held.update({job.id: job for job in jobs})
        # Not with the answer: whoever asked may be cancelled between the answer and its awakening,
        # and the rows would lie leased with nobody.
        self.takers[order.sender].take(jobs)
        if not order.answer.done():
            order.answer.set_result(len(jobs))
