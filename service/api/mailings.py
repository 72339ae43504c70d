"""`/v1/mailings`: broadcasts written down, tried, started, stopped and followed."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from service.api.deps import ApiDeps, Deps, Manager, Producer, reading
from service.api.mailing_forecast import forecast_of
from service.api.mailing_views import (
    MailingForecast,
    MailingSummary,
    MailingView,
    PauseRequest,
    ProgressView,
    Status,
    StoppedView,
    TrialReport,
    TrialRequest,
    TrialResult,
    UploadReport,
)
from service.api.paging import Page, UuidPaging, cursor_of
from service.api.problems import WITH_BODY, documented
from service.audience.segments import Audience
from service.contract import ContractError, Priority, Target
from service.delivery.intake import Accepted, Submission
from service.errors import InvalidRequest, MailingRefused, MailingState, NotFound, NotRendered
from service.mailings.drafts import MailingDraft, request_of
from service.mailings.progress import progress_of
from service.mailings.results import csv_of
from service.mailings.store import Stopped
from service.mailings.streaming import progress_events
from service.mailings.uploads import upload

UPLOAD_PATH = r"/v1/mailings/[^/]+/recipients"
UPLOAD_TYPES = frozenset({b"text/csv"})
_CSV = "text/csv; charset=utf-8"
_EVENTS = "text/event-stream"

router = APIRouter(prefix="/mailings", tags=["mailings"])


class MailingQuery(UuidPaging):
    """Filter of the list."""

    status: Status | None = None


@router.post(
    "",
    status_code=201,
    summary="Write a mailing down",
    responses=documented(MailingRefused, *WITH_BODY),
    response_model_exclude_unset=True,
)
async def create_mailing(deps: Deps, caller: Manager, body: MailingDraft, response: Response) -> MailingView:
    """As a draft: nothing is sent before it is started."""
    async with deps.audit.entry(caller, "mailing.create", body.name) as done:
        mailing_id = await deps.mailings.write_down(body, caller.name)
        done["id"] = str(mailing_id)
    response.headers["Location"] = f"/v1/mailings/{mailing_id}"
    return await _view(deps, mailing_id)


@router.get("", summary="List mailings", dependencies=[reading], responses=documented(InvalidRequest))
async def list_mailings(deps: Deps, query: Annotated[MailingQuery, Query()]) -> Page[MailingSummary]:
    """The newest first."""
    page = await deps.mailings.page(query.before, query.limit, query.status)
    return Page(items=[MailingSummary.of(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/{mailing_id:uuid}",
    summary="One mailing",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
    response_model_exclude_unset=True,
)
async def get_mailing(deps: Deps, mailing_id: UUID) -> MailingView:
    """With its progress."""
    return await _view(deps, mailing_id)


@router.put(
    "/{mailing_id:uuid}",
    summary="Change a draft",
    responses=documented(NotFound, MailingState, MailingRefused, *WITH_BODY),
    response_model_exclude_unset=True,
)
async def replace_mailing(deps: Deps, caller: Manager, mailing_id: UUID, body: MailingDraft) -> MailingView:
    """Once it was started a mailing is not changed any more."""
    async with deps.audit.entry(caller, "mailing.change", str(mailing_id), name=body.name):
        await deps.mailings.replace(mailing_id, body)
    return await _view(deps, mailing_id)


@router.delete(
    "/{mailing_id:uuid}",
    status_code=204,
    summary="Drop a draft",
    responses=documented(NotFound, MailingState, InvalidRequest),
)
async def delete_mailing(deps: Deps, caller: Manager, mailing_id: UUID) -> None:
    """What was started is kept, for its numbers."""
    async with deps.audit.entry(caller, "mailing.delete", str(mailing_id)):
        await deps.mailings.delete(mailing_id)


@router.post(
    "/{mailing_id:uuid}/start",
    summary="Start a mailing",
    responses=documented(NotFound, MailingState, MailingRefused, InvalidRequest),
    response_model_exclude_unset=True,
)
async def start_mailing(deps: Deps, caller: Manager, mailing_id: UUID) -> MailingView:
    """At its time, or at once."""
    async with deps.audit.entry(caller, "mailing.start", str(mailing_id)):
        await deps.mailings.start(mailing_id)
    return await _view(deps, mailing_id)


@router.post(
    "/{mailing_id:uuid}/pause",
    summary="Pause a mailing",
    responses=documented(NotFound, MailingState, *WITH_BODY),
)
async def pause_mailing(
    deps: Deps, caller: Manager, mailing_id: UUID, body: PauseRequest | None = None
) -> StoppedView:
    """Nothing more of it is sent; calls to providers that are under way end as they do."""
    reason = (body or PauseRequest()).reason
    async with deps.audit.entry(caller, "mailing.pause", str(mailing_id), reason=reason) as done:
        stopped = await deps.mailings.pause(mailing_id, reason)
        done["sent"] = stopped.sent
    return _stopped(stopped)


@router.post(
    "/{mailing_id:uuid}/resume",
    summary="Let a paused mailing go on",
    responses=documented(NotFound, MailingState, InvalidRequest),
    response_model_exclude_unset=True,
)
async def resume_mailing(deps: Deps, caller: Manager, mailing_id: UUID) -> MailingView:
    """Where it stopped. Its limits on failures watch anew from here."""
    async with deps.audit.entry(caller, "mailing.resume", str(mailing_id)):
        await deps.mailings.resume(mailing_id)
    return await _view(deps, mailing_id)


@router.post(
    "/{mailing_id:uuid}/cancel",
    summary="Cancel a mailing",
    responses=documented(NotFound, MailingState, InvalidRequest),
)
async def cancel_mailing(deps: Deps, caller: Manager, mailing_id: UUID) -> StoppedView:
    """For good. Calls to providers that are under way end as they do."""
    async with deps.audit.entry(caller, "mailing.cancel", str(mailing_id)) as done:
        stopped = await deps.mailings.cancel(mailing_id)
        done["sent"] = stopped.sent
    return _stopped(stopped)


@router.post(
    "/{mailing_id:uuid}/approve",
    summary="Let the others follow the canary",
    responses=documented(NotFound, MailingState, InvalidRequest),
    response_model_exclude_unset=True,
)
async def approve_mailing(deps: Deps, caller: Manager, mailing_id: UUID) -> MailingView:
    """Whatever its numbers say."""
    async with deps.audit.entry(caller, "mailing.approve", str(mailing_id)):
        await deps.mailings.approve(mailing_id)
    return await _view(deps, mailing_id)


@router.post(
    "/{mailing_id:uuid}/test",
    summary="Send a mailing to chosen recipients only",
    responses=documented(NotFound, MailingRefused, *WITH_BODY),
)
async def try_mailing(deps: Deps, caller: Producer, mailing_id: UUID, body: TrialRequest) -> TrialReport:
    """At once, each as a notification of its own, whatever the state of the mailing."""
    draft = await _draft(deps, mailing_id)
    request = request_of(draft, deps.intake.bounds).model_copy(update={"priority": Priority.HIGH})
    submissions = [
        Submission(
            request.model_copy(update={"to": Target(recipient=recipient)}), f"mailing-test:{mailing_id}"
        )
        for recipient in body.recipients
    ]
    async with deps.audit.entry(caller, "mailing.test", str(mailing_id), recipients=body.recipients):
        answers = await deps.intake.accept_many(submissions)
    return TrialReport(
        items=[
            TrialResult(recipient=recipient, notification_id=answer.id, problem=answer.suppressed)
            if isinstance(answer, Accepted)
            else TrialResult(
                recipient=recipient,
                notification_id=None,
                problem="; ".join(f"{p.field}: {p.problem}" for p in answer.problems),
            )
            for recipient, answer in zip(body.recipients, answers, strict=True)
        ]
    )


@router.post(
    "/{mailing_id:uuid}/preview",
    summary="What would come of a mailing",
    dependencies=[reading],
    responses=documented(NotFound, MailingRefused, NotRendered, InvalidRequest),
)
async def preview_mailing(deps: Deps, mailing_id: UUID) -> MailingForecast:
    """Its audience counted, some of it, when it would be done, and how it looks. Nothing is sent."""
    return await forecast_of(deps, await _draft(deps, mailing_id))


@router.put(
    "/{mailing_id:uuid}/recipients",
    summary="Upload a draft's audience",
    responses=documented(NotFound, MailingState, MailingRefused, *WITH_BODY),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {
                    # Without a type: every body is some text.
                    "schema": {
                        "description": "A header with the column `external_id`, or an id on each line"
                    },
                    "example": "external_id\n42\n43\n",
                }
            },
        }
    },
)
async def upload_recipients(request: Request, deps: Deps, caller: Manager, mailing_id: UUID) -> UploadReport:
    """The draft is then for these people, in the place of whom it was for. Rows are stored as they arrive."""
    await deps.mailings.expect_draft(mailing_id)
    async with deps.audit.entry(caller, "mailing.upload", str(mailing_id)) as done:
        try:
            uploaded = await upload(deps.database, request.stream())
        except ContractError as error:
            raise MailingRefused(error.problems) from None
        await deps.mailings.address(mailing_id, Audience(uploaded=uploaded.list_id))
        done["recipients"] = uploaded.members
    return UploadReport(recipients=uploaded.members, unknown=uploaded.unknown, unknown_ids=uploaded.shown)


@router.get(
    "/{mailing_id:uuid}/results.csv",
    summary="Its deliveries as CSV",
    dependencies=[reading],
    response_class=Response,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "A line a delivery"},
        **documented(NotFound, InvalidRequest),
    },
)
async def mailing_results(deps: Deps, mailing_id: UUID) -> StreamingResponse:
    """In the order in which they were made; empty once their retention is over."""
    await deps.mailings.get(mailing_id)
    headers = {"Content-Disposition": f'attachment; filename="mailing-{mailing_id}.csv"'}
    return StreamingResponse(csv_of(deps.mailings.results(mailing_id)), media_type=_CSV, headers=headers)


@router.get(
    "/{mailing_id:uuid}/progress",
    summary="How far a mailing is",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def mailing_progress(deps: Deps, mailing_id: UUID) -> ProgressView:
    """As it was counted last, a second ago at most while it runs."""
    return await _progress(deps, mailing_id)


@router.get(
    "/{mailing_id:uuid}/progress/stream",
    summary="Follow a mailing",
    dependencies=[reading],
    response_class=Response,
    responses={
        200: {
            "content": {
                _EVENTS: {
                    "schema": {
                        "type": "object",
                        "properties": {"event": {"const": "progress"}, "data": {"type": "string"}},
                    }
                }
            },
            "description": "An event `progress` for each change, its data a `ProgressView`; it ends with the mailing",
        },
        **documented(NotFound, InvalidRequest),
    },
)
async def stream_progress(deps: Deps, mailing_id: UUID) -> StreamingResponse:
    """Server-sent events. A draft has one."""
    await deps.mailings.get(mailing_id)
    settings = deps.settings.mailings

    async def look() -> tuple[bytes, bool]:
        progress = await _progress(deps, mailing_id)
        return progress.model_dump_json().encode(), progress.ended_at is None and progress.status != "draft"

    events: AsyncIterator[bytes] = progress_events(
        look, every=settings.stream_seconds, heartbeat=settings.heartbeat_seconds
    )
    return StreamingResponse(events, media_type=_EVENTS, headers={"Cache-Control": "no-store"})


async def _draft(deps: ApiDeps, mailing_id: UUID) -> MailingDraft:
    return MailingDraft.model_validate_json((await deps.mailings.get(mailing_id))["draft"])


async def _view(deps: ApiDeps, mailing_id: UUID) -> MailingView:
    row, parts = await deps.mailings.get(mailing_id), await deps.mailings.parts(mailing_id)
    return MailingView.of(row, progress_of(row, parts, deps.planner))


async def _progress(deps: ApiDeps, mailing_id: UUID) -> ProgressView:
    row, parts = await deps.mailings.get(mailing_id), await deps.mailings.parts(mailing_id)
    return ProgressView.of(row, progress_of(row, parts, deps.planner))


def _stopped(stopped: Stopped) -> StoppedView:
    fields: dict[str, Any] = {name: getattr(stopped, name) for name in StoppedView.model_fields}
    return StoppedView(**fields)
