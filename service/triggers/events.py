"""Events that arrive: what they fire, what they let wait, and what they take back, in one transaction."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from service.contract import DomainEvent
from service.db.database import OUTAGE, TRANSIENT, Connection, Database
from service.delivery.dedup import explicit_key
from service.triggers import queries
from service.triggers.making import Due, Made, Maker, Rule, Shot, insert_due
from service.triggers.matching import correlation, holds
from service.triggers.rules import OnEvent

log = logging.getLogger(__name__)

OUTAGE_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event on its way in. `key`: its broker's identity of it, used when the event has no `id`."""

    event: DomainEvent
    key: str | None = None

    @property
    def known_as(self) -> str | None:
        return self.key if self.event.id is None else explicit_key(self.event.id)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an event: a repeat does nothing; else so many triggers fired, began to wait or took back."""

    repeat: bool = False
    fired: int = 0
    waiting: int = 0
    cancelled: int = 0


class Events:
    """The one door for events, whatever their way in."""

    def __init__(
        self, database: Database, maker: Maker, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._maker = maker
        self._clock = clock

    async def accept_many(self, arrived: Sequence[Arrived], *, wait: bool = False) -> list[Taken]:
        """An answer for each, in the same order, after the commit.

        With `wait` it waits for as long as an outage lasts; otherwise it raises one of `OUTAGE`, and none is taken.
        """
        while True:
            try:
                return await self._accept(arrived)
            except OUTAGE:
                if not wait:
                    raise
                await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
            except TRANSIENT as error:
                log.debug("%d events are taken in once more: %s", len(arrived), error)

    async def _accept(self, arrived: Sequence[Arrived]) -> list[Taken]:
        now = self._clock()
        async with self._database.transaction() as connection:
            fresh = await _fresh(connection, arrived, now)
            names = list({one.event.event for one, is_fresh in zip(arrived, fresh, strict=True) if is_fresh})
            rows = await connection.fetch(queries.LOCK_FOR_EVENTS, names)
            answers, made = await self._apply(connection, arrived, fresh, rows, now)
        if made is not None:
            self._maker.announce(made)
        return answers

    async def _apply(
        self,
        connection: Connection,
        arrived: Sequence[Arrived],
        fresh: Sequence[bool],
        rows: Sequence[asyncpg.Record],
        now: datetime,
    ) -> tuple[list[Taken], Made | None]:
        # Locked after a wait, a row may be of a rule that was paused or changed meanwhile.
        rules = [
            _Waiting(Rule.of(row)) for row in rows if row["state"] == "active" and row["kind"] == "event"
        ]
        shots: list[Shot] = []
        answers = []
        for one, is_fresh in zip(arrived, fresh, strict=True):
            if not is_fresh:
                answers.append(Taken(repeat=True))
                continue
            cancelled = [await rule.take_back(connection, one.event) for rule in rules]
            waiting = [due for rule in rules if (due := rule.delayed(one.event, now))]
            await insert_due(connection, waiting)
            fired = [shot for rule in rules if (shot := rule.shot(one.event, now))]
            shots += fired
            answers.append(Taken(False, len(fired), len(waiting), sum(cancelled)))
        made = await self._maker.make(connection, shots, [], now) if shots else None
        return answers, made


class _Waiting:
    """A rule, and how many runs it has left while a batch of events goes by."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._left = rule.runs_left
        assert isinstance(rule.draft.schedule, OnEvent)  # noqa: S101 - only these have an event's name
        self._schedule = rule.draft.schedule

    def shot(self, event: DomainEvent, now: datetime) -> Shot | None:
        if self._schedule.delay_seconds or self._left == 0 or not self._fits(event, now):
            return None
        self._left = None if self._left is None else self._left - 1
        return Shot(self.rule, now, event=event)

    def delayed(self, event: DomainEvent, now: datetime) -> Due | None:
        if not self._schedule.delay_seconds or self._left == 0 or not self._fits(event, now):
            return None
        cancel = self._schedule.cancel
        return Due(
            self.rule.id,
            now,
            now + timedelta(seconds=self._schedule.delay_seconds),
            event=event,
            correlation=None if cancel is None else correlation(cancel.by, event),
        )

    async def take_back(self, connection: Connection, event: DomainEvent) -> int:
        cancel = self._schedule.cancel
        if cancel is None or cancel.event != event.event or not holds(cancel.conditions, event):
            return 0
        key = correlation(cancel.by, event)
        return len(await connection.fetch(queries.TAKE_BACK, self.rule.id, key)) if key else 0

    def _fits(self, event: DomainEvent, now: datetime) -> bool:
        draft = self.rule.draft
        begun = draft.start_at is None or draft.start_at <= now
        ended = draft.end_at is not None and draft.end_at < now
        named = self._schedule.event == event.event
        return named and begun and not ended and holds(self._schedule.conditions, event)


async def _fresh(connection: Connection, arrived: Sequence[Arrived], now: datetime) -> list[bool]:
    """Which of them were not taken in before; the first of two with one id in a batch counts."""
    keys = [one.known_as for one in arrived]
    known = {key for key in keys if key is not None}
    new = set()
    if known:
        new = {row["key"] for row in await connection.fetch(queries.SEE_EVENTS, list(known), now)}
    fresh = []
    for key in keys:
        fresh.append(key is None or key in new)
        if key is not None:
            new.discard(key)
    return fresh
