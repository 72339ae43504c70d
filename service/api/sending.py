"""`POST /v1/notifications`, alone and in batches: the hot path of HTTP."""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import Response

from service.access.principal import Scope
from service.api.deps import caller_of, deps_of
from service.api.problems import WITH_BODY, Problem, documented, refusal_of
from service.api.raw import json_body
from service.contract import ContractError, NotificationRequest, parse_batch, parse_request
from service.delivery.intake import Accepted, Refusal, Submission
from service.errors import DomainError, InvalidRequest, NotAccepted

SOURCE = "http"
_NO_RECEIPT = {"id": None, "request_id": None, "duplicate": False, "suppressed": None}


class _PlainRoute(APIRoute):
    """Hands the request to its function as it is: what FastAPI does for parameters costs more than the work."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


router = APIRouter(prefix="/notifications", tags=["notifications"], route_class=_PlainRoute)


class Receipt(BaseModel):
    """The notification is stored."""

    id: UUID
    request_id: str | None = Field(description="The producer's own `id`")
    duplicate: bool = Field(description="It was stored before; `id` is the first one's")
    suppressed: str | None = Field(description="Why its recipient will not get it, as muted")


class BatchResult(BaseModel):
    """What became of one item: a receipt, or an error."""

    accepted: bool
    id: UUID | None = None
    request_id: str | None = None
    duplicate: bool = False
    suppressed: str | None = None
    error: Problem | None = None


class BatchResults(BaseModel):
    """A result for each item, in their order."""

    items: list[BatchResult]


@router.post(
    "",
    status_code=202,
    response_model=Receipt,
    summary="Send a notification",
    response_description="Stored; it will be sent",
    responses={
        200: {"model": Receipt, "description": "It was stored before: this is the first answer again"},
        **documented(NotAccepted, *WITH_BODY),
    },
    openapi_extra=json_body("NotificationRequest"),
)
async def send_notification(request: Request) -> Response:
    """The message is stored when this answers, and sent as soon as its sender's limits allow.

    With an `id` the call may be repeated: the same `id` and content is answered 200 with the first result.
    """
    caller_of(request.scope, Scope.SEND)
    intake = deps_of(request).intake
    try:
        notification = parse_request(await request.body(), intake.bounds)
    except ContractError as error:
        raise refusal_of(error) from None
    answer = await intake.accept(Submission(notification, SOURCE))
    if isinstance(answer, Refusal):
        raise error_of(answer)
    return receipt_response(answer)


@router.post(
    "/batch",
    response_model=BatchResults,
    summary="Send many notifications",
    response_description="A result for each item, in their order",
    responses=documented(*WITH_BODY),
    openapi_extra=json_body("NotificationBatch"),
)
async def send_batch(request: Request) -> Response:
    """Items are judged one by one: a bad one does not spoil the others."""
    caller_of(request.scope, Scope.SEND)
    deps = deps_of(request)
    most = deps.settings.limits.batch_items
    try:
        items = parse_batch(await request.body(), deps.intake.bounds, most=most)
    except ContractError as error:
        raise InvalidRequest(error.problems) from None
    submissions = [Submission(item, SOURCE) for item in items if isinstance(item, NotificationRequest)]
    answers = iter(await deps.intake.accept_many(submissions))
    results = [_result(item if isinstance(item, ContractError) else next(answers)) for item in items]
    return Response(orjson.dumps({"items": results}), media_type="application/json")


def error_of(refusal: Refusal) -> DomainError:
    """A refusal as an answer: a sender nobody knows is a wrong request, the rest depends on this service."""
    if refusal.code == "unknown_sender":
        return InvalidRequest(refusal.problems)
    return NotAccepted(refusal.code, refusal.problems)


def receipt_response(accepted: Accepted) -> Response:
    """202 for what is new, 200 for a repeat."""
    body = orjson.dumps(_receipt(accepted))
    if accepted.duplicate:
        return Response(body, 200, media_type="application/json")
    headers = {"Location": f"/v1/notifications/{accepted.id}"}
    return Response(body, 202, headers=headers, media_type="application/json")


def _receipt(accepted: Accepted) -> dict[str, Any]:
    # As text: the driver's own UUID class is unknown to orjson.
    return {
        "id": str(accepted.id),
        "request_id": accepted.request_id,
        "duplicate": accepted.duplicate,
        "suppressed": accepted.suppressed,
    }


def _result(answer: Accepted | Refusal | ContractError) -> dict[str, Any]:
    if isinstance(answer, Accepted):
        return {"accepted": True, **_receipt(answer), "error": None}
    error = refusal_of(answer) if isinstance(answer, ContractError) else error_of(answer)
    return {"accepted": False, "error": error.document(), **_NO_RECEIPT}
