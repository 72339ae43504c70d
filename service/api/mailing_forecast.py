"""What an audience is, and what would come of a mailing to it: counted and tried, never sent."""

from collections import Counter
from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.api.deps import ApiDeps, Deps, reading
from service.api.mailing_views import MailingForecast, SampleView
from service.api.notifications import previews_of
from service.api.problems import WITH_BODY, documented
from service.audience import segments
from service.audience.segments import Audience
from service.delivery.planning import Plan
from service.mailings.checks import usable_version
from service.mailings.drafts import MailingDraft, request_of
from service.mailings.progress import STANDS_FOR, forecast

SHOWN = 5

router = APIRouter(prefix="/audiences", tags=["mailings"])


class AudienceRequest(BaseModel):
    """Whom to count."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"audience": {"everyone": True}}]}
    )

    audience: Audience


class PersonView(BaseModel):
    """Somebody of the audience."""

    external_id: str
    locale: str | None
    zone: str | None


class AudienceReport(BaseModel):
    """Who they are."""

    people: int
    zones: dict[str, int] = Field(
        description="How many live in each time zone, the settings' where they say none"
    )
    sample: list[PersonView] = Field(description="The first of them")


@router.post(
    "/preview", summary="Count an audience", dependencies=[reading], responses=documented(*WITH_BODY)
)
async def preview_audience(deps: Deps, body: AudienceRequest) -> AudienceReport:
    """Whoever is in it now. A topic or list that is not there has nobody."""
    async with deps.database.connection() as connection:
        counts = await segments.zone_counts(connection, body.audience)
        people = await segments.sample(connection, body.audience, SHOWN)
    return AudienceReport(
        people=sum(counts.values()),
        zones=_zones(deps, counts),
        sample=[PersonView(external_id=p.external_id, locale=p.locale, zone=p.zone) for p in people],
    )


async def forecast_of(deps: ApiDeps, draft: MailingDraft) -> MailingForecast:
    """Of a mailing that began now."""
    request = request_of(draft, deps.intake.bounds)
    async with deps.database.connection() as connection:
        version = await usable_version(connection, deps.planner, draft, request)
        counts = await segments.zone_counts(connection, draft.audience)
        people = await segments.sample(connection, draft.audience, STANDS_FOR)
    now = datetime.now(UTC)
    closed = draft.window.closed if draft.window else None
    plans = [deps.planner.plan_for(request, person, now, version, closed=closed) for person in people]
    senders = Counter(plan.route[0].sender for plan in plans if plan.suppressed is None)
    allowed, eta = forecast(deps.planner, draft, counts, senders, now)
    first = next((plan for plan in plans if plan.suppressed is None), None)
    return MailingForecast(
        people=sum(counts.values()),
        zones=_zones(deps, counts),
        sample=[
            SampleView(
                external_id=person.external_id, locale=person.locale, zone=person.zone, **_outcome(plan)
            )
            for person, plan in list(zip(people, plans, strict=True))[:SHOWN]
        ],
        allowed_rate=allowed,
        eta=eta,
        rendered=[] if first is None else await previews_of(deps, request, first),
    )


def _outcome(plan: Plan) -> dict[str, str | None]:
    if plan.suppressed is None:
        return {"sender": plan.route[0].sender, "suppressed": None}
    return {"sender": None, "suppressed": plan.suppressed.code}


def _zones(deps: ApiDeps, counts: dict[str, int]) -> dict[str, int]:
    zones: Counter[str] = Counter()
    for zone, people in counts.items():
        zones[zone or deps.planner.defaults.zone] += people
    return dict(zones)
