"""Mailings as people and programs handle them: written down, started, paused, cancelled, looked at."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from service.audience.segments import Audience
from service.contract import Bounds, ContractError, problems_of
from service.db.database import Connection, Database
from service.db.ids import uuid7
from service.db.pages import Page, Row, cut
from service.delivery.holds import let_go
from service.delivery.planning import Planner
from service.delivery.wakeups import CHANNEL
from service.errors import MailingState, NotFound
from service.mailings import judging, queries
from service.mailings.checks import usable_version
from service.mailings.counting import Standing, stand
from service.mailings.drafts import MailingDraft, dump_draft, parse_draft, request_of
from service.mailings.runner import WORD
from service.mailings.tally import Pace
from service.mailings.turn import put_on_hold, write

SETTLE_LOOKS = 10
SETTLE_SECONDS = 0.1
RESULT_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Stopped:
    """What had become of a mailing when it was stopped: `under_way` calls may still end either way."""

    status: str
    sent: int
    under_way: int
    waiting: int


class Mailings:
    """Every method raises one of `OUTAGE` while PostgreSQL is away; those with an id raise `NotFound`."""

    def __init__(self, database: Database, planner: Planner, bounds: Bounds) -> None:
        self._database = database
        self._planner = planner
        self._bounds = bounds

    # --- drafts -----------------------------------------------------------------------------------

    async def create(
        self,
        connection: Connection,
        draft: MailingDraft,
        *,
        source: str,
        zones: Sequence[str] | None = None,
        start: bool = True,
    ) -> UUID:
        """Write it down in the caller's transaction, and start it at its time. Returns its id.

        `source` says who made it. `zones`: only for those who live there (`segments.NO_ZONE`: who say nothing
        of it). Raises `MailingRefused`.
        """
        await self.check(connection, draft)
        mailing_id = uuid7()
        await connection.execute(
            queries.INSERT,
            mailing_id,
            draft.name,
            source,
            "scheduled" if start else "draft",
            dump_draft(draft),
            None if zones is None else list(zones),
            draft.start_at,
        )
        await _say(connection, mailing_id)
        return mailing_id

    async def make(
        self, connection: Connection, raw: Mapping[str, Any], source: str, zones: Sequence[str] | None
    ) -> UUID:
        """The same from a draft as JSON. Raises `ContractError` and `MailingRefused`."""
        try:
            draft = parse_draft(raw)
        except ValidationError as error:
            raise ContractError(problems_of(error)) from None
        return await self.create(connection, draft, source=source, zones=zones)

    async def check(self, connection: Connection, draft: MailingDraft) -> None:
        """Raises `MailingRefused` where it could not go out as things are."""
        await usable_version(connection, self._planner, draft, request_of(draft, self._bounds))

    async def write_down(self, draft: MailingDraft, source: str) -> UUID:
        """Keep a draft."""
        async with self._database.transaction() as connection:
            return await self.create(connection, draft, source=source, start=False)

    async def replace(self, mailing_id: UUID, draft: MailingDraft) -> None:
        """Change a draft. Raises `MailingState` once it was started."""
        async with self._database.transaction() as connection:
            await self._locked(connection, mailing_id, "draft")
            await self.check(connection, draft)
            await connection.execute(
                queries.REPLACE, mailing_id, draft.name, dump_draft(draft), draft.start_at
            )

    async def expect_draft(self, mailing_id: UUID) -> None:
        """Raises `MailingState` unless it is a draft."""
        _in_state(await self.get(mailing_id), "draft")

    async def address(self, mailing_id: UUID, audience: Audience) -> None:
        """Change whom a draft is for. Raises `MailingState` once it was started."""
        async with self._database.transaction() as connection:
            row = await self._locked(connection, mailing_id, "draft")
            draft = MailingDraft.model_validate_json(row["draft"]).model_copy(update={"audience": audience})
            await write(connection, mailing_id, {"draft": dump_draft(draft)})

    async def delete(self, mailing_id: UUID) -> None:
        """Drop a draft."""
        async with self._database.transaction() as connection:
            await self._locked(connection, mailing_id, "draft")
            await connection.execute(queries.DELETE, mailing_id)

    # --- reading ----------------------------------------------------------------------------------

    async def get(self, mailing_id: UUID) -> Row:
        """Its row, with the database's `now`."""
        async with self._database.connection() as connection:
            return await _found(connection, queries.GET, mailing_id)

    async def parts(self, mailing_id: UUID) -> list[Row]:
        """The parts of its walk: zone, planned, made, after, done."""
        async with self._database.connection() as connection:
            rows: list[Row] = await connection.fetch(queries.PARTS, mailing_id)
        return rows

    async def page(self, before: UUID | None, limit: int, status: str | None) -> Page[Row]:
        """The newest first."""
        async with self._database.connection() as connection:
            return cut(await connection.fetch(queries.PAGE, before, status, limit + 1), limit)

    async def results(self, mailing_id: UUID) -> AsyncIterator[list[Row]]:
        """Its deliveries in the order in which they were made, in pieces. Nothing where it has not begun."""
        notification_id = (await self.get(mailing_id))["notification_id"]
        after = 0
        while notification_id is not None:
            async with self._database.connection() as connection:
                rows = await connection.fetch(queries.RESULTS, notification_id, after, RESULT_ROWS)
            if rows:
                yield rows
            if len(rows) < RESULT_ROWS:
                return
            after = rows[-1]["id"]

    # --- states -----------------------------------------------------------------------------------

    async def start(self, mailing_id: UUID) -> None:
        """Let a draft begin, at its time. Raises `MailingRefused` where it cannot."""
        async with self._database.transaction() as connection:
            row = await self._locked(connection, mailing_id, "draft")
            await self.check(connection, MailingDraft.model_validate_json(row["draft"]))
            look_at = max(row["start_at"] or row["now"], row["now"])
            await write(connection, mailing_id, {"status": "scheduled", "look_at": look_at})
            await _say(connection, mailing_id)

    async def pause(self, mailing_id: UUID, reason: str) -> Stopped:
        """Nothing more is sent until it is resumed."""
        async with self._database.transaction() as connection:
            row = await self._locked(connection, mailing_id, "scheduled", "running")
            changes: dict[str, Any] = {"status": "paused", "reason": reason, "look_at": None}
            if row["notification_id"] is not None:
                await put_on_hold(connection, row)
                changes["look_at"] = row["now"]
            await write(connection, mailing_id, changes)
            await _say(connection, mailing_id)
        return await self._stopped(mailing_id)

    async def resume(self, mailing_id: UUID) -> None:
        """Go on where it stopped. The limits watch anew from here."""
        async with self._database.transaction() as connection:
            row = await self._locked(connection, mailing_id, "paused")
            begun = row["notification_id"] is not None
            look_at = row["now"] if begun else max(row["start_at"] or row["now"], row["now"])
            changes = {
                "status": "running" if begun else "scheduled",
                "reason": None,
                "look_at": look_at,
            }
            if begun:
                await let_go(connection, row["notification_id"])
                standing, pace = await stand(connection, row, 0.0), Pace.load(row["pace"])
                judging.rebase(standing.tally, pace)
                pace.marks = []
                changes["pace"] = pace.dump()
            await write(connection, mailing_id, changes)
            await _say(connection, mailing_id)

    async def cancel(self, mailing_id: UUID) -> Stopped:
        """Nothing more is sent, ever."""
        async with self._database.transaction() as connection:
            row = await self._locked(connection, mailing_id, "scheduled", "running", "paused")
            changes: dict[str, Any] = {"status": "cancelled", "reason": None, "look_at": row["now"]}
            if row["notification_id"] is None:
                changes |= {"look_at": None, "ended_at": row["now"]}
            else:
                await put_on_hold(connection, row)
            await write(connection, mailing_id, changes)
            await _say(connection, mailing_id)
        return await self._stopped(mailing_id)

    async def approve(self, mailing_id: UUID) -> None:
        """The canary is fine: the others may follow."""
        async with self._database.transaction() as connection:
            row = await self._locked(connection, mailing_id, "running", "paused")
            if row["canary"] not in ("sending", "approval"):
                raise MailingState("it waits for no approval")
            changes: dict[str, Any] = {"canary": "passed"}
            if row["status"] == "running":
                changes["look_at"] = row["now"]
            await write(connection, mailing_id, changes)
            await _say(connection, mailing_id)

    async def _locked(self, connection: Connection, mailing_id: UUID, *statuses: str) -> Row:
        row = await _found(connection, queries.LOCK, mailing_id)
        _in_state(row, *statuses)
        return row

    async def _stopped(self, mailing_id: UUID) -> Stopped:
        """Once processes have put back what they held, what is left under way are calls."""
        seen: Standing | None = None
        for _ in range(SETTLE_LOOKS):
            row = await self.get(mailing_id)
            if row["notification_id"] is None:
                return Stopped(row["status"], 0, 0, 0)
            async with self._database.connection() as connection:
                now = await stand(connection, row, 0.0)
            if not now.sending or (seen is not None and seen.sending == now.sending):
                seen = now
                break
            seen = now
            await asyncio.sleep(SETTLE_SECONDS)
        if seen is None:
            raise RuntimeError("nothing was looked at")
        return Stopped(row["status"], seen.tally.sent, seen.sending, seen.active - seen.sending)


async def _found(connection: Connection, statement: str, mailing_id: UUID) -> Row:
    row = await connection.fetchrow(statement, mailing_id)
    if row is None:
        raise NotFound(f"no mailing has the id {mailing_id}")
    return row


def _in_state(row: Row, *statuses: str) -> None:
    if row["status"] not in statuses:
        raise MailingState(f"it is {row['status']}; accepted: {', '.join(statuses)}")


async def _say(connection: Connection, mailing_id: UUID) -> None:
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{WORD} {mailing_id}")
