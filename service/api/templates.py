"""`/v1/templates`: named content with versions, and its check."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from service.api.deps import ApiDeps, Deps, Manager, reading
from service.api.paging import NumberPaging, Page, cursor_of
from service.api.problems import RETRY_AFTER_SECONDS, WITH_BODY, documented
from service.content.checking import Finding
from service.content.drafts import TemplateDraft, draft_of
from service.content.rendering import RenderError
from service.content.store import Listed
from service.content.templates import TemplateVersion
from service.contract import FieldProblem
from service.contract.fields import TemplateKey
from service.errors import (
    InvalidRequest,
    NotFound,
    TemplateRefused,
    Unavailable,
)

_BIGGEST_NUMBER = 2**31 - 1

Key = Annotated[TemplateKey, Path(description="The template's name, as `order.paid`")]
Number = Annotated[int, Path(ge=1, le=_BIGGEST_NUMBER, description="The version's number")]

router = APIRouter(prefix="/templates", tags=["templates"])


class TemplateSummary(BaseModel):
    """A template without its texts."""

    key: str
    number: int = Field(description="Of the current version")
    author: str
    created_at: datetime = Field(description="When the current version was made")
    archived_at: datetime | None
    default_locale: str
    locales: list[str]


class TemplateView(TemplateDraft):
    """One version of a template. Its content alone is what `PUT` takes."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={})

    key: str
    number: int
    author: str
    created_at: datetime


class FindingView(BaseModel):
    """One thing that is wrong with a template. Errors keep it from being saved, warnings do not."""

    level: Literal["error", "warning"]
    code: str = Field(description="Stable word for the kind of finding")
    where: str = Field(description="As `variants.ru.TG.body`, `params.order`")
    text: str
    line: int | None = Field(description="Line of the text, when it is known")


class Findings(BaseModel):
    """Errors first; an empty list: nothing is wrong."""

    findings: list[FindingView]


class SaveRequest(TemplateDraft):
    """A version to save. A dry run only checks it and says whether it differs from the current one."""

    dry_run: StrictBool = False


class SaveReport(BaseModel):
    """What became of a version."""

    number: int | None = Field(description="Of the current version; null: there is none yet")
    changed: bool = Field(description="A version was made, or a dry run would make one")
    dry_run: bool
    findings: list[FindingView]


class TemplateQuery(NumberPaging):
    """Filter of the list."""

    state: Literal["used", "archived", "all"] = "used"


@router.get("", summary="List templates", dependencies=[reading], responses=documented(InvalidRequest))
async def list_templates(deps: Deps, query: Annotated[TemplateQuery, Query()]) -> Page[TemplateSummary]:
    """The newest first, each with its current version."""
    page = await deps.templates.page(query.before, query.limit, state=query.state)
    return Page(items=[_summary(listed) for listed in page.rows], next=cursor_of(page.next))


@router.put(
    "/{key}",
    summary="Save a version of a template",
    response_description="It is the current version now, or was before",
    responses=documented(TemplateRefused, *WITH_BODY),
)
async def save_template(deps: Deps, caller: Manager, key: Key, body: SaveRequest) -> SaveReport:
    """The same content again makes no version. A version is never changed; what was accepted with it keeps it."""
    draft = body.version(key)
    findings = await _check(deps, draft)
    if body.dry_run:
        current = await deps.templates.current(key)
        number = None if current is None else current.number
        changed = current is None or current.content != draft.content
        return SaveReport(number=number, changed=changed, dry_run=True, findings=_views(findings))
    _refuse_errors(findings)
    return await _save(deps, caller, draft, findings, "template.save")


@router.get(
    "/{key}",
    summary="The current version of a template",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_template(deps: Deps, key: Key) -> TemplateView:
    """An archived template is found under its versions only."""
    return _view(await version_of(deps, key, None))


@router.delete(
    "/{key}",
    status_code=204,
    summary="Archive a template",
    response_description="It can no longer be used; saving a version brings it back",
    responses=documented(NotFound, InvalidRequest),
)
async def archive_template(deps: Deps, caller: Manager, key: Key) -> None:
    """Notifications that were accepted with it are still sent."""
    async with deps.audit.entry(caller, "template.archive", key):
        if not await deps.templates.archive(key):
            raise NotFound(f"no template in use is called {key}")


@router.get(
    "/{key}/versions",
    summary="List the versions of a template",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def list_template_versions(
    deps: Deps, key: Key, query: Annotated[NumberPaging, Query()]
) -> Page[TemplateView]:
    """The newest first, those of an archived template too."""
    page = await deps.templates.versions(key, query.before, query.limit)
    if not page.rows and query.cursor is None:
        raise NotFound(f"no template is called {key}")
    return Page(items=[_view(version) for version in page.rows], next=cursor_of(page.next))


@router.get(
    "/{key}/versions/{number:int}",
    summary="One version of a template",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def get_template_version(deps: Deps, key: Key, number: Number) -> TemplateView:
    """Of an archived template too."""
    return _view(await version_of(deps, key, number))


@router.post(
    "/{key}/versions/{number:int}/restore",
    summary="Go back to a version",
    responses=documented(NotFound, TemplateRefused, InvalidRequest),
)
async def restore_template_version(deps: Deps, caller: Manager, key: Key, number: Number) -> SaveReport:
    """Its content becomes a new version."""
    version = await version_of(deps, key, number)
    findings = await _check(deps, version)
    _refuse_errors(findings)
    return await _save(deps, caller, version, findings, "template.restore")


@router.post(
    "/{key}/check",
    summary="Check a template",
    dependencies=[reading],
    responses=documented(NotFound, *WITH_BODY),
)
async def check_template(deps: Deps, key: Key, body: TemplateDraft | None = None) -> Findings:
    """The version that is sent, or without one the current version. Nothing is saved."""
    version = await version_of(deps, key, None) if body is None else body.version(key)
    return Findings(findings=_views(await _check(deps, version)))


async def _check(deps: ApiDeps, version: TemplateVersion) -> list[Finding]:
    try:
        return await deps.checker.check(version)
    except RenderError as error:
        raise Unavailable(RETRY_AFTER_SECONDS, str(error)) from None


def _refuse_errors(findings: list[Finding]) -> None:
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        problems = [FieldProblem(field=e.where, problem=_with_line(e), code=e.code) for e in errors]
        raise TemplateRefused(joined(problems), problems=problems)


def _with_line(finding: Finding) -> str:
    return finding.text if finding.line is None else f"line {finding.line}: {finding.text}"


async def _save(
    deps: ApiDeps, caller: Manager, draft: TemplateVersion, findings: list[Finding], action: str
) -> SaveReport:
    async with deps.audit.entry(caller, action, draft.key) as done:
        saved, changed = await deps.templates.save(draft, caller.name)
        done |= {"number": saved.number, "changed": changed}
    return SaveReport(number=saved.number, changed=changed, dry_run=False, findings=_views(findings))


async def version_of(deps: ApiDeps, key: str, number: int | None) -> TemplateVersion:
    """A version of a template, or its current one. Raises `NotFound`."""
    found = await (deps.templates.current(key) if number is None else deps.templates.version(key, number))
    if found is None:
        raise NotFound(
            f"no template in use is called {key}" if number is None else f"{key} has no version {number}"
        )
    return found


def joined(problems: list[FieldProblem]) -> str:
    """The problems on one line."""
    return "; ".join(f"{problem.field}: {problem.problem}" for problem in problems)


def _views(findings: list[Finding]) -> list[FindingView]:
    return [FindingView.model_validate(finding, from_attributes=True) for finding in findings]


def _view(version: TemplateVersion) -> TemplateView:
    return TemplateView.model_validate(
        {
            **draft_of(version).model_dump(),
            "key": version.key,
            "number": version.number,
            "author": version.author,
            "created_at": version.created_at,
        }
    )


def _summary(listed: Listed) -> TemplateSummary:
    current = listed.current
    return TemplateSummary.model_validate(
        {
            "key": current.key,
            "number": current.number,
            "author": current.author,
            "created_at": current.created_at,
            "archived_at": listed.archived_at,
            "default_locale": current.default_locale,
            "locales": sorted({variant.locale for variant in current.variants}),
        }
    )
