"""`/v1/rejections`: messages that could not become notifications."""

from base64 import b64encode
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.api.deps import ApiDeps, Deps, Manager, reading
from service.api.notifications import Receipt, error_of, receipt_response
from service.api.paging import Page, UuidPaging, cursor_of
from service.api.problems import WITH_BODY, documented, refusal_of
from service.api.raw import json_body
from service.contract import ContractError, FieldProblem, UtcDatetime
from service.db.pages import Row
from service.delivery.listing import load_json
from service.delivery.planning import Refusal
from service.errors import (
    InvalidRequest,
    NotAccepted,
    NotFound,
    StillRejected,
)

router = APIRouter(prefix="/rejections", tags=["rejections"])


class RejectionView(BaseModel):
    """A message that could not become a notification, without its body."""

    id: UUID
    time: datetime
    source: str = Field(description="Way in, as rabbit:notifications")
    reason: str
    problems: list[FieldProblem]
    size: int = Field(description="Size of the raw message, bytes")
    replayed_at: datetime | None = Field(description="When a replay was accepted")
    notification_id: UUID | None = Field(description="The notification that the replay made")


class RejectionDetail(RejectionView):
    """A rejected message with its body as it came."""

    body: str
    encoding: Literal["utf-8", "base64"] = Field(
        description="How `body` is written: base64 when it is no UTF-8"
    )
    truncated: bool = Field(
        description="Only the beginning was kept: it was larger than LIMIT_REJECTED_BODY_BYTES"
    )


class RejectionQuery(UuidPaging):
    """Filters of the list."""

    since: UtcDatetime | None = Field(None, description="Rejected at this time or later")
    until: UtcDatetime | None = Field(None, description="Rejected before this time")


@router.get(
    "", summary="List rejected messages", dependencies=[reading], responses=documented(InvalidRequest)
)
async def list_rejections(deps: Deps, query: Annotated[RejectionQuery, Query()]) -> Page[RejectionView]:
    """The newest first."""
    page = await deps.listing.rejections(query.since, query.until, query.before, query.limit)
    return Page(items=[RejectionView(**_fields(row)) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/{rejection_id:uuid}",
    summary="One rejected message with its body",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_rejection(deps: Deps, rejection_id: UUID) -> RejectionDetail:
    """The body is whole unless `truncated` says otherwise."""
    row = await deps.listing.rejection(rejection_id)
    if row is None:
        raise NotFound(f"no rejected message has the id {rejection_id}")
    raw: bytes = row["raw"]
    body, encoding = _text(raw)
    return RejectionDetail(**_fields(row), body=body, encoding=encoding, truncated=row["size"] > len(raw))


@router.post(
    "/{rejection_id:uuid}/replay",
    status_code=202,
    response_model=Receipt,
    summary="Take a rejected message in again",
    response_description="Stored; it will be sent",
    responses={
        200: {"model": Receipt, "description": "A replay was accepted before: this is its notification"},
        **documented(NotFound, StillRejected, NotAccepted, *WITH_BODY),
    },
    openapi_extra=json_body("NotificationRequest", required=False),
)
async def replay_rejection(request: Request, deps: Deps, caller: Manager, rejection_id: UUID) -> Response:
    """Without a body the stored message is tried as it is; a body is the corrected message."""
    corrected = await request.body() or None
    async with deps.audit.entry(
        caller, "rejection.replay", str(rejection_id), corrected=corrected is not None
    ) as done:
        try:
            answer = await deps.operations.replay(rejection_id, corrected)
        except ContractError as error:
            if await _is_event(deps, rejection_id):
                raise StillRejected("it came as an event; send it, corrected, to POST /v1/events") from None
            if corrected is None:
                raise StillRejected(str(error), problems=error.problems) from None
            raise refusal_of(error) from None
        if answer is None:
            raise NotFound(f"no rejected message has the id {rejection_id}")
        if isinstance(answer, Refusal):
            raise error_of(answer)
        done["notification"] = str(answer.id)
    return receipt_response(answer)


async def _is_event(deps: ApiDeps, rejection_id: UUID) -> bool:
    row = await deps.listing.rejection(rejection_id)
    return row is not None and row["source"].partition(":")[0].endswith("-events")


def _text(raw: bytes) -> tuple[str, Literal["utf-8", "base64"]]:
    try:
        return raw.decode(), "utf-8"
    except UnicodeDecodeError:
        return b64encode(raw).decode(), "base64"


def _fields(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "time": row["at"],
        "source": row["source"],
        "reason": row["reason"],
        "problems": load_json(row["problems"]),
        "size": row["size"],
        "replayed_at": row["replayed_at"],
        "notification_id": row["notification_id"],
    }
