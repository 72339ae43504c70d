"""`/v1/audit`: who changed what."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.api.deps import Deps, Manager
from service.api.paging import NumberPaging, Page, cursor_of
from service.api.problems import documented
from service.errors import InvalidRequest

router = APIRouter(prefix="/audit", tags=["audit"])


class AuditView(BaseModel):
    """One management write."""

    id: int
    at: datetime
    actor: str = Field(description="As `key:1f2e3d4c:deploy` or `jwt:alice`")
    action: str = Field(description="As `sender.pause`")
    target: str | None
    details: dict[str, Any]
    outcome: str | None = Field(
        description="`done`, an error's code, `interrupted`; null: under way, or cut off"
    )


@router.get("", summary="List management writes", responses=documented(InvalidRequest))
async def list_audit(
    deps: Deps, _caller: Manager, query: Annotated[NumberPaging, Query()]
) -> Page[AuditView]:
    """The newest first."""
    page = await deps.audit.page(query.before, query.limit)
    return Page(
        items=[AuditView.model_validate(entry, from_attributes=True) for entry in page.rows],
        next=cursor_of(page.next),
    )
