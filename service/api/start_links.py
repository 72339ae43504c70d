"""`/v1/recipients/{external_id}/start-links`: links by which a person comes to a bot and is linked to its chat."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.api.deps import Deps, Manager
from service.api.problems import documented
from service.api.recipients import WITH_BODY, ExternalId, nobody
from service.audience.linking import LINK_PURPOSE
from service.contract import FieldProblem, SenderName
from service.errors import InvalidContact, NotFound

router = APIRouter(prefix="/recipients/{external_id:external_id}/start-links", tags=["recipients"])


class StartLinkRequest(BaseModel):
    """Which bot the link is to lead to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"sender": "MAX"}]})

    sender: SenderName = Field(description="As `MAX`")


class StartLink(BaseModel):
    """A link for that person alone: whoever opens it gets their notifications."""

    url: str
    expires_at: datetime


@router.post(
    "",
    summary="Make a link that links a recipient to a bot's chat",
    responses=documented(NotFound, InvalidContact, *WITH_BODY),
)
async def make_start_link(
    deps: Deps, caller: Manager, external_id: ExternalId, body: StartLinkRequest
) -> StartLink:
    """It may be used again until it expires. The chat becomes a contact behind the others."""
    person = await deps.recipients.get(external_id)
    if person is None:
        raise nobody(external_id)
    expires_at = datetime.now(UTC) + timedelta(days=deps.settings.links.start_days)
    token = deps.links.sign(LINK_PURPOSE, str(person["id"]), expires_at)
    sender = deps.senders.get(body.sender)
    url = None if sender is None else sender.start_url(token)
    if url is None:
        problem = "leads to no bot; accepted: MAX, with MAX_BOT_NAME set"
        raise InvalidContact([FieldProblem(field="sender", problem=problem, code="no_bot")])
    async with deps.audit.entry(caller, "start_link.make", external_id, sender=body.sender):
        return StartLink(url=url, expires_at=expires_at)
