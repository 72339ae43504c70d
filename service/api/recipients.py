"""`/v1/recipients`: people, by the external id that producers know them by."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from service.api.deps import Deps, Manager, reading
from service.api.paging import NumberPaging, Page, cursor_of
from service.api.problems import WITH_BODY, documented
from service.api.ticket_views import TicketView, ticket_fields
from service.api.views import DeliveryView
from service.audience.people import QuietHours
from service.audience.profile import (
    RESERVED_ID,
    CheckAddress,
    ContactAddress,
    Locale,
    Preferences,
    Profile,
    with_checked_addresses,
)
from service.audience.recipients import RecipientFilter
from service.contract import ContractError, SenderName
from service.contract.fields import RecipientId, TopicName
from service.db.pages import Row
from service.delivery.listing import load_json
from service.errors import InvalidContact, InvalidRequest, NotFound
from service.senders.base import BaseSender
from service.support.listing import TicketFilter

EXPORTED = 1_000


class _ExternalIdConvertor(StringConvertor):
    """Any text but the name of the call beside."""

    regex = f"(?!{RESERVED_ID}$)[^/]+"


register_url_convertor("external_id", _ExternalIdConvertor())
ExternalId = Annotated[RecipientId, Path(description="Yours")]

router = APIRouter(prefix="/recipients", tags=["recipients"])


class DeviceInfo(BaseModel):
    """What an app said of the device that it registered."""

    platform: str | None
    app: str | None
    name: str | None
    seen_at: datetime = Field(description="When the app was last heard of")


class ContactView(BaseModel):
    """A person's address for one sender."""

    id: int
    sender: str
    address: str
    active: bool
    inactive_reason: str | None = Field(description="Why nothing is sent there")
    inactive_at: datetime | None
    device: DeviceInfo | None = Field(description="Where an app registered it")


class MuteView(BaseModel):
    """A category, a sender, or a category at a sender that the person does not want."""

    category: str | None
    sender: str | None


class RecipientView(BaseModel):
    """A person. What is null is left to the settings."""

    external_id: str
    name: str | None
    locale: str | None
    time_zone: str | None
    attributes: dict[str, Any]
    contacts: list[ContactView] = Field(description="In the order of preference")
    muted: bool = Field(description="Everything but critical categories")
    mutes: list[MuteView]
    quiet_hours: str | None = Field(description="As 22:00-08:00")
    topics: list[str] = Field(description="What the person is subscribed to")
    created_at: datetime
    updated_at: datetime


class ErasureReport(BaseModel):
    """What was removed besides the person."""

    contacts: int
    mutes: int
    subscriptions: int
    deliveries: int = Field(
        description="Messages to the person, and their contents where nobody else had them"
    )
    tickets: int = Field(description="Conversations with the support desk")
    events: int = Field(description="Events about the person that triggers were still waiting with")


class SubscriptionView(BaseModel):
    """A topic that the person is subscribed to."""

    topic: str
    at: datetime = Field(description="Since then")


class ExportedDelivery(DeliveryView):
    """A message to the person, and what it said."""

    content: dict[str, Any] = Field(description="Text or template with params, as the producer gave it")


class ExportedTicket(TicketView):
    """A ticket with what was said."""

    transcript: str


class WaitingEvent(BaseModel):
    """An event about the person whose delay runs."""

    trigger: str = Field(description="The trigger's name")
    occurrence: datetime = Field(description="When the event came")
    due_at: datetime
    event: dict[str, Any]


class RecipientExport(BaseModel):
    """Everything that is stored about a person."""

    recipient: RecipientView
    subscriptions: list[SubscriptionView]
    deliveries: list[ExportedDelivery] = Field(description="Messages to the person, the newest 10,000")
    tickets: list[ExportedTicket] = Field(description="Conversations with the support desk, the newest 1,000")
    events: list[WaitingEvent] = Field(description="Events that triggers wait with, the oldest 1,000")


class RecipientQuery(NumberPaging):
    """Filters of the list."""

    locale: Locale | None = None
    sender: SenderName | None = Field(None, description="Has a contact for this sender")
    address: ContactAddress | None = Field(None, description="Has a contact with this address")
    topic: TopicName | None = Field(None, description="Is subscribed to it")


@router.put(
    "/{external_id:external_id}",
    summary="Make or change a recipient",
    response_description="Changed, where anything differs",
    responses={
        201: {"model": RecipientView, "description": "Made"},
        **documented(InvalidContact, *WITH_BODY),
    },
)
async def put_recipient(
    deps: Deps, caller: Manager, external_id: ExternalId, body: Profile, response: Response
) -> RecipientView:
    """What is left out stays as it is, so that a repeated synchronisation takes back no choice of the person.

    A contact that stays keeps its id and, unless `active` is given, its state.
    """
    profile = checked(body, deps.senders)
    said = sorted(profile.model_fields_set)
    async with deps.audit.entry(caller, "recipient.put", external_id, fields=said) as done:
        stored = await deps.recipients.upsert({external_id: profile})
        done["created"] = bool(stored.created)
    response.status_code = 201 if stored.created else 200
    return await view_of(deps, external_id)


@router.get("", summary="List recipients", dependencies=[reading], responses=documented(InvalidRequest))
async def list_recipients(deps: Deps, query: Annotated[RecipientQuery, Query()]) -> Page[RecipientView]:
    """The newest first."""
    chosen = RecipientFilter(query.locale, query.sender, query.address, query.topic)
    page = await deps.recipients.page(chosen, query.before, query.limit)
    return Page(items=[_view(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/{external_id:external_id}",
    summary="One recipient",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_recipient(deps: Deps, external_id: ExternalId) -> RecipientView:
    """With contacts, preferences and topics."""
    return await view_of(deps, external_id)


@router.get(
    "/{external_id:external_id}/export",
    summary="Everything that is stored about a recipient",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def export_recipient(deps: Deps, external_id: ExternalId) -> RecipientExport:
    """For a person who asks what is known of them."""
    person = await deps.recipients.get(external_id)
    if person is None:
        raise nobody(external_id)
    rows = await deps.recipients.subscriptions(external_id)
    subscriptions = [SubscriptionView(topic=row["name"], at=row["at"]) for row in rows]
    deliveries = [
        ExportedDelivery.model_validate(
            {**DeliveryView.of(row).model_dump(), "content": load_json(row["content"])}
        )
        for row in await deps.listing.deliveries_to(person["id"])
    ]
    return RecipientExport(
        recipient=_view(person),
        subscriptions=subscriptions,
        deliveries=deliveries,
        tickets=[
            ExportedTicket(**ticket_fields(row), transcript=await deps.tickets.transcript(row["id"]) or "")
            for row in (await deps.tickets.page(TicketFilter(recipient=external_id), None, EXPORTED)).rows
        ],
        events=[
            WaitingEvent.model_validate({**dict(row), "event": load_json(row["event"])})
            for row in await deps.triggers.waiting_for(external_id, EXPORTED)
        ],
    )


@router.delete(
    "/{external_id:external_id}",
    summary="Erase a recipient",
    response_description="Nothing is known of the person any more",
    responses=documented(NotFound, InvalidRequest),
)
async def erase_recipient(deps: Deps, caller: Manager, external_id: ExternalId) -> ErasureReport:
    """The person, their contacts, preferences, subscriptions and messages, for good."""
    async with deps.audit.entry(caller, "recipient.erase", external_id):
        person = await deps.recipients.get(external_id)
        if person is None:
            raise nobody(external_id)
        # Before, so that a call that was cut off can be repeated; after, for what was planned meanwhile.
        events = await deps.triggers.forget(external_id)
        deliveries = await deps.operations.forget(person["id"])
        tickets = await deps.tickets.count_of(external_id)
        erased = await deps.recipients.erase(external_id)
        if erased is None:
            raise nobody(external_id)
        deliveries += await deps.operations.forget(person["id"])
        events += await deps.triggers.forget(external_id)
    return ErasureReport(
        contacts=erased.contacts,
        mutes=erased.mutes,
        subscriptions=erased.subscriptions,
        deliveries=deliveries,
        tickets=tickets,
        events=events,
    )


@router.put(
    "/{external_id:external_id}/preferences",
    summary="Replace a recipient's preferences",
    responses=documented(NotFound, *WITH_BODY),
)
async def put_preferences(
    deps: Deps, caller: Manager, external_id: ExternalId, body: Preferences
) -> RecipientView:
    """All of them: what is left out is not muted, and quiet hours are those of the settings."""
    async with deps.audit.entry(caller, "recipient.preferences", external_id):
        if not await deps.recipients.set_preferences(external_id, body):
            raise nobody(external_id)
        if person := await deps.recipients.get(external_id):
            await deps.operations.respect(person["id"])
    return await view_of(deps, external_id)


def checked(profile: Profile, senders: Mapping[str, BaseSender]) -> Profile:
    """The profile with addresses as their senders write them. Raises `InvalidContact`."""
    try:
        return with_checked_addresses(profile, address_check(senders))
    except ContractError as error:
        raise InvalidContact(error.problems) from None


def address_check(senders: Mapping[str, BaseSender]) -> CheckAddress:
    """Judges contacts by the senders there are."""

    def check(sender: str, address: str) -> str:
        if sender not in senders:
            raise ValueError(f"{sender!r} is not a sender; accepted: {', '.join(senders)}")
        if (shared := senders[sender].contacts_name) != sender:
            raise ValueError(f"{sender} uses the contacts of {shared}; accepted: {shared}")
        return senders[sender].check_address(address)

    return check


async def view_of(deps: Deps, external_id: str) -> RecipientView:
    """What is known of a person now. Raises `NotFound`."""
    row = await deps.recipients.get(external_id)
    if row is None:
        raise nobody(external_id)
    return _view(row)


def nobody(external_id: str) -> NotFound:
    return NotFound(f"no recipient has the id {external_id!r}")


def _view(row: Row) -> RecipientView:
    quiet = None if row["quiet_from"] is None else QuietHours(row["quiet_from"], row["quiet_until"])
    return RecipientView(
        external_id=row["external_id"],
        name=row["name"],
        locale=row["locale"],
        time_zone=row["zone"],
        attributes=load_json(row["attributes"]),
        contacts=load_json(row["contacts"]),
        muted=row["muted"],
        mutes=load_json(row["mutes"]),
        quiet_hours=None if quiet is None else str(quiet),
        topics=row["topics"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
