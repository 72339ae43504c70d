"""`/v1/deliveries` and `/v1/dead-letters`: what became of each message, and trying again in bulk."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from service.api.deps import Deps, Manager, reading
from service.api.paging import NumberPaging, Page, cursor_of
from service.api.problems import WITH_BODY, documented
from service.api.views import DeliveryDetail, DeliveryView, Status
from service.contract import Address, SenderName, UtcDatetime
from service.contract.fields import LINE, WHOLE
from service.delivery.listing import DeadFilter, DeliveryFilter
from service.delivery.operations import DeadLetterFilter
from service.errors import InvalidRequest, NotFound

# What every reader of JSON keeps exact.
_BIGGEST_ID = 2**53 - 1

Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000), WHOLE]
ErrorWord = Annotated[str, Field(min_length=1, max_length=200, pattern=LINE)]

router = APIRouter(tags=["deliveries"])


class DeliveryQuery(NumberPaging):
    """Filters of the list; `since` and `until` are about when the delivery was made."""

    status: Status | None = None
    sender: SenderName | None = None
    address: Address | None = None
    notification: UUID | None = Field(None, description="The `id` of its notification")
    since: UtcDatetime | None = None
    until: UtcDatetime | None = None


class DeadLetterQuery(NumberPaging):
    """Filters of the list; `since` and `until` are about when the delivery failed."""

    sender: SenderName | None = None
    error_kind: ErrorWord | None = Field(None, description="Class of the outcome, as `refused`")
    error_code: ErrorWord | None = Field(None, description="The provider's own code, as `403`")
    since: UtcDatetime | None = None
    until: UtcDatetime | None = None


class RedriveFilter(BaseModel):
    """Which dead letters; what is left out means any. `{}` is all of them."""

    model_config = ConfigDict(extra="forbid")

    sender: SenderName | None = None
    error_kind: ErrorWord | None = None
    error_code: ErrorWord | None = None
    since: UtcDatetime | None = Field(None, description="Failed at this time or later")
    until: UtcDatetime | None = Field(None, description="Failed before this time")
    limit: Count | None = Field(None, description="At most so many")


class RedriveRequest(BaseModel):
    """A dry run only counts."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"filter": {"sender": "TG", "error_code": "403"}, "dry_run": True}]},
    )

    filter: RedriveFilter
    dry_run: StrictBool = False


class RedriveReport(BaseModel):
    """How many were put back into the queue, or would be."""

    deliveries: int
    dry_run: bool


@router.get(
    "/deliveries", summary="List deliveries", dependencies=[reading], responses=documented(InvalidRequest)
)
async def list_deliveries(deps: Deps, query: Annotated[DeliveryQuery, Query()]) -> Page[DeliveryView]:
    """The newest first."""
    chosen = DeliveryFilter(
        query.status, query.sender, query.address, query.notification, query.since, query.until
    )
    page = await deps.listing.deliveries(chosen, query.before, query.limit)
    return Page(items=[DeliveryView.of(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/deliveries/{delivery_id:int}",
    summary="One delivery with its attempts and events",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_delivery(deps: Deps, delivery_id: Annotated[int, Path(ge=0, le=_BIGGEST_ID)]) -> DeliveryDetail:
    """Everything that happened to it, with times."""
    found = await deps.listing.delivery(delivery_id)
    if found is None:
        raise NotFound(f"no delivery has the id {delivery_id}")
    return DeliveryDetail.of_log(*found)


@router.get(
    "/dead-letters",
    summary="List deliveries that failed for good",
    dependencies=[reading],
    responses=documented(InvalidRequest),
)
async def list_dead_letters(deps: Deps, query: Annotated[DeadLetterQuery, Query()]) -> Page[DeliveryView]:
    """Failed where their chain ended: a failed link that another one followed is not here."""
    chosen = DeadFilter(query.sender, query.error_kind, query.error_code, query.since, query.until)
    page = await deps.listing.dead_letters(chosen, query.before, query.limit)
    return Page(items=[DeliveryView.of(row) for row in page.rows], next=cursor_of(page.next))


@router.post(
    "/dead-letters/redrive",
    summary="Put dead letters back into the queue",
    responses=documented(*WITH_BODY),
)
async def redrive_dead_letters(deps: Deps, caller: Manager, body: RedriveRequest) -> RedriveReport:
    """Count first with `dry_run`. Those that have expired since stay where they are."""
    chosen = DeadLetterFilter(**body.filter.model_dump())
    if body.dry_run:
        return RedriveReport(deliveries=await deps.operations.redrive(chosen, dry_run=True), dry_run=True)
    details = body.filter.model_dump(mode="json", exclude_none=True)
    async with deps.audit.entry(caller, "dead_letters.redrive", filter=details) as done:
        done["requeued"] = await deps.operations.redrive(chosen, dry_run=False)
    return RedriveReport(deliveries=done["requeued"], dry_run=False)
