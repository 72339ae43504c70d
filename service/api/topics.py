"""`/v1/topics`: named lists, and who is subscribed to them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.api.deps import Deps, Manager, reading
from service.api.paging import NumberPaging, Page, cursor_of
from service.api.problems import WITH_BODY, documented
from service.contract.fields import LINE, RecipientId, TopicName
from service.db.pages import Row
from service.errors import InvalidRequest, NotFound

SUBSCRIBERS_AT_ONCE = 5_000
# Nothing but an id can stand here, so that no id is reserved.
SubscriberId = Annotated[RecipientId, Path(description="Yours")]

router = APIRouter(prefix="/topics", tags=["topics"])


class TopicRequest(BaseModel):
    """What people call the topic."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"title": "Outages"}]})

    title: Annotated[str, Field(min_length=1, max_length=200, pattern=LINE)]


class TopicView(BaseModel):
    """A topic."""

    name: str
    title: str
    subscribers: int = Field(description="Counted up to 100,000")
    created_at: datetime


class SubscriberView(BaseModel):
    """Somebody who is subscribed."""

    external_id: str
    name: str | None
    at: datetime = Field(description="Since then")


class SubscribersRequest(BaseModel):
    """People to subscribe."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"recipients": ["42", "43"]}]})

    recipients: Annotated[list[RecipientId], Field(min_length=1, max_length=SUBSCRIBERS_AT_ONCE)]


class SubscribersReport(BaseModel):
    """What became of them."""

    subscribed: int
    unchanged: int = Field(description="Were subscribed before")
    unknown: list[str] = Field(description="Ids that no recipient has")


@router.put(
    "/{name}",
    summary="Make a topic, or change its title",
    responses={201: {"model": TopicView, "description": "Made"}, **documented(*WITH_BODY)},
)
async def put_topic(
    deps: Deps, caller: Manager, name: TopicName, body: TopicRequest, response: Response
) -> TopicView:
    """Its subscribers stay."""
    async with deps.audit.entry(caller, "topic.put", name, title=body.title) as done:
        created = await deps.topics.put(name, body.title)
        done["created"] = created
    response.status_code = 201 if created else 200
    return await _topic(deps, name)


@router.get("", summary="List topics", dependencies=[reading], responses=documented(InvalidRequest))
async def list_topics(deps: Deps, query: Annotated[NumberPaging, Query()]) -> Page[TopicView]:
    """The newest first."""
    page = await deps.topics.page(query.before, query.limit)
    return Page(items=[_view(row) for row in page.rows], next=cursor_of(page.next))


@router.get(
    "/{name}",
    summary="One topic",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_topic(deps: Deps, name: TopicName) -> TopicView:
    """With the number of its subscribers."""
    return await _topic(deps, name)


@router.delete(
    "/{name}", status_code=204, summary="Remove a topic", responses=documented(NotFound, InvalidRequest)
)
async def delete_topic(deps: Deps, caller: Manager, name: TopicName) -> None:
    """And its subscriptions."""
    async with deps.audit.entry(caller, "topic.delete", name):
        if not await deps.topics.delete(name):
            raise _no_topic(name)


@router.get(
    "/{name}/subscribers",
    summary="List a topic's subscribers",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def list_subscribers(
    deps: Deps, name: TopicName, query: Annotated[NumberPaging, Query()]
) -> Page[SubscriberView]:
    """The newest recipients first."""
    page = await deps.topics.subscribers(name, query.before, query.limit)
    if not page.rows:
        await _topic(deps, name)
    items = [
        SubscriberView(external_id=row["external_id"], name=row["name"], at=row["at"]) for row in page.rows
    ]
    return Page(items=items, next=cursor_of(page.next))


@router.post(
    "/{name}/subscribers",
    summary="Subscribe many recipients",
    responses=documented(NotFound, *WITH_BODY),
)
async def subscribe_many(
    deps: Deps, caller: Manager, name: TopicName, body: SubscribersRequest
) -> SubscribersReport:
    """Unknown ids are named in the answer and do not spoil the others."""
    async with deps.audit.entry(caller, "topic.subscribe", name, recipients=len(body.recipients)) as done:
        subscribed = await deps.topics.subscribe_many(name, body.recipients)
        if subscribed is None:
            raise _no_topic(name)
        done["subscribed"] = subscribed.fresh
    return SubscribersReport(
        subscribed=subscribed.fresh, unchanged=subscribed.before, unknown=list(subscribed.unknown)
    )


@router.put(
    "/{name}/subscribers/{external_id}",
    status_code=204,
    summary="Subscribe a recipient",
    response_description="Subscribed, now or before",
    responses=documented(NotFound, InvalidRequest),
)
async def subscribe(deps: Deps, caller: Manager, name: TopicName, external_id: SubscriberId) -> None:
    """Once more changes nothing."""
    async with deps.audit.entry(caller, "topic.subscribe", name, recipient=external_id):
        if await deps.topics.subscribe(name, external_id) is None:
            raise NotFound(f"there is no topic {name} or no recipient {external_id!r}")


@router.delete(
    "/{name}/subscribers/{external_id}",
    status_code=204,
    summary="Unsubscribe a recipient",
    responses=documented(NotFound, InvalidRequest),
)
async def unsubscribe(deps: Deps, caller: Manager, name: TopicName, external_id: SubscriberId) -> None:
    """From this topic only."""
    async with deps.audit.entry(caller, "topic.unsubscribe", name, recipient=external_id):
        if not await deps.topics.unsubscribe(name, external_id):
            raise NotFound(f"{external_id!r} is not subscribed to a topic {name}")


async def _topic(deps: Deps, name: str) -> TopicView:
    row = await deps.topics.get(name)
    if row is None:
        raise _no_topic(name)
    return _view(row)


def _no_topic(name: str) -> NotFound:
    return NotFound(f"no topic has the name {name}")


def _view(row: Row) -> TopicView:
    return TopicView(
        name=row["name"], title=row["title"], subscribers=row["subscribers"], created_at=row["created_at"]
    )
