"""How chats come to recipients: `/v1/recipients/{external_id}/links`, and `/v1/contact-requests`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from service.api.deps import ApiDeps, Deps, Manager, reading
from service.api.paging import NumberPaging, Page, cursor_of
from service.api.problems import WITH_BODY, documented
from service.api.recipients import ExternalId, RecipientView, nobody, view_of
from service.audience import linking
from service.audience.profile import ExternalId as NewExternalId
from service.contract import NotificationRequest, Priority, SenderName
from service.db.database import Connection
from service.db.pages import Row
from service.delivery.intake import Submission
from service.errors import InvalidRequest, NotFound, NoWayToJoin

HOURS_MAX = 8_760.0
TELEGRAM = "TG"
# What every reader of JSON keeps exact.
RequestId = Annotated[int, Path(ge=0, le=2**53 - 1)]

router = APIRouter(tags=["recipients"])


class LinkRequest(BaseModel):
    """What for and how long."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"hours": 24}]})

    sender: SenderName = Field("TG", description="The channel whose chat the person gives: TG or MAX")
    hours: Annotated[float, Field(gt=0, le=HOURS_MAX)] | None = Field(
        None, description="The link expires after so many; null: `BOT_LINK_HOURS`"
    )


class LinkView(BaseModel):
    """A link for that person only; it is a secret. The first chat that follows it is theirs."""

    sender: str
    url: str = Field(description="Opens the bot, which asks the person to press Start")
    expires_at: datetime


class ContactRequestView(BaseModel):
    """Somebody who asks for notifications."""

    id: int
    sender: str
    address: str
    name: str
    locale: str | None
    at: datetime


class Approval(BaseModel):
    """Whose chat it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"external_id": "42"}]})

    external_id: NewExternalId | None = Field(
        None, description="Yours; whoever is not known yet is made. null: one is made up"
    )


@router.post(
    "/recipients/{external_id:external_id}/links",
    status_code=201,
    summary="Make a link by which a recipient joins",
    responses=documented(NotFound, NoWayToJoin, *WITH_BODY),
)
async def make_link(
    deps: Deps, caller: Manager, external_id: ExternalId, body: LinkRequest | None = None
) -> LinkView:
    """Show it to nobody else. Whoever follows it gets this recipient's notifications in that chat, in the place of
    the chat before.
    """
    asked = body or LinkRequest()
    hours = asked.hours or deps.settings.bot.link_hours
    expires_at = (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)
    async with (
        deps.audit.entry(caller, "recipient.link", external_id, sender=asked.sender),
        deps.database.transaction() as connection,
    ):
        link = await linking.make_link(connection, external_id, asked.sender, expires_at)
        if link is None:
            raise nobody(external_id)
        token = deps.links.sign(linking.LINK_PURPOSE, str(link), expires_at)
        url = await _url(deps, connection, asked.sender, token)
    return LinkView(sender=asked.sender, url=url, expires_at=expires_at)


@router.get(
    "/contact-requests",
    summary="List who asks for notifications",
    dependencies=[reading],
    responses=documented(InvalidRequest),
)
async def list_contact_requests(
    deps: Deps, query: Annotated[NumberPaging, Query()]
) -> Page[ContactRequestView]:
    """Those that nothing was decided about, the newest first."""
    async with deps.database.connection() as connection:
        page = await linking.requests(connection, query.before, query.limit)
    return Page(items=[_view(row) for row in page.rows], next=cursor_of(page.next))


@router.post(
    "/contact-requests/{request_id:int}/approve",
    summary="Let somebody in",
    responses=documented(NotFound, *WITH_BODY),
)
async def approve_contact_request(
    deps: Deps, caller: Manager, request_id: RequestId, body: Approval | None = None
) -> RecipientView:
    """The chat becomes a contact of the recipient, and is told so."""
    async with deps.audit.entry(caller, "contact_request.approve", str(request_id)) as done:
        async with deps.database.transaction() as connection:
            guest = await linking.decided(connection, request_id)
            if guest is None:
                raise _no_request(request_id)
            external_id = await linking.welcome(connection, guest, body.external_id if body else None)
        done["recipient"] = external_id
        words = deps.localisation.translator(guest.locale or deps.settings.audience.locale)
        await _tell(deps, guest, words.gettext("You are in: your notifications will come here."))
    return await view_of(deps, external_id)


@router.post(
    "/contact-requests/{request_id:int}/reject",
    status_code=204,
    summary="Let somebody not in",
    responses=documented(NotFound, InvalidRequest),
)
async def reject_contact_request(deps: Deps, caller: Manager, request_id: RequestId) -> None:
    """They are told so, and may ask again."""
    async with deps.audit.entry(caller, "contact_request.reject", str(request_id)):
        async with deps.database.transaction() as connection:
            guest = await linking.decided(connection, request_id)
        if guest is None:
            raise _no_request(request_id)
        words = deps.localisation.translator(guest.locale or deps.settings.audience.locale)
        await _tell(deps, guest, words.gettext("Your request was not approved."))


async def _url(deps: ApiDeps, connection: Connection, name: str, token: str) -> str:
    sender = deps.senders.get(name)
    if sender is None:
        raise NoWayToJoin(f"there is no sender {name}")
    if name == TELEGRAM:
        return f"https://t.me/{await _account(deps, connection)}?start={token}"
    url = sender.start_url(token)
    if url is None:
        raise NoWayToJoin(f"{name} has no bot to come to; accepted: TG, and MAX where MAX_BOT_NAME is set")
    return url


async def _account(deps: ApiDeps, connection: Connection) -> str:
    if off_reason := deps.senders[TELEGRAM].off_reason:
        raise NoWayToJoin(f"{TELEGRAM} is off: {off_reason}")
    account = await linking.account(connection, TELEGRAM)
    if account is None:
        raise NoWayToJoin("no process with the role bot has reached Telegram yet: its name is not known")
    return account


async def _tell(deps: ApiDeps, guest: linking.Guest, text: str) -> None:
    """By the way of every message: it may wait, and it may be refused where the sender is off by now."""
    request = NotificationRequest(body=text, sender=guest.sender, to=guest.address, priority=Priority.HIGH)
    await deps.intake.accept(Submission(request, "http:contact-request"))


def _no_request(request_id: int) -> NotFound:
    return NotFound(f"nobody waits under the id {request_id}")


def _view(row: Row) -> ContactRequestView:
    return ContactRequestView(**dict(row))
