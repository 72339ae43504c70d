"""`/v1/triggers`: rules that make notifications and mailings, and the history of what they made."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.api.deps import ApiDeps, Deps, Manager, reading
from service.api.paging import NumberPaging, Page, UuidPaging, cursor_of
from service.api.problems import WITH_BODY, documented
from service.content.drafts import storable
from service.contract import DomainEvent, FieldProblem
from service.contract.fields import RecipientId
from service.db.pages import Row
from service.delivery.listing import load_json
from service.errors import (
    InvalidRequest,
    NameTaken,
    NotFound,
    TriggerRefused,
)
from service.triggers.checks import problems_of
from service.triggers.rules import OnEvent, TriggerDraft
from service.triggers.store import NameTakenError

PREVIEW_RUNS = 10

router = APIRouter(prefix="/triggers", tags=["triggers"])

State = Literal["active", "paused", "finished", "failed"]
Kind = Literal["once", "interval", "cron", "recipient-cron", "event"]


class TriggerView(TriggerDraft):
    """A trigger. Its rule alone is what `PUT` takes."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={})

    id: UUID
    state: State = Field(description="`failed`: it has ended, and its last run came to nothing")
    next_fire_at: datetime | None = Field(
        description="Its next occurrence; null where it has ended, is paused or waits for an event"
    )
    waiting: int = Field(description="Delays that run and retries to come, counted up to 10,000")
    runs: int = Field(description="Occurrences that were fired; those fired by hand do not count")
    error: str | None = Field(description="What the last run came to, if it came to nothing")
    last_run_at: datetime | None
    created_at: datetime
    updated_at: datetime


class RunView(BaseModel):
    """What became of an occurrence."""

    id: int
    occurrence: datetime = Field(description="The moment of the rule, or when the event arrived")
    zone: str | None = Field(description="Whose clock it goes by, for a recipient-cron")
    fired_at: datetime
    late_seconds: float = Field(description="How much later than the occurrence; a delay or jitter counts in")
    attempt: int = Field(description="From 0; a retry has a higher one")
    outcome: Literal["made", "skipped", "failed"]
    notification_id: UUID | None
    mailing_id: UUID | None
    error: str | None = Field(description="Why it failed or was skipped")
    retry_at: datetime | None = Field(description="When it is tried again")


class NextRun(BaseModel):
    """An occurrence to come."""

    at: datetime
    zone: str | None = Field(description="Whose clock it goes by, for a recipient-cron")


class TriggerPreview(BaseModel):
    """When a rule would fire; nothing for one that waits for events."""

    runs: list[NextRun]


class FireRequest(BaseModel):
    """The event to fire with, for a trigger that waits for one. Its conditions and delay do not count."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"recipient": "42", "data": {"order_id": 17}}]}
    )

    recipient: RecipientId | None = None
    data: Annotated[dict[str, Any], AfterValidator(storable)] = Field(default_factory=dict)


class TriggerQuery(UuidPaging):
    """Filters of the list."""

    state: State | None = None
    kind: Kind | None = None


@router.post(
    "",
    status_code=201,
    summary="Make a trigger",
    response_description="It is active",
    responses=documented(TriggerRefused, NameTaken, *WITH_BODY),
)
async def make_trigger(deps: Deps, caller: Manager, body: TriggerDraft) -> TriggerView:
    """Its name is its own, so that a call that is repeated makes no second one."""
    _check(deps, body)
    async with deps.audit.entry(caller, "trigger.make", name=body.name, kind=body.schedule.kind) as done:
        try:
            trigger_id = await deps.triggers.make(body)
        except NameTakenError:
            raise _taken(body) from None
        done["trigger"] = str(trigger_id)
    return await _trigger(deps, trigger_id)


@router.post(
    "/preview",
    summary="When a rule would fire",
    dependencies=[reading],
    responses=documented(TriggerRefused, *WITH_BODY),
)
async def preview_rule(deps: Deps, body: TriggerDraft) -> TriggerPreview:
    """The next ten occurrences of a rule that is not saved."""
    _check(deps, body)
    return await _preview(deps, body, None)


@router.get("", summary="List triggers", dependencies=[reading], responses=documented(InvalidRequest))
async def list_triggers(deps: Deps, query: Annotated[TriggerQuery, Query()]) -> Page[TriggerView]:
    """The newest first."""
    page = await deps.triggers.page(query.state, query.kind, query.before, query.limit)
    return Page(items=[_view(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/{trigger_id:uuid}",
    summary="One trigger",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_trigger(deps: Deps, trigger_id: UUID) -> TriggerView:
    """With its state and next occurrence."""
    return await _trigger(deps, trigger_id)


@router.put(
    "/{trigger_id:uuid}",
    summary="Change a trigger",
    responses=documented(NotFound, TriggerRefused, NameTaken, *WITH_BODY),
)
async def change_trigger(deps: Deps, caller: Manager, trigger_id: UUID, body: TriggerDraft) -> TriggerView:
    """The whole rule is replaced; when it fires next is decided anew. A paused one stays paused."""
    _check(deps, body)
    async with deps.audit.entry(caller, "trigger.change", str(trigger_id), name=body.name):
        try:
            if not await deps.triggers.change(trigger_id, body):
                raise _no_trigger(trigger_id)
        except NameTakenError:
            raise _taken(body) from None
    return await _trigger(deps, trigger_id)


@router.delete(
    "/{trigger_id:uuid}",
    status_code=204,
    summary="Remove a trigger",
    responses=documented(NotFound, InvalidRequest),
)
async def delete_trigger(deps: Deps, caller: Manager, trigger_id: UUID) -> None:
    """And what waits for it. What it made stays."""
    async with deps.audit.entry(caller, "trigger.delete", str(trigger_id)):
        if not await deps.triggers.delete(trigger_id):
            raise _no_trigger(trigger_id)


@router.post(
    "/{trigger_id:uuid}/pause", summary="Pause a trigger", responses=documented(NotFound, InvalidRequest)
)
async def pause_trigger(deps: Deps, caller: Manager, trigger_id: UUID) -> TriggerView:
    """It fires no more and takes no events; delays that run are held. One that has ended stays as it is."""
    async with deps.audit.entry(caller, "trigger.pause", str(trigger_id)):
        if not await deps.triggers.pause(trigger_id):
            raise _no_trigger(trigger_id)
    return await _trigger(deps, trigger_id)


@router.post(
    "/{trigger_id:uuid}/resume", summary="Resume a trigger", responses=documented(NotFound, InvalidRequest)
)
async def resume_trigger(deps: Deps, caller: Manager, trigger_id: UUID) -> TriggerView:
    """It waits for its next occurrence; those while it was paused did not exist. Delays that ended meanwhile are due."""
    async with deps.audit.entry(caller, "trigger.resume", str(trigger_id)):
        if not await deps.triggers.resume(trigger_id):
            raise _no_trigger(trigger_id)
    return await _trigger(deps, trigger_id)


@router.post(
    "/{trigger_id:uuid}/fire",
    summary="Fire a trigger now",
    response_description="What became of it",
    responses=documented(NotFound, TriggerRefused, *WITH_BODY),
)
async def fire_trigger(
    deps: Deps, caller: Manager, trigger_id: UUID, body: FireRequest | None = None
) -> RunView:
    """Whatever its state. Its next occurrence and its number of runs stay as they are."""
    schedule = (await _trigger(deps, trigger_id)).schedule
    event = None
    if isinstance(schedule, OnEvent):
        given = body or FireRequest()
        event = DomainEvent(event=schedule.event, recipient=given.recipient, data=given.data)
    elif body is not None and body.model_fields_set:
        problem = f"is for a trigger that waits for an event; accepted: none for the kind `{schedule.kind}`"
        raise TriggerRefused([FieldProblem(field="data", problem=problem, code="conflict")])
    async with deps.audit.entry(caller, "trigger.fire", str(trigger_id)) as done:
        run_id = await deps.firing.fire_now(trigger_id, event)
        if run_id is None:
            raise _no_trigger(trigger_id)
        done["run"] = run_id
    return _run(await deps.triggers.run(run_id))


@router.post(
    "/{trigger_id:uuid}/preview",
    summary="When a trigger fires",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def preview_trigger(deps: Deps, trigger_id: UUID) -> TriggerPreview:
    """The next ten occurrences, as if it were active now."""
    row = await deps.triggers.get(trigger_id)
    if row is None:
        raise _no_trigger(trigger_id)
    return await _preview(deps, TriggerDraft.model_validate_json(row["draft"]), row["anchor_at"])


@router.get(
    "/{trigger_id:uuid}/runs",
    summary="List what a trigger made",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def list_trigger_runs(
    deps: Deps, trigger_id: UUID, query: Annotated[NumberPaging, Query()]
) -> Page[RunView]:
    """The newest first; kept for TRIGGERS_RUN_RETENTION_DAYS."""
    await _trigger(deps, trigger_id)
    page = await deps.triggers.runs(trigger_id, query.before, query.limit)
    return Page(items=[_run(row) for row in page.rows], next=cursor_of(page.next))


def _check(deps: ApiDeps, draft: TriggerDraft) -> None:
    if problems := problems_of(draft, deps.intake.bounds):
        raise TriggerRefused(problems)


async def _preview(deps: ApiDeps, draft: TriggerDraft, anchor: datetime | None) -> TriggerPreview:
    found = await deps.triggers.preview(draft, anchor, PREVIEW_RUNS)
    return TriggerPreview(runs=[NextRun(at=moment, zone=zone or None) for zone, moment in found])


async def _trigger(deps: ApiDeps, trigger_id: UUID) -> TriggerView:
    row = await deps.triggers.get(trigger_id)
    if row is None:
        raise _no_trigger(trigger_id)
    return _view(row)


def _no_trigger(trigger_id: UUID) -> NotFound:
    return NotFound(f"no trigger has the id {trigger_id}")


def _taken(draft: TriggerDraft) -> NameTaken:
    return NameTaken(f"another trigger is called {draft.name!r}")


def _view(row: Row) -> TriggerView:
    shown = (
        "id",
        "state",
        "next_fire_at",
        "waiting",
        "runs",
        "error",
        "last_run_at",
        "created_at",
        "updated_at",
    )
    return TriggerView.model_validate({**load_json(row["draft"]), **{name: row[name] for name in shown}})


def _run(row: Row) -> RunView:
    return RunView(
        id=row["id"],
        occurrence=row["occurrence"],
        zone=row["zone"] or None,
        fired_at=row["fired_at"],
        late_seconds=(row["fired_at"] - row["occurrence"]).total_seconds(),
        attempt=row["attempt"],
        outcome=row["outcome"],
        notification_id=row["notification_id"],
        mailing_id=row["mailing_id"],
        error=row["error"],
        retry_at=row["retry_at"],
    )
