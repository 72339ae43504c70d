"""What a template would look like to somebody: rendered, never sent."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import available_timezones

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.api.deliveries import Count
from service.api.deps import ApiDeps, Deps, reading
from service.api.problems import RETRY_AFTER_SECONDS, WITH_BODY, documented
from service.api.templates import Key, joined, version_of
from service.content.checking import example_params
from service.content.drafts import Locale, TemplateDraft, storable
from service.content.rendering import Rendered, RenderError
from service.content.templates import Format, TemplateVersion, Variant, check_params, choose
from service.contract import FieldProblem, SenderName
from service.errors import NotFound, NotRendered, Unavailable
from service.senders.base import Message

router = APIRouter(prefix="/templates", tags=["templates"])


class PreviewRequest(BaseModel):
    """For whom to render what."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"sender": "CONSOLE", "locale": "ru", "zone": "Europe/Moscow", "params": {"order": 17}}
            ]
        },
    )

    sender: SenderName
    locale: Locale
    zone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_+\-/]+$")] = "UTC"
    params: Annotated[dict[str, Any], AfterValidator(storable)] | None = Field(
        None, description="null: the examples"
    )
    number: Count | None = Field(None, description="Of a version; null: the current one")
    draft: TemplateDraft | None = Field(None, description="Not saved yet; instead of a version")


class PreviewReport(BaseModel):
    """What the person would get. Nothing was sent."""

    locale: str = Field(description="Of the variant that was chosen")
    title: str
    body: str
    format: Format
    texts: list[str] = Field(description="What the sender would send, a text for each call of its provider")


@router.post(
    "/{key}/preview",
    summary="Render a template for somebody",
    dependencies=[reading],
    responses=documented(NotFound, NotRendered, *WITH_BODY),
)
async def preview_template(deps: Deps, key: Key, body: PreviewRequest) -> PreviewReport:
    """What a person with that locale and zone would get through that sender. Nothing is sent."""
    version = body.draft.version(key) if body.draft else await version_of(deps, key, body.number)
    params = example_params(version) if body.params is None else body.params
    _refuse(_problems_of(deps, version, body, params))
    variant = _choose(version, body)
    rendered = await _render(deps, version, variant, params, body)
    return PreviewReport(
        locale=variant.locale,
        title=rendered.title,
        body=rendered.body,
        format=rendered.format,
        texts=await _texts(deps, body.sender, rendered),
    )


def _problems_of(
    deps: ApiDeps, version: TemplateVersion, body: PreviewRequest, params: Mapping[str, Any]
) -> list[FieldProblem]:
    problems = check_params(version, params)
    if body.sender not in deps.senders:
        known = ", ".join(sorted(deps.senders))
        problems.append(_problem("sender", f"is not a sender; accepted: {known}", "unknown_sender"))
    if body.zone not in available_timezones():
        problems.append(_problem("zone", "is no time zone; accepted: as Europe/Moscow", "unknown_zone"))
    return problems


def _choose(version: TemplateVersion, body: PreviewRequest) -> Variant:
    try:
        return choose(version, body.locale, body.sender)
    except LookupError as error:
        raise NotRendered(str(error)) from None


async def _render(
    deps: ApiDeps, version: TemplateVersion, variant: Variant, params: Mapping[str, Any], body: PreviewRequest
) -> Rendered:
    try:
        return await deps.renderer.render(version, variant, params, locale=body.locale, zone=body.zone)
    except RenderError as error:
        if error.temporary:
            raise Unavailable(RETRY_AFTER_SECONDS, str(error)) from None
        raise NotRendered(
            str(error), problems=[_problem(error.part or "template", str(error), error.code)]
        ) from None


async def _texts(deps: ApiDeps, sender: str, rendered: Rendered) -> list[str]:
    chosen = deps.senders[sender]
    address = chosen.default_address or "preview"
    message = Message(UUID(int=0), 0, address, rendered.title, rendered.body, rendered.format)
    return list(await chosen.preview(message))


def _problem(field: str, text: str, code: str) -> FieldProblem:
    return FieldProblem(field=field, problem=text, code=code)


def _refuse(problems: list[FieldProblem]) -> None:
    if problems:
        raise NotRendered(joined(problems), problems=problems)
