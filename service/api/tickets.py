"""`/v1/tickets`: the support desk for another help desk, or for whoever writes one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from service.access.principal import Principal
from service.api.deps import ApiDeps, Deps, Specialist, supporting
from service.api.paging import NumberPaging, Page, cursor_of
from service.api.problems import WITH_BODY, documented
from service.api.ticket_views import (
    Figures,
    MessageView,
    OperatorFigures,
    TicketDetail,
    TicketView,
    figures_of,
    operator_of,
    ticket_fields,
)
from service.contract import Address, UtcDatetime
from service.contract.fields import LINE
from service.db.pages import Row
from service.errors import InvalidRequest, NotFound, SupportOff, TicketClosed
from service.senders.markup import utf16_length
from service.support.desk import Desk
from service.support.listing import TicketFilter
from service.support.values import Operator

_BIGGEST_ID = 2**53 - 1
TEXT_MAX_UNITS = 4_096
"""What one message of Telegram holds."""
MESSAGES_SHOWN = 100
STATISTICS_DAYS = 30
STATISTICS_MAX_DAYS = 366

TicketId = Annotated[int, Path(ge=0, le=_BIGGEST_ID)]
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=LINE)]


def _in_one_message(text: str) -> str:
    units = utf16_length(text)
    if units > TEXT_MAX_UNITS:
        problem = "has {units} units of UTF-16; accepted: at most {most}, of which an emoji takes two or more"
        raise PydanticCustomError("too_many_units", problem, {"units": units, "most": TEXT_MAX_UNITS})
    return text


Text = Annotated[
    str,
    Field(
        min_length=1,
        max_length=TEXT_MAX_UNITS,
        pattern=r"^[^\x00]*[^\x00\s][^\x00]*$",
        description=f"At most {TEXT_MAX_UNITS} units of UTF-16: an emoji takes two or more",
    ),
    AfterValidator(_in_one_message),
]

router = APIRouter(prefix="/tickets", tags=["tickets"])


class TicketQuery(NumberPaging):
    """Filters of the list; `since` and `until` are about when it was opened."""

    status: Literal["open", "closed"] | None = None
    operator: Word | None = Field(None, description="A specialist's id")
    unclaimed: bool | None = Field(None, description="Whether nobody has it")
    recipient: Word | None = None
    address: Address | None = None
    category: Word | None = None
    since: UtcDatetime | None = None
    until: UtcDatetime | None = None


class OperatorRequest(BaseModel):
    """A specialist of another help desk, by that desk's own id."""

    model_config = ConfigDict(extra="forbid")

    id: Word
    name: Word


class ReplyRequest(BaseModel):
    """A specialist's answer. Without an operator it is the caller's."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"text": "It is solved now", "operator": {"id": "agent-3", "name": "Vera"}}]
        },
    )

    text: Text
    operator: OperatorRequest | None = None


class ReplyReport(BaseModel):
    """The message that is on its way."""

    message_id: int


class AssignRequest(BaseModel):
    """Who has the ticket from now on; null: nobody."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"operator": {"id": "agent-3", "name": "Vera"}}]}
    )

    operator: OperatorRequest | None


class StatisticsQuery(BaseModel):
    """Tickets opened in so many days before `until`, by default now."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(STATISTICS_DAYS, ge=1, le=STATISTICS_MAX_DAYS)
    until: UtcDatetime | None = None


class Statistics(BaseModel):
    """How the desk does."""

    since: datetime
    until: datetime
    total: Figures
    operators: list[OperatorFigures] = Field(description="Those with the most tickets first")


@router.get("", summary="List tickets", dependencies=[supporting], responses=documented(InvalidRequest))
async def list_tickets(deps: Deps, query: Annotated[TicketQuery, Query()]) -> Page[TicketView]:
    """The newest first."""
    chosen = TicketFilter(**query.model_dump(exclude={"limit", "cursor"}))
    page = await deps.tickets.page(chosen, query.before, query.limit)
    return Page(items=[TicketView.of(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/statistics",
    summary="First reply, resolution and rating",
    dependencies=[supporting],
    responses=documented(InvalidRequest),
)
async def ticket_statistics(deps: Deps, query: Annotated[StatisticsQuery, Query()]) -> Statistics:
    """Of all tickets opened in that time, and by specialist."""
    until = query.until or datetime.now(UTC)
    since = _days_before(until, query.days)
    total, by_operator = await deps.tickets.statistics(since, until)
    return Statistics(
        since=since,
        until=until,
        total=Figures(**figures_of(total)),
        operators=[OperatorFigures(operator=operator_of(row), **figures_of(row)) for row in by_operator],
    )


@router.get(
    "/{ticket_id:int}",
    summary="One ticket with its messages",
    dependencies=[supporting],
    responses=documented(NotFound, InvalidRequest),
)
async def get_ticket(deps: Deps, ticket_id: TicketId) -> TicketDetail:
    """With the newest of them."""
    row = await _ticket(deps, ticket_id)
    page = await deps.tickets.messages(ticket_id, None, MESSAGES_SHOWN)
    about = None if row["about"] is None else orjson.loads(row["about"])
    return TicketDetail(
        **ticket_fields(row), answers=about, messages=[MessageView.of(message) for message in page.rows]
    )


@router.get(
    "/{ticket_id:int}/messages",
    summary="List a ticket's messages",
    dependencies=[supporting],
    responses=documented(NotFound, InvalidRequest),
)
async def list_ticket_messages(
    deps: Deps, ticket_id: TicketId, query: Annotated[NumberPaging, Query()]
) -> Page[MessageView]:
    """The newest first."""
    page = await deps.tickets.messages(ticket_id, query.before, query.limit)
    if not page.rows:
        await _ticket(deps, ticket_id)
    return Page(items=[MessageView.of(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/{ticket_id:int}/transcript",
    summary="A ticket's conversation as text",
    dependencies=[supporting],
    response_class=PlainTextResponse,
    responses=documented(NotFound, InvalidRequest),
)
async def get_transcript(deps: Deps, ticket_id: TicketId) -> PlainTextResponse:
    """A line for each message, the oldest first; times are UTC."""
    text = await deps.tickets.transcript(ticket_id)
    if text is None:
        raise _no_ticket(ticket_id)
    return PlainTextResponse(text)


@router.post(
    "/{ticket_id:int}/replies",
    status_code=202,
    summary="Answer as a specialist",
    responses=documented(NotFound, TicketClosed, SupportOff, *WITH_BODY),
)
async def reply(deps: Deps, caller: Specialist, ticket_id: TicketId, body: ReplyRequest) -> ReplyReport:
    """It leaves in its turn; the desk's own chat reads it too."""
    desk, operator = _desk(deps), _operator_asked(body.operator, caller)
    async with deps.audit.entry(caller, "ticket.reply", str(ticket_id), operator=operator.id):
        async with deps.database.transaction() as connection:
            message = await desk.conversation.reply(connection, ticket_id, body.text, operator)
        if message is None:
            raise await _closed_or_missing(deps, ticket_id)
    return ReplyReport(message_id=message)


@router.post(
    "/{ticket_id:int}/assign",
    summary="Hand a ticket to a specialist, or to nobody",
    responses=documented(NotFound, TicketClosed, SupportOff, *WITH_BODY),
)
async def assign(deps: Deps, caller: Specialist, ticket_id: TicketId, body: AssignRequest) -> TicketView:
    """Whoever had it has it no more."""
    desk = _desk(deps)
    to = None if body.operator is None else _operator_asked(body.operator, caller)
    async with deps.audit.entry(caller, "ticket.assign", str(ticket_id), operator=to and to.id):
        async with deps.database.transaction() as connection:
            if to is None:
                await desk.tickets.release(connection, ticket_id, _operator_asked(None, caller))
                ticket = await desk.tickets.lock(connection, ticket_id)
                done = ticket is not None and ticket["status"] == "open"
            else:
                done = await desk.tickets.hand_over(connection, ticket_id, to, caller.name)
        if not done:
            raise await _closed_or_missing(deps, ticket_id)
    return TicketView.of(await _ticket(deps, ticket_id))


@router.post(
    "/{ticket_id:int}/close",
    summary="Close a ticket",
    responses=documented(NotFound, TicketClosed, SupportOff, InvalidRequest),
)
async def close(deps: Deps, caller: Specialist, ticket_id: TicketId) -> TicketView:
    """The person is asked how it was."""
    desk = _desk(deps)
    async with deps.audit.entry(caller, "ticket.close", str(ticket_id)):
        async with deps.database.transaction() as connection:
            done = await desk.tickets.close(connection, ticket_id, "api", _operator_asked(None, caller))
        if not done:
            raise await _closed_or_missing(deps, ticket_id)
    return TicketView.of(await _ticket(deps, ticket_id))


@router.post(
    "/{ticket_id:int}/reopen",
    summary="Open a closed ticket again",
    responses=documented(NotFound, SupportOff, InvalidRequest),
)
async def reopen(deps: Deps, caller: Specialist, ticket_id: TicketId) -> TicketView:
    """Where the person has another one open, this one stays closed."""
    desk = _desk(deps)
    async with (
        deps.audit.entry(caller, "ticket.reopen", str(ticket_id)) as done,
        deps.database.transaction() as connection,
    ):
        operator = _operator_asked(None, caller)
        done["reopened"] = await desk.tickets.reopen(connection, ticket_id, operator)
    return TicketView.of(await _ticket(deps, ticket_id))


def _desk(deps: ApiDeps) -> Desk:
    if deps.desk is None:
        raise SupportOff
    return deps.desk


def _operator_asked(asked: OperatorRequest | None, caller: Principal) -> Operator:
    if asked is None:
        return Operator(f"api:{caller.name}", caller.name)
    return Operator(asked.id, asked.name)


async def _ticket(deps: ApiDeps, ticket_id: int) -> Row:
    row = await deps.tickets.get(ticket_id)
    if row is None:
        raise _no_ticket(ticket_id)
    return row


async def _closed_or_missing(deps: ApiDeps, ticket_id: int) -> TicketClosed:
    await _ticket(deps, ticket_id)
    return TicketClosed(f"ticket {ticket_id} is closed; reopen it first")


def _no_ticket(ticket_id: int) -> NotFound:
    return NotFound(f"no ticket has the id {ticket_id}")


def _days_before(until: datetime, days: int) -> datetime:
    try:
        return until - timedelta(days=days)
    except OverflowError:
        return until
