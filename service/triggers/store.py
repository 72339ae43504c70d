"""Triggers as people manage them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from service.audience.segments import NO_ZONE, zones_of
from service.db.database import Connection, Database
from service.db.ids import uuid7
from service.db.pages import Page, Row, below, cut
from service.mailings.drafts import parse_draft
from service.triggers import queries
from service.triggers.making import Due, Rule, insert_due
from service.triggers.rules import KINDS, STATES, Once, OnEvent, RecipientCron, TriggerDraft
from service.triggers.timing import Clock

WAITING_COUNT_LIMIT = 10_000
LAST_ID = UUID(int=2**128 - 1)
ZONES_AT_A_TIME = 1
"""Counting an audience may take half a second, for which the trigger is locked, and a batch that fires it waits."""


class NameTakenError(ValueError):
    """Another trigger has that name."""


class Triggers:
    """Every method is one transaction, and raises one of `OUTAGE` while the database is away.

    `due_at` is when an occurrence of a rule is fired: with its jitter.
    """

    def __init__(
        self,
        database: Database,
        *,
        default_zone: str,
        due_at: Callable[[Rule, datetime], datetime],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._default_zone = default_zone
        self._due_at = due_at
        self._clock = clock

    async def waiting_for(self, recipient: str, most: int) -> list[Row]:
        """Events about that person whose delay runs: `trigger`, `occurrence`, `due_at`, `event`."""
        async with self._database.connection() as connection:
            rows: list[Row] = await connection.fetch(queries.OF_PERSON, recipient, most)
        return rows

    async def forget(self, recipient: str) -> int:
        """Drop events about that person whose delay runs. Returns how many."""
        async with self._database.connection() as connection:
            return int((await connection.execute(queries.FORGET_PERSON, recipient)).rpartition(" ")[2])

    async def make(self, draft: TriggerDraft) -> UUID:
        """Keep a rule that was checked, and let it wait. Raises `NameTakenError`."""
        now = self._clock()
        rule = Rule(uuid7(), draft, "active", now, 0)
        async with self._database.transaction() as connection:
            values = (rule.id, *_columns(draft), now)
            if await connection.fetchval(queries.INSERT, *values) is None:
                raise NameTakenError(draft.name)
            await self._wind(connection, rule, now)
        return rule.id

    async def change(self, trigger_id: UUID, draft: TriggerDraft) -> bool:
        """Put another rule in its place; when it fires next is decided anew. False: there is none.

        What waits for a delay or a retry goes on waiting, unless the kind is another. Raises `NameTakenError`.
        """
        now = self._clock()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(queries.LOCK, trigger_id)
            if row is None:
                return False
            used_up = draft.max_runs is not None and row["runs"] >= draft.max_runs
            state = "paused" if row["state"] == "paused" else "finished" if used_up else "active"
            try:
                await connection.execute(queries.REPLACE, trigger_id, *_columns(draft), state, now)
            except asyncpg.UniqueViolationError:
                raise NameTakenError(draft.name) from None
            same_kind = row["kind"] == draft.schedule.kind
            await connection.execute(queries.DROP_CLOCK if same_kind else queries.DROP_ALL, trigger_id)
            await self._wind(connection, Rule(trigger_id, draft, state, row["anchor_at"], row["runs"]), now)
        return True

    async def delete(self, trigger_id: UUID) -> bool:
        """Remove it and what waits; its history stays until it is too old. False: there is none."""
        async with self._database.transaction() as connection:
            await connection.fetchrow(queries.LOCK, trigger_id)
            return await connection.fetchval(queries.DELETE, trigger_id) is not None

    async def pause(self, trigger_id: UUID) -> bool:
        """Hold it and what waits. One that has ended stays as it is. False: there is none."""
        now = self._clock()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(queries.LOCK, trigger_id)
            if row is not None and row["state"] == "active":
                await connection.execute(queries.SET_STATE, trigger_id, "paused", now)
                await connection.execute(queries.HOLD, trigger_id)
        return row is not None

    async def resume(self, trigger_id: UUID) -> bool:
        """Let a paused one go on. Occurrences while it was paused did not exist; delays that ended meanwhile are due.

        False: there is none.
        """
        now = self._clock()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(queries.LOCK, trigger_id)
            if row is not None and row["state"] == "paused":
                rule = Rule.of(row)
                state = "finished" if rule.runs_left == 0 else "active"
                await connection.execute(queries.SET_STATE, trigger_id, state, now)
                await connection.execute(queries.LET_GO, trigger_id, now)
                await connection.execute(queries.DROP_CLOCK, trigger_id)
                await self._wind(connection, Rule(rule.id, rule.draft, state, rule.anchor, rule.runs), now)
        return row is not None

    async def get(self, trigger_id: UUID) -> Row | None:
        """It, with its next occurrence and how much waits for a delay or a retry, up to `WAITING_COUNT_LIMIT`."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(queries.GET, WAITING_COUNT_LIMIT, trigger_id)

    async def page(self, state: str | None, kind: str | None, before: UUID | None, limit: int) -> Page[Row]:
        """The newest first."""
        states, kinds = [state] if state else list(STATES), [kind] if kind else list(KINDS)
        values = (WAITING_COUNT_LIMIT, before or LAST_ID, states, kinds, limit + 1)
        async with self._database.connection() as connection:
            return cut(await connection.fetch(queries.PAGE, *values), limit)

    async def runs(self, trigger_id: UUID, before: int | None, limit: int) -> Page[Row]:
        """What became of its occurrences, the newest first."""
        values = (trigger_id, below(before), limit + 1)
        async with self._database.connection() as connection:
            return cut(await connection.fetch(queries.RUNS, *values), limit)

    async def run(self, run_id: int) -> Row | None:
        """One of them."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(queries.RUN, run_id)

    async def preview(
        self, draft: TriggerDraft, anchor: datetime | None, count: int
    ) -> list[tuple[str, datetime]]:
        """The next occurrences of a rule, saved or not, each with the zone whose clock it goes by, if any."""
        now = self._clock()
        async with self._database.connection() as connection:
            zones = await self._zones(connection, draft)
        found = [
            (zone, moment)
            for zone in zones
            for moment in Clock(draft, anchor or now, zone).preview(now, count)
        ]
        return sorted(found, key=lambda one: (one[1], one[0]))[:count]

    async def look_up_zones(self, older_than: datetime) -> int:
        """Give recipient-crons a clock for each zone that their audience has come to have, and take it from those it
        has lost. Returns how many triggers, at most `ZONES_AT_A_TIME`.
        """
        now = self._clock()
        async with self._database.transaction() as connection:
            rows = await connection.fetch(queries.STALE_ZONES, older_than, ZONES_AT_A_TIME)
            for row in rows:
                rule = Rule.of(row)
                zones = await self._zones(connection, rule.draft)
                await connection.execute(queries.DROP_ZONES, rule.id, zones)
                await self._wind(connection, rule, now)
                await connection.execute(queries.ZONES_SEEN, rule.id, now)
        return len(rows)

    async def _wind(self, connection: Connection, rule: Rule, now: datetime) -> None:
        """Let it wait for its next occurrence. A rule without one has ended."""
        if isinstance(rule.draft.schedule, OnEvent) or rule.state == "finished":
            return
        rows = []
        for zone in await self._zones(connection, rule.draft):
            if (first := self._first(rule, zone, now)) is not None:
                due_at = self._due_at(rule, first)
                held = rule.state == "paused"
                rows.append(Due(rule.id, first, due_at, repeats=True, held=held, zone=zone))
        await insert_due(connection, rows)
        if not rows and not isinstance(rule.draft.schedule, RecipientCron) and rule.state == "active":
            await connection.execute(queries.SET_STATE, rule.id, "finished", now)

    def _first(self, rule: Rule, zone: str, now: datetime) -> datetime | None:
        clock = Clock(rule.draft, rule.anchor, zone)
        fired = isinstance(rule.draft.schedule, Once) and rule.runs > 0
        return clock.after(now) if fired else clock.first(now)

    async def _zones(self, connection: Connection, draft: TriggerDraft) -> list[str]:
        if not isinstance(draft.schedule, RecipientCron):
            return [""]
        found = await zones_of(connection, parse_draft(draft.action.mailing).audience)
        return sorted({self._default_zone if zone == NO_ZONE else zone for zone in found})


async def lists_in_use(connection: Connection, lists: Sequence[UUID]) -> set[UUID]:
    """Which of these uploaded lists triggers are for, whatever their state."""
    return {row["list_id"] for row in await connection.fetch(queries.LISTS_IN_USE, lists)}


def _columns(draft: TriggerDraft) -> tuple[str, str, str, str | None, str | None, UUID | None]:
    schedule = draft.schedule
    event = schedule.event if isinstance(schedule, OnEvent) else None
    cancel = schedule.cancel.event if isinstance(schedule, OnEvent) and schedule.cancel else None
    return draft.name, schedule.kind, draft.model_dump_json(exclude_unset=True), event, cancel, _list(draft)


def _list(draft: TriggerDraft) -> UUID | None:
    if draft.action.mailing is None:
        return None
    audience = parse_draft(draft.action.mailing).audience
    return audience.uploaded if audience.kind == "uploaded" else None
