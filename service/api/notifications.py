"""`/v1/notifications`: look up, stop, try again, ask what would happen. Sending is in `sending.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from service.api.deps import ApiDeps, Deps, Manager, Producer, reading
from service.api.paging import Page, UuidPaging, cursor_of
from service.api.problems import WITH_BODY, documented, refusal_of
from service.api.raw import json_body
from service.api.sending import error_of
from service.api.views import DeliveryView, Hop, Status
from service.contract import (
    Attachment,
    Button,
    ContractError,
    NotificationRequest,
    Priority,
    UtcDatetime,
    parse_request,
)
from service.contract.fields import Category, RequestId
from service.db.pages import Row
from service.delivery.intake import Refusal
from service.delivery.jobs import content_of
from service.delivery.listing import NotificationFilter, load_json
from service.delivery.planning import Plan
from service.delivery.rows import route_rows
from service.errors import (
    InvalidRequest,
    NotAccepted,
    NotFound,
    NotRendered,
)
from service.senders.base import Message, NotSent
from service.senders.shown_address import shown_address

_NOBODY = UUID(int=0)

router = APIRouter(prefix="/notifications", tags=["notifications"])


class Preview(BaseModel):
    """What a link of the chain would send, a text for each call of the provider."""

    sender: str
    address: str
    state: Literal["works", "paused", "halted"]
    texts: list[str]


class Explanation(BaseModel):
    """What would happen to a notification. Nothing was sent or stored."""

    route: list[Hop] = Field(
        description="The chain: the next sender is used when one fails for good, at each device where it has several"
    )
    priority: Priority
    send_at: datetime | None = Field(description="null: at once; quiet hours put it off")
    suppressed: str | None = Field(description="Why its recipient would not get it")
    locale: str | None = Field(description="The reader's language, where it is known")
    expires_at: datetime | None
    rendered: list[Preview]


class NotificationView(BaseModel):
    """An accepted notification."""

    id: UUID
    request_id: str | None = Field(description="The producer's own `id`")
    status: Status | None = Field(description="Of the link of the chain that was reached last")
    source: str = Field(description="The way in: http, rabbit:QUEUE, kafka:TOPIC/PARTITION/OFFSET")
    title: str
    body: str = Field(description="Empty where a template brings the words")
    format: Literal["plain", "markdown", "html"]
    template: str | None
    params: dict[str, Any]
    locale: str | None = Field(description="As it was asked for")
    recipient: str | None = Field(description="The person it is for")
    topic: str | None = Field(description="The topic whose subscribers get it")
    escalate_after: float | None
    buttons: list[Button]
    attachments: list[Attachment]
    priority: Priority
    category: str | None
    on_unknown: Literal["resend", "hold"]
    metadata: dict[str, Any]
    route: list[Hop]
    created_at: datetime


class NotificationDetail(NotificationView):
    """A notification and its deliveries, in the order of its chain."""

    deliveries: list[DeliveryView] = Field(
        description="The first 1,000; the list of deliveries has them all, by `notification`"
    )


class CancelReport(BaseModel):
    """Deliveries by what cancelling met."""

    cancelled: int
    sending: int = Field(description="Being sent at this moment, and not stopped")
    finished: int = Field(description="Had ended before")


class RetryReport(BaseModel):
    """What was put back into the queue."""

    requeued: int


class NotificationQuery(UuidPaging):
    """Filters of the list; `since` and `until` are about acceptance."""

    request_id: RequestId | None = Field(None, description="The producer's own `id`")
    category: Category | None = None
    since: UtcDatetime | None = Field(None, description="Accepted at this time or later")
    until: UtcDatetime | None = Field(None, description="Accepted before this time")


@router.post(
    "/explain",
    summary="Ask what would happen to a notification",
    responses=documented(NotAccepted, NotRendered, *WITH_BODY),
    openapi_extra=json_body("NotificationRequest"),
)
async def explain_notification(request: Request, deps: Deps, _caller: Producer) -> Explanation:
    """The plan and the rendered text. Nothing is sent or stored, so an `id` is not compared with others."""
    try:
        notification = parse_request(await request.body(), deps.intake.bounds)
    except ContractError as error:
        raise refusal_of(error) from None
    planned = await deps.intake.plan(notification)
    if isinstance(planned, Refusal):
        raise error_of(planned)
    return Explanation(
        route=_route(route_rows(planned)),
        priority=notification.priority,
        send_at=planned.send_at or notification.send_at,
        suppressed=None if planned.suppressed is None else planned.suppressed.code,
        locale=None if planned.reader is None else planned.reader.locale,
        expires_at=notification.expires_at,
        rendered=await previews_of(deps, notification, planned),
    )


@router.get("", summary="List notifications", dependencies=[reading], responses=documented(InvalidRequest))
async def list_notifications(
    deps: Deps, query: Annotated[NotificationQuery, Query()]
) -> Page[NotificationView]:
    """The newest first."""
    chosen = NotificationFilter(query.request_id, query.category, query.since, query.until)
    page = await deps.listing.notifications(chosen, query.before, query.limit)
    return Page(items=[_view(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/{notification_id:uuid}",
    summary="One notification with its deliveries",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_notification(deps: Deps, notification_id: UUID) -> NotificationDetail:
    """Its deliveries are in the order of its chain."""
    found = await deps.listing.notification(notification_id)
    if found is None:
        raise NotFound(f"no notification has the id {notification_id}")
    row, deliveries = found
    return NotificationDetail(
        **_fields(row), deliveries=[DeliveryView.of(delivery) for delivery in deliveries]
    )


@router.post(
    "/{notification_id:uuid}/cancel",
    summary="Stop what is not being sent yet",
    responses=documented(NotFound, InvalidRequest),
)
async def cancel_notification(deps: Deps, caller: Producer, notification_id: UUID) -> CancelReport:
    """What waits, or is held as unknown, is cancelled; what is being sent at this moment is not."""
    async with deps.audit.entry(caller, "notification.cancel", str(notification_id)) as done:
        report = await deps.operations.cancel(notification_id)
        if report is None:
            raise NotFound(f"no notification has the id {notification_id}")
        done["cancelled"] = report.cancelled
    return CancelReport(cancelled=report.cancelled, sending=report.sending, finished=report.finished)


@router.post(
    "/{notification_id:uuid}/retry",
    summary="Try again what failed or is unknown",
    responses=documented(NotFound, InvalidRequest),
)
async def retry_notification(deps: Deps, caller: Manager, notification_id: UUID) -> RetryReport:
    """Attempts begin anew, from the link of the chain that was reached last."""
    async with deps.audit.entry(caller, "notification.retry", str(notification_id)) as done:
        requeued = await deps.operations.retry(notification_id)
        if requeued is None:
            raise NotFound(f"no notification has the id {notification_id}")
        done["requeued"] = requeued
    return RetryReport(requeued=requeued)


async def previews_of(deps: ApiDeps, notification: NotificationRequest, planned: Plan) -> list[Preview]:
    content = content_of(notification, planned.template_version)
    states = await deps.operations.sender_states()
    previews = []
    hops = [] if planned.suppressed else [device for hop in planned.route for device in hop.devices]
    for hop in hops:
        plain = Message(
            _NOBODY,
            0,
            hop.address,
            content.title,
            content.body,
            content.format,
            content.buttons,
            content.attachments,
        )
        sender = deps.senders[hop.sender]
        message: Message | NotSent = plain
        if planned.reader is not None:
            escalates = notification.escalate_after is not None
            message = await deps.wording.compose(plain, content, planned.reader, sender, escalates=escalates)
        if isinstance(message, NotSent):
            raise NotRendered(message.reason)
        state = states.get(hop.sender)
        previews.append(
            Preview(
                sender=hop.sender,
                address=shown_address(hop.sender, hop.address),
                state="works" if state is None else state.state,
                texts=list(await sender.preview(message)),
            )
        )
    return previews


def _view(row: Row) -> NotificationView:
    return NotificationView(**_fields(row))


def _fields(row: Row) -> dict[str, Any]:
    content = load_json(row["content"])
    return {
        "id": row["id"],
        "request_id": row["request_id"],
        "status": row["status"],
        "source": row["source"],
        "title": content.get("title", ""),
        "body": content.get("body", ""),
        **{
            name: content.get(name) for name in ("template", "locale", "recipient", "topic", "escalate_after")
        },
        "params": content.get("params", {}),
        "format": content.get("format", "plain"),
        "buttons": content.get("buttons", []),
        "attachments": content.get("attachments", []),
        "priority": content.get("priority", Priority.NORMAL),
        "category": row["category"],
        "on_unknown": content.get("on_unknown", "resend"),
        "metadata": content.get("metadata", {}),
        "route": _route(load_json(row["route"])),
        "created_at": row["created_at"],
    }


def _route(stored: Sequence[Any]) -> list[Hop]:
    hops = [hop for link in stored for hop in (link if isinstance(link[0], list) else [link])]
    return [
        Hop(sender=sender, address=shown_address(sender, address), spacing_seconds=spacing)
        for sender, address, spacing, *_ in hops
    ]
