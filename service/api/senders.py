"""`/v1/senders`: what each channel can do and whether it works; test, pause, resume."""

import asyncio
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.api.deps import ApiDeps, Deps, Manager, reading
from service.api.paging import Page
from service.api.problems import WITH_BODY, documented
from service.api.sending import Receipt, error_of, receipt_response
from service.contract import Address, NotificationRequest, Priority
from service.contract.fields import LINE
from service.delivery.intake import Submission
from service.delivery.listing import QueueState
from service.delivery.planning import Refusal
from service.delivery.states import SenderStatus
from service.errors import InvalidRequest, NotAccepted, NotFound
from service.health import PartHealth
from service.senders.base import BaseSender

Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=LINE)]

router = APIRouter(prefix="/senders", tags=["senders"])


class CapabilitiesView(BaseModel):
    """What the channel can do."""

    formats: list[str]
    max_length: int | None = Field(description="Longest text of one call, in `length_unit`; null: no limit")
    length_unit: str
    splits: bool = Field(description="A longer text is sent in parts")
    buttons: bool
    attachments: list[str]
    ordered: bool = Field(description="Messages to one address arrive in the order of acceptance")
    deduplicates: bool = Field(description="The provider itself drops a repeat")
    devices: bool = Field(description="An address is one of a person's devices, registered by an app")
    shared_addresses: bool = Field(description="All accounts use the contacts of the plain name")


class LimitsView(BaseModel):
    """What the provider allows the account; null: no limit."""

    rate: float | None = Field(description="Messages a second")
    concurrency: int | None = Field(description="Calls under way at once; null: as the service's default")


class QueueView(BaseModel):
    """What waits, counted up to 100,000."""

    waiting: int
    sending: int
    oldest_due_at: datetime | None


class PacingView(BaseModel):
    """When the account may call its provider again; one budget for all processes."""

    next_at: datetime | None = Field(description="null: at once")


class HealthView(BaseModel):
    """How this process finds it; the same as in `/health/ready`."""

    status: Literal["ok", "degraded", "down"]
    detail: str


class SenderView(BaseModel):
    """One account of a channel."""

    name: str = Field(description="As `TG`, or `TG:alerts`")
    channel: str = Field(description="The plain name, which is the default account: `TG`")
    account: str | None = Field(description="As `alerts`; null: the default account")
    state: Literal["works", "paused", "halted", "off"] = Field(
        description="off: it lacks a setting; paused: by a person; halted: its provider refuses the account"
    )
    reason: str | None = Field(description="Why it does not work")
    since: datetime | None
    default_address: str | None = Field(
        description="Where messages without `to` go; null: nowhere, or the channel's addresses are secrets"
    )
    capabilities: CapabilitiesView
    limits: LimitsView
    queue: QueueView
    pacing: PacingView
    health: HealthView | None = Field(description="null: it is off")


class TestSend(BaseModel):
    """Where to send the test; without `to` it goes to the default address."""

    model_config = ConfigDict(extra="forbid")

    to: Address | None = None


class Pause(BaseModel):
    """Why; people will read it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "provider maintenance"}]}
    )

    reason: Reason


@router.get("", summary="List senders", dependencies=[reading], responses=documented(InvalidRequest))
async def list_senders(deps: Deps) -> Page[SenderView]:
    """Every channel and each of its accounts, those that are off too."""
    return Page(items=await _views(deps, list(deps.senders)), next=None)


@router.post(
    "/{name}/test",
    status_code=202,
    response_model=Receipt,
    summary="Send a test message",
    response_description="Stored; look its outcome up under `Location`",
    responses=documented(NotAccepted, NotFound, *WITH_BODY),
)
async def send_test(deps: Deps, caller: Manager, name: str, body: TestSend | None = None) -> Response:
    """It takes the way of every message, ahead of others, and expires with them."""
    _find(deps, name)
    request = NotificationRequest(
        title="Test",
        body="A test message: this sender works.",
        sender=name,
        to=body.to if body else None,
        priority=Priority.HIGH,
    )
    async with deps.audit.entry(caller, "sender.test", name) as done:
        answer = await deps.intake.accept(Submission(request, "http:test"))
        if isinstance(answer, Refusal):
            raise error_of(answer)
        done["notification"] = str(answer.id)
    return receipt_response(answer)


@router.post(
    "/{name}/pause", summary="Stop a sender; its messages wait", responses=documented(NotFound, *WITH_BODY)
)
async def pause_sender(deps: Deps, caller: Manager, name: str, body: Pause) -> SenderView:
    """In every process, until it is resumed. What is being sent at this moment is finished."""
    _find(deps, name)
    async with deps.audit.entry(caller, "sender.pause", name, reason=body.reason):
        await deps.operations.pause(name, body.reason)
    return (await _views(deps, [name]))[0]


@router.post(
    "/{name}/resume", summary="Let a sender work again", responses=documented(NotFound, InvalidRequest)
)
async def resume_sender(deps: Deps, caller: Manager, name: str) -> SenderView:
    """Ends a pause, and a halt after its cause was mended."""
    _find(deps, name)
    async with deps.audit.entry(caller, "sender.resume", name):
        await deps.operations.resume(name)
    return (await _views(deps, [name]))[0]


def _find(deps: ApiDeps, name: str) -> BaseSender:
    try:
        return deps.senders[name]
    except KeyError:
        raise NotFound(f"{name[:100]!r} is not a sender; accepted: {', '.join(deps.senders)}") from None


async def _views(deps: ApiDeps, names: list[str]) -> list[SenderView]:
    states = await deps.operations.sender_states()
    queues = await deps.listing.queues(names)
    found = await asyncio.gather(*(deps.health.part(f"sender {name}") for name in names))
    health = dict(zip(names, found, strict=True))
    return [_view(deps.senders[name], states.get(name), queues[name], health[name]) for name in names]


def _view(
    sender: BaseSender, status: SenderStatus | None, queue: QueueState, health: PartHealth | None
) -> SenderView:
    can, limits = sender.capabilities, sender.limits
    state, reason, since = _state(sender, status)
    channel, _, account = sender.name.partition(":")
    return SenderView(
        name=sender.name,
        channel=channel,
        account=account or None,
        state=state,
        reason=reason,
        since=since,
        default_address=None if can.secret_addresses else sender.default_address,
        capabilities=CapabilitiesView(
            formats=sorted(can.formats),
            max_length=can.max_length,
            length_unit=can.length_unit,
            splits=can.splits,
            buttons=can.buttons,
            attachments=sorted(can.attachments),
            ordered=can.ordered,
            deduplicates=can.deduplicates,
            devices=can.devices,
            shared_addresses=can.shared_addresses,
        ),
        limits=LimitsView(rate=limits.rate, concurrency=limits.concurrency),
        queue=QueueView(waiting=queue.waiting, sending=queue.sending, oldest_due_at=queue.oldest_due_at),
        pacing=PacingView(next_at=queue.next_at),
        health=None if health is None else HealthView(status=health.status, detail=health.detail),
    )


def _state(
    sender: BaseSender, status: SenderStatus | None
) -> tuple[Literal["works", "paused", "halted", "off"], str | None, datetime | None]:
    if sender.off_reason is not None:
        return "off", sender.off_reason, None
    if status is None:
        return "works", None, None
    return status.state, status.reason, status.since
