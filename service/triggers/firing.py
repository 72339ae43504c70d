"""Firing what is due: each occurrence once, whoever asks for it and however often.

A row of `trigger_due` is what waits. Who fires it locks it as it was when it was due, and moves it on in the
transaction that makes the notification; whoever comes later finds another moment there, or nothing.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import asyncpg

from service.contract import DomainEvent
from service.db.database import TRANSIENT, Connection, Database
from service.delivery.retry import clean, jittered
from service.settings import TriggerSettings
from service.tasks import end
from service.triggers import queries
from service.triggers.making import Made, Maker, Rule, Shot, Skip, event_of
from service.triggers.timing import Clock, Skipped, step, too_late

log = logging.getLogger(__name__)

Moment = tuple[int, datetime]
"""A row of what waits, and when it was due."""


@dataclass(frozen=True, slots=True)
class Upcoming:
    """Something that is due soon."""

    id: int
    trigger_id: UUID
    due_at: datetime


@dataclass(slots=True)
class _Firings:
    """What a batch leads to."""

    shots: list[Shot] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    moved: list[tuple[int, datetime, datetime]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)


class Firing:
    """What is asked for while a transaction runs is fired together in the next one."""

    def __init__(
        self,
        database: Database,
        maker: Maker,
        settings: TriggerSettings,
        *,
        random: Random,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._maker = maker
        self._settings = settings
        self._random = random
        self._clock = clock
        self._waiting: deque[tuple[Moment, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="firing of triggers")

    async def close(self) -> None:
        """What is under way is cut off and rolled back; somebody fires it later."""
        await end(self._task)
        for _, answer in self._waiting:
            answer.cancel()

    async def soon(self) -> list[Upcoming]:
        """What is due soon or overdue, the longest waiting first. Raises one of `OUTAGE`."""
        horizon = self._clock() + timedelta(seconds=self._settings.ahead_seconds)
        async with self._database.connection() as connection:
            rows = await connection.fetch(queries.DUE, horizon, self._settings.ahead_rows)
        return [Upcoming(row["id"], row["trigger_id"], row["due_at"]) for row in rows]

    async def fire(self, due_id: int, due_at: datetime) -> None:
        """Return when it is fired, by this process or another, or cannot be fired now and stays due."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((due_id, due_at), answer))
        self._wake.set()
        await answer

    async def fire_now(self, trigger_id: UUID, event: DomainEvent | None = None) -> int | None:
        """Fire a trigger because a person says so, whatever its state. Returns the run; None: no such trigger."""
        now = self._clock()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(queries.LOCK, trigger_id)
            if row is None:
                return None
            shot = Shot(Rule.of(row), now, event=event, counts=False)
            made = await self._maker.make(connection, [shot], [], now)
        self._maker.announce(made)
        return made.run_ids[0]

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            most = min(len(self._waiting), self._settings.batch_rows)
            batch = [self._waiting.popleft() for _ in range(most)]
            await self._fire_safely([moment for moment, _ in batch])
            for _, answer in batch:
                if not answer.done():
                    answer.set_result(None)

    async def _fire_safely(self, batch: Sequence[Moment]) -> None:
        """An outage leaves them due. One that cannot be fired at all does not hold up the others."""
        try:
            await self.fire_batch(batch)
        except TRANSIENT as error:
            log.warning("%d due triggers wait for the database: %s", len(batch), error)
        except Exception as error:
            if len(batch) > 1:
                for moment in batch:
                    await self._fire_safely([moment])
                return
            log.exception("a due trigger could not be fired and is put off")
            await self._put_off(batch[0], f"{type(error).__name__}: {error}")

    async def fire_batch(self, batch: Sequence[Moment]) -> Made:
        """Fire those that are still due at these moments, in one transaction. Raises what the database raises."""
        batch = list(dict.fromkeys(batch))
        ids = [due_id for due_id, _ in batch]
        now = self._clock()
        async with self._database.transaction() as connection:
            rules = {row["id"]: Rule.of(row) for row in await connection.fetch(queries.LOCK_OF_DUE, ids)}
            rows = await connection.fetch(queries.TAKE_DUE, ids, [due_at for _, due_at in batch])
            firings = self._judge(rules, rows, now)
            await self._move(connection, firings)
            made = await self._maker.make(connection, firings.shots, firings.skips, now)
        self._maker.announce(made)
        return made

    def _judge(self, rules: dict[UUID, Rule], rows: Sequence[asyncpg.Record], now: datetime) -> _Firings:
        firings = _Firings()
        left = {key: rule.runs_left for key, rule in rules.items()}
        for row in rows:
            rule = rules[row["trigger_id"]]
            before = len(firings.shots)
            if row["repeats"]:
                self._judge_clock(rule, row, now, left[rule.id], firings)
            elif row["attempt"] == 0 and too_late(rule.draft.misfire, row["due_at"], now):
                skipped = Skipped(row["occurrence"], row["occurrence"], late=True)
                firings.skips.append(_missed(rule, row["zone"], skipped))
                firings.ended.append(row["id"])
            else:
                firings.ended.append(row["id"])
                if row["attempt"] or left[rule.id] != 0:
                    firings.shots.append(_shot(rule, row))
            fired = sum(shot.counts for shot in firings.shots[before:])
            left[rule.id] = None if (runs := left[rule.id]) is None else max(runs - fired, 0)
        return firings

    def _judge_clock(
        self, rule: Rule, row: asyncpg.Record, now: datetime, left: int | None, firings: _Firings
    ) -> None:
        if left == 0:
            firings.ended.append(row["id"])
            return
        most = self._settings.catch_up_runs if left is None else min(left, self._settings.catch_up_runs)
        clock = Clock(rule.draft, rule.anchor, row["zone"])
        taken = step(clock, row["occurrence"], now, most)
        if taken.skipped is not None:
            firings.skips.append(_missed(rule, row["zone"], taken.skipped))
        firings.shots += [
            Shot(rule, occurrence, row["zone"], due_at=max(occurrence, row["due_at"]))
            for occurrence in taken.fire
        ]
        if taken.following is None:
            firings.ended.append(row["id"])
        else:
            firings.moved.append((row["id"], taken.following, self.due_at(rule, taken.following)))

    def due_at(self, rule: Rule, occurrence: datetime) -> datetime:
        """When to fire an occurrence: with the rule's jitter."""
        if not rule.draft.jitter_seconds:
            return occurrence
        return occurrence + timedelta(seconds=self._random.uniform(0, rule.draft.jitter_seconds))

    async def _move(self, connection: Connection, firings: _Firings) -> None:
        if firings.moved:
            await connection.execute(queries.MOVE_DUE, *map(list, zip(*firings.moved, strict=True)))
        if firings.ended:
            await connection.execute(queries.DELETE_DUE, firings.ended)

    async def _put_off(self, moment: Moment, error: str) -> None:
        delay = self._settings.retry_delays_seconds[-1]
        later = self._clock() + timedelta(seconds=jittered(delay, self._random))
        try:
            async with self._database.connection() as connection:
                await connection.execute(queries.PUT_OFF, *moment, later, clean(error))
        except TRANSIENT as outage:
            log.warning("it could not even be put off: %s", outage)


def _shot(rule: Rule, row: asyncpg.Record) -> Shot:
    first = row["attempt"] == 0
    event = event_of(row["event"])
    return Shot(
        rule, row["occurrence"], row["zone"], row["attempt"], event, counts=first, due_at=row["due_at"]
    )


def _missed(rule: Rule, zone: str, skipped: Skipped) -> Skip:
    reason = "missed: only the newest of those that were due together is fired"
    if skipped.late:
        reason = f"missed: more than {rule.draft.misfire.late_seconds:g} s late"
    if skipped.until > skipped.first:
        reason += f"; so are all others before {skipped.until.isoformat()}"
    return Skip(rule, zone, skipped.first, reason)
