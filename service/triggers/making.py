"""Making what triggers are for: notifications and mailings, and the rows that tell of it, in one transaction."""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from service.audience.segments import NO_ZONE
from service.contract import ContractError, DomainEvent
from service.db.database import TRANSIENT, Connection
from service.delivery.dedup import occurrence_key
from service.delivery.intake import Accepted, Intake, Refusal, Submission, Written
from service.delivery.retry import clean, jittered
from service.errors import DomainError
from service.triggers import queries
from service.triggers.matching import MissingValueError, request_of
from service.triggers.metrics import TriggerMetrics
from service.triggers.rules import TriggerDraft

log = logging.getLogger(__name__)

MakeMailing = Callable[[Connection, Mapping[str, Any], str, Sequence[str] | None], Awaitable[UUID]]
"""Makes and starts a mailing from its draft, for what made it and, unless None, the people of these zones only.

Raises `ContractError` or a `DomainError` where it cannot.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """A trigger as firing sees it."""

    id: UUID
    draft: TriggerDraft
    state: str
    anchor: datetime
    runs: int

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Rule":
        return cls(
            row["id"],
            TriggerDraft.model_validate_json(row["draft"]),
            row["state"],
            row["anchor_at"],
            row["runs"],
        )

    @property
    def kind(self) -> str:
        return self.draft.schedule.kind

    @property
    def runs_left(self) -> int | None:
        """None: without end."""
        return None if self.draft.max_runs is None else max(self.draft.max_runs - self.runs, 0)


@dataclass(frozen=True, slots=True)
class Shot:
    """One occurrence that is fired now. `counts`: as one of the trigger's runs, which neither a retry nor a person's
    own firing is. `due_at`: what the clock waited for, if it did.
    """

    rule: Rule
    occurrence: datetime
    zone: str = ""
    attempt: int = 0
    event: DomainEvent | None = None
    counts: bool = True
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """Occurrences from the first to the last that are not fired, and why."""

    rule: Rule
    zone: str
    first: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a shot; with an `error` nothing was made."""

    notification_id: UUID | None = None
    mailing_id: UUID | None = None
    error: str | None = None

    @property
    def outcome(self) -> str:
        return "made" if self.error is None else "failed"


@dataclass(frozen=True, slots=True)
class Made:
    """The results and the ids of the runs in the order of the shots, and what the engine has to look at after the commit."""

    at: datetime
    shots: Sequence[Shot]
    results: Sequence[Result]
    run_ids: Sequence[int]
    skips: Sequence[Skip]
    written: Written


class Maker:
    """Makes for the clock, for events and for people alike."""

    def __init__(
        self,
        intake: Intake,
        *,
        retry_delays: Sequence[float],
        make_mailing: MakeMailing,
        default_zone: str,
        random: Random,
        metrics: TriggerMetrics,
    ) -> None:
        self._intake = intake
        self._retry_delays = tuple(retry_delays)
        self._make_mailing = make_mailing
        self._default_zone = default_zone
        self._random = random
        self._metrics = metrics

    async def make(
        self, connection: Connection, shots: Sequence[Shot], skips: Sequence[Skip], now: datetime
    ) -> Made:
        """Make it all, write the runs, and put what failed back to be tried again. The triggers are locked already."""
        results, written = await self._make(connection, shots, now)
        retries = [self._retry_at(shot, result, now) for shot, result in zip(shots, results, strict=True)]
        run_ids = await _write_runs(connection, shots, results, retries, skips, now)
        await _write_retries(connection, shots, retries)
        await _count(connection, shots, results, skips, now)
        return Made(now, shots, results, run_ids, skips, written)

    def announce(self, made: Made) -> None:
        """It is committed."""
        for shot, result in zip(made.shots, made.results, strict=True):
            late = None if shot.due_at is None else (made.at - shot.due_at).total_seconds()
            self._metrics.ran(shot.rule.kind, result.outcome, late)
        for skip in made.skips:
            self._metrics.ran(skip.rule.kind, "skipped", None)
        self._intake.announce(made.written)

    async def _make(
        self, connection: Connection, shots: Sequence[Shot], now: datetime
    ) -> tuple[list[Result], Written]:
        results: dict[int, Result] = {}
        submitted: dict[int, Submission] = {}
        for number, shot in enumerate(shots):
            if shot.rule.draft.action.mailing is not None:
                results[number] = await self._mailing(connection, shot)
                continue
            try:
                submitted[number] = self._submission(shot)
            except (ContractError, MissingValueError) as error:
                results[number] = Result(error=str(error))
        written = await self._intake.accept_in(connection, list(submitted.values()), now)
        for number, answer in zip(submitted, written.answers, strict=True):
            results[number] = _result(answer)
        return [results[number] for number in range(len(shots))], written

    def _submission(self, shot: Shot) -> Submission:
        rule = shot.rule
        request = request_of(rule.draft.action, shot.event, self._intake.bounds)
        # Two events may come at the same moment.
        key = occurrence_key(rule.id, shot.zone, shot.occurrence) if shot.event is None else None
        return Submission(request, f"trigger:{rule.id}", key)

    async def _mailing(self, connection: Connection, shot: Shot) -> Result:
        draft = shot.rule.draft.action.mailing or {}
        zones = self._people_of(shot.zone)
        try:
            async with connection.transaction():  # a savepoint: what one spoils, the others do not lose
                mailing = await self._make_mailing(connection, draft, f"trigger:{shot.rule.id}", zones)
        except (ContractError, DomainError) as error:
            return Result(error=str(error))
        except TRANSIENT:
            raise
        except Exception as error:
            log.exception("trigger %s cannot make its mailing", shot.rule.id)
            return Result(error=f"{type(error).__name__}: {error}")
        return Result(mailing_id=mailing)

    def _people_of(self, zone: str) -> list[str] | None:
        """The zones that recipients may have said whose clock is that one; None: whichever."""
        if not zone:
            return None
        return [zone, NO_ZONE] if zone == self._default_zone else [zone]

    def _retry_at(self, shot: Shot, result: Result, now: datetime) -> datetime | None:
        delays = shot.rule.draft.retry_delays_seconds
        if delays is None:
            delays = self._retry_delays
        if result.error is None or shot.attempt >= len(delays):
            return None
        return now + timedelta(seconds=jittered(delays[shot.attempt], self._random))


def _result(answer: Accepted | Refusal) -> Result:
    if isinstance(answer, Accepted):
        return Result(notification_id=answer.id)
    return Result(
        error="; ".join(f"{p.field}: {p.problem}" if p.field else p.problem for p in answer.problems)
    )


async def _write_runs(
    connection: Connection,
    shots: Sequence[Shot],
    results: Sequence[Result],
    retries: Sequence[datetime | None],
    skips: Sequence[Skip],
    now: datetime,
) -> list[int]:
    """The skipped ones first, since they were due first. Returns the ids of the others."""
    rows: list[tuple[Any, ...]] = [
        (skip.rule.id, skip.zone, skip.first, now, 0, "skipped", None, None, skip.reason, None)
        for skip in skips
    ]
    rows += [
        (
            shot.rule.id,
            shot.zone,
            shot.occurrence,
            now,
            shot.attempt,
            result.outcome,
            result.notification_id,
            result.mailing_id,
            None if result.error is None else clean(result.error),
            retry_at,
        )
        for shot, result, retry_at in zip(shots, results, retries, strict=True)
    ]
    if not rows:
        return []
    written = await connection.fetch(queries.INSERT_RUNS, *map(list, zip(*rows, strict=True)))
    return [row["id"] for row in written[len(skips) :]]


async def _write_retries(
    connection: Connection, shots: Sequence[Shot], retries: Sequence[datetime | None]
) -> None:
    await insert_due(
        connection,
        [
            Due(
                shot.rule.id,
                shot.occurrence,
                retry_at,
                zone=shot.zone,
                attempt=shot.attempt + 1,
                event=shot.event,
            )
            for shot, retry_at in zip(shots, retries, strict=True)
            if retry_at is not None
        ],
    )


async def _count(
    connection: Connection,
    shots: Sequence[Shot],
    results: Sequence[Result],
    skips: Sequence[Skip],
    now: datetime,
) -> None:
    rules = {skip.rule.id: skip.rule for skip in skips} | {shot.rule.id: shot.rule for shot in shots}
    if not rules:
        return
    runs: defaultdict[UUID, int] = defaultdict(int)
    errors: dict[UUID, str | None] = {skip.rule.id: skip.reason for skip in skips}
    for shot, result in zip(shots, results, strict=True):
        runs[shot.rule.id] += shot.counts
        errors[shot.rule.id] = None if result.error is None else clean(result.error)
    ids = list(rules)
    used_up = [rule.runs_left is not None and runs[key] >= rule.runs_left for key, rule in rules.items()]
    over = [key for key, rule in rules.items() if (end := rule.draft.end_at) is not None and end <= now]
    over += [key for key, used in zip(ids, used_up, strict=True) if used]
    await connection.execute(
        queries.RAN, ids, [runs[key] for key in ids], [errors[key] for key in ids], now, used_up
    )
    await connection.execute(queries.END, ids, over)


@dataclass(frozen=True, slots=True)
class Due:
    """A row of what waits for the clock."""

    trigger_id: UUID
    occurrence: datetime
    due_at: datetime
    repeats: bool = False
    held: bool = False
    zone: str = ""
    attempt: int = 0
    event: DomainEvent | None = None
    correlation: str | None = None


async def insert_due(connection: Connection, rows: Sequence[Due]) -> None:
    """Let them wait. A clock that a trigger has already is left as it is."""
    if not rows:
        return
    await connection.execute(
        queries.INSERT_DUE,
        [row.trigger_id for row in rows],
        [row.repeats for row in rows],
        [row.held for row in rows],
        [row.zone for row in rows],
        [row.occurrence for row in rows],
        [row.due_at for row in rows],
        [row.attempt for row in rows],
        [None if row.event is None else row.event.model_dump_json() for row in rows],
        [row.correlation for row in rows],
    )


def event_of(stored: str | None) -> DomainEvent | None:
    """The event that a row waits with."""
    return None if stored is None else DomainEvent.model_validate(orjson.loads(stored))
