"""`/v1/keys`: API keys."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from service.access.keys import KeyInfo, KeyOfSettingError
from service.access.principal import Scope
from service.api.deps import Deps, Manager
from service.api.paging import Page, UuidPaging, cursor_of
from service.api.problems import WITH_BODY, documented
from service.contract import UtcDatetime
from service.contract.fields import LINE
from service.errors import (
    InvalidRequest,
    KeyOfSetting,
    MissingScope,
    NotFound,
)

router = APIRouter(prefix="/keys", tags=["keys"])


class KeyRequest(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "billing", "scopes": ["send"]}]}
    )

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=LINE)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_at: UtcDatetime | None = None


class KeyView(BaseModel):
    """A key without its secret."""

    id: UUID
    name: str
    prefix: str = Field(description="The readable part after `ntf_`")
    origin: Literal["made", "setting"] = Field(description="`setting`: the value of ADMIN_API_KEY")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyView(KeyView):
    """A key just made."""

    key: str = Field(description="The whole key: keep it, it is not shown again")


@router.post(
    "",
    status_code=201,
    summary="Make an API key",
    response_description="Made; `key` is shown this once",
    responses=documented(*WITH_BODY),
)
async def create_key(deps: Deps, caller: Manager, body: KeyRequest) -> NewKeyView:
    """Nobody can hand out a scope they do not have; who manages has what `devices` allows."""
    if beyond := set(body.scopes) - caller.scopes - {Scope.DEVICES}:
        raise MissingScope(f"you lack {', '.join(sorted(beyond))} yourself")
    async with deps.audit.entry(caller, "key.create", name=body.name, scopes=sorted(body.scopes)) as done:
        made = await deps.keys.create(body.name, body.scopes, body.expires_at)
        done |= {"id": str(made.info.id), "prefix": made.info.prefix}
    return NewKeyView(**_fields(made.info), key=made.secret)


@router.get("", summary="List API keys", responses=documented(InvalidRequest))
async def list_keys(deps: Deps, _caller: Manager, query: Annotated[UuidPaging, Query()]) -> Page[KeyView]:
    """The newest first, revoked ones too."""
    page = await deps.keys.page(query.before, query.limit)
    return Page(items=[KeyView(**_fields(key)) for key in page.rows], next=cursor_of(page.next))


@router.delete(
    "/{key_id:uuid}",
    status_code=204,
    summary="Revoke an API key",
    response_description="Revoked; other processes may accept it for five seconds more",
    responses=documented(NotFound, KeyOfSetting, InvalidRequest),
)
async def revoke_key(deps: Deps, caller: Manager, key_id: UUID) -> None:
    """For good. To rotate a key make the new one first: both work until the old one is revoked."""
    async with deps.audit.entry(caller, "key.revoke", str(key_id)):
        try:
            revoked = await deps.keys.revoke(key_id)
        except KeyOfSettingError:
            raise KeyOfSetting from None
        if not revoked:
            raise NotFound(f"no key in use has the id {key_id}")


def _fields(key: KeyInfo) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "origin": key.origin,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
