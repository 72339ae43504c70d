"""`/v1/events`: what happened, for triggers."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.api.deps import Deps, Producer
from service.api.problems import WITH_BODY, documented
from service.api.raw import json_body
from service.contract import parse_event
from service.triggers.events import Arrived

router = APIRouter(prefix="/events", tags=["triggers"])


class EventReceipt(BaseModel):
    """The event is taken in. What it made is in each trigger's runs."""

    repeat: bool = Field(description="An event with this `id` was taken in before; this one does nothing")
    fired: int = Field(description="Triggers that fired")
    waiting: int = Field(description="Triggers whose delay began")
    cancelled: int = Field(description="Delays that it ended")


@router.post(
    "",
    status_code=202,
    summary="Say that something happened",
    response_description="Taken in",
    responses={
        200: {"model": EventReceipt, "description": "It was taken in before"},
        **documented(*WITH_BODY),
    },
    openapi_extra=json_body("DomainEvent"),
)
async def accept_event(request: Request, deps: Deps, _caller: Producer, response: Response) -> EventReceipt:
    """Triggers of that event fire, begin to wait, or stop waiting, before the answer comes."""
    event = parse_event(await request.body(), deps.intake.bounds)
    (taken,) = await deps.events.accept_many([Arrived(event)])
    if taken.repeat:
        response.status_code = 200
    return EventReceipt.model_validate(taken, from_attributes=True)
