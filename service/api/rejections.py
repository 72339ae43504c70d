"""`/v1/rejections`: messages that could not become notifications, or events."""

from base64 import b64encode
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from service.api.deps import ApiDeps, Deps, Manager, reading
from service.api.events import EventReceipt
from service.api.paging import Page, UuidPaging, cursor_of
from service.api.problems import WITH_BODY, documented, refusal_of
from service.api.raw import json_body
from service.api.sending import Receipt, error_of, receipt_response
from service.contract import ContractError, FieldProblem, UtcDatetime, parse_event
from service.db.pages import Row
from service.delivery.listing import load_json
from service.delivery.planning import Refusal
from service.errors import (
    InvalidRequest,
    NotAccepted,
    NotFound,
    StillRejected,
)
from service.triggers.events import Arrived, Taken

router = APIRouter(prefix="/rejections", tags=["rejections"])


class RejectionView(BaseModel):
    """A message that could not become a notification, or an event, without its body."""

    id: UUID
    time: datetime
    source: str = Field(
        description="Way in, as rabbit:notifications; rabbit-events:… and kafka-events:… are events"
    )
    reason: str
    problems: list[FieldProblem]
    size: int = Field(description="Size of the raw message, bytes")
    replayed_at: datetime | None = Field(description="When a replay was accepted")
    notification_id: UUID | None = Field(
        description="The notification that the replay made; null for an event"
    )


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
        raise _no_rejection(rejection_id)
    raw: bytes = row["raw"]
    body, encoding = _text(raw)
    return RejectionDetail(**_fields(row), body=body, encoding=encoding, truncated=row["size"] > len(raw))


@router.post(
    "/{rejection_id:uuid}/replay",
    status_code=202,
    response_model=Receipt | EventReceipt,
    summary="Take a rejected message in again",
    response_description="Stored; a notification will be sent",
    responses={
        200: {
            "model": Receipt | EventReceipt,
            "description": "A replay was accepted before: this is its notification, or the event does nothing more",
        },
        **documented(NotFound, StillRejected, NotAccepted, *WITH_BODY),
    },
    openapi_extra=json_body("NotificationRequest", "DomainEvent", required=False),
)
async def replay_rejection(request: Request, deps: Deps, caller: Manager, rejection_id: UUID) -> Response:
    """Without a body the stored message is tried as it is; a body is the corrected message.

    What came as an event is taken in as one.
    """
    corrected = await request.body() or None
    row = await deps.listing.rejection(rejection_id)
    if row is None:
        raise _no_rejection(rejection_id)
    replay = _replay_event if _is_event(row) else _replay_notification
    async with deps.audit.entry(
        caller, "rejection.replay", str(rejection_id), corrected=corrected is not None
    ) as done:
        try:
            return await replay(deps, row, corrected, done)
        except ContractError as error:
            if corrected is None:
                raise StillRejected(str(error), problems=error.problems) from None
            if _is_other_kind(row, corrected):
                raise StillRejected(
                    f"it came from {row['source']}; accepted: a message of that kind"
                ) from None
            raise refusal_of(error) from None


async def _replay_notification(
    deps: ApiDeps, row: Row, corrected: bytes | None, done: dict[str, Any]
) -> Response:
    answer = await deps.operations.replay(row["id"], corrected)
    if answer is None:
        raise _no_rejection(row["id"])
    if isinstance(answer, Refusal):
        raise error_of(answer)
    done["notification"] = str(answer.id)
    return receipt_response(answer)


async def _replay_event(deps: ApiDeps, row: Row, corrected: bytes | None, done: dict[str, Any]) -> Response:
    event = parse_event(row["raw"] if corrected is None else corrected, deps.intake.bounds)
    taken = Taken(repeat=True)
    if row["replayed_at"] is None:
        (taken,) = await deps.events.accept_many([Arrived(event, f"replay:{row['id']}")])
        await deps.operations.replayed(row["id"])
    done["event"] = event.event
    receipt = EventReceipt.model_validate(taken, from_attributes=True)
    return Response(receipt.model_dump_json(), 200 if taken.repeat else 202, media_type="application/json")


def _is_event(row: Row) -> bool:
    return bool(row["source"].partition(":")[0].endswith("-events"))


def _is_other_kind(row: Row, body: bytes) -> bool:
    """Whether it looks like a notification in the place of an event, or the reverse."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(fields, dict):
        return False
    is_event, is_notification = "event" in fields, "body" in fields or "template" in fields
    return is_notification and not is_event if _is_event(row) else is_event and not is_notification


def _no_rejection(rejection_id: UUID) -> NotFound:
    return NotFound(f"no rejected message has the id {rejection_id}")


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
