"""`/v1/recipients/{external_id}/contacts`: one address of a person at a time."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from service.api.deps import Deps, Manager
from service.api.problems import WITH_BODY, documented
from service.api.recipients import ExternalId, RecipientView, checked, nobody, view_of
from service.audience.profile import ContactAddress, ContactInput, Profile
from service.contract import SenderName
from service.contract.fields import LINE
from service.errors import InvalidContact, InvalidRequest, NotFound

# What every reader of JSON keeps exact.
ContactId = Annotated[int, Path(ge=0, le=2**53 - 1)]

router = APIRouter(prefix="/recipients/{external_id:external_id}/contacts", tags=["recipients"])


class ContactRequest(BaseModel):
    """An address to add."""

    model_config = ConfigDict(extra="forbid")

    sender: SenderName = Field(description="As `TG`")
    address: ContactAddress


class Deactivation(BaseModel):
    """Why; people will read it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "moved away"}]})

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=LINE)]


@router.post(
    "",
    summary="Add a contact to a recipient",
    responses=documented(NotFound, InvalidContact, *WITH_BODY),
)
async def add_contact(
    deps: Deps, caller: Manager, external_id: ExternalId, body: ContactRequest
) -> RecipientView:
    """Behind the others. One that is there stays in its place, and is active again."""
    given = ContactInput(sender=body.sender, address=body.address)
    (contact,) = checked(Profile(contacts=(given,)), deps.senders).contacts
    async with deps.audit.entry(caller, "contact.add", external_id, sender=contact.sender):
        if not await deps.recipients.add_contact(external_id, contact.sender, contact.address):
            raise nobody(external_id)
    return await view_of(deps, external_id)


@router.delete(
    "/{contact_id:int}",
    status_code=204,
    summary="Remove a contact",
    responses=documented(NotFound, InvalidRequest),
)
async def remove_contact(deps: Deps, caller: Manager, external_id: ExternalId, contact_id: ContactId) -> None:
    """To stop sending there for a while, deactivate it instead."""
    async with deps.audit.entry(caller, "contact.remove", external_id, contact=contact_id):
        if not await deps.recipients.remove_contact(external_id, contact_id):
            raise _no_contact(external_id, contact_id)


@router.post(
    "/{contact_id:int}/activate",
    summary="Send to a contact again",
    responses=documented(NotFound, InvalidRequest),
)
async def activate_contact(
    deps: Deps, caller: Manager, external_id: ExternalId, contact_id: ContactId
) -> RecipientView:
    """Whoever or whatever made it inactive."""
    async with deps.audit.entry(caller, "contact.activate", external_id, contact=contact_id):
        if not await deps.recipients.activate(external_id, contact_id):
            raise _no_contact(external_id, contact_id)
    return await view_of(deps, external_id)


@router.post(
    "/{contact_id:int}/deactivate",
    summary="Send nothing to a contact",
    responses=documented(NotFound, *WITH_BODY),
)
async def deactivate_contact(
    deps: Deps, caller: Manager, external_id: ExternalId, contact_id: ContactId, body: Deactivation
) -> RecipientView:
    """Until it is activated, or gives a sign of life."""
    async with deps.audit.entry(caller, "contact.deactivate", external_id, contact=contact_id):
        if not await deps.recipients.deactivate(external_id, contact_id, body.reason):
            raise _no_contact(external_id, contact_id)
    return await view_of(deps, external_id)


def _no_contact(external_id: str, contact_id: int) -> NotFound:
    return NotFound(f"the recipient {external_id!r} has no contact {contact_id}")
