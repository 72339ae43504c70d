"""`/v1/recipients/{external_id}/devices`: what apps register, so that pushes reach each device of a person."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.access.principal import Principal, Scope
from service.api.deps import ApiDeps, Deps, Registrar, reading
from service.api.paging import Page
from service.api.problems import WITH_BODY, documented
from service.api.recipients import ExternalId, nobody
from service.audience.devices import Device
from service.audience.profile import ContactAddress
from service.contract import FieldProblem, SenderName
from service.contract.fields import LINE
from service.db.pages import Row
from service.errors import InvalidContact, InvalidRequest, MissingScope, NotFound

# What every reader of JSON keeps exact.
DeviceId = Annotated[int, Path(ge=0, le=2**53 - 1)]
Word = Annotated[str, Field(min_length=1, max_length=100, pattern=LINE)]

router = APIRouter(prefix="/recipients/{external_id:external_id}/devices", tags=["recipients"])


class DeviceToken(BaseModel):
    """A push token, and what the app says of its device."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"token": "a-token-of-the-provider", "platform": "android"}]},
    )

    token: ContactAddress = Field(
        description="As the provider's library hands it to the app; for `WEBPUSH` the subscription as JSON"
    )
    platform: Word | None = Field(None, description="As `android`")
    app: Word | None = Field(None, description="Which of your apps, as `com.example.shop`")
    name: Word | None = Field(None, description="What the person knows it by")

    def device(self, token: str) -> Device:
        """The device, with its token as its sender writes it."""
        return Device(token, self.platform, self.app, self.name)


class DeviceRequest(DeviceToken):
    """A device to register."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"sender": "RUSTORE", "token": "a-token-of-the-provider", "platform": "android"}]
        },
    )

    sender: SenderName = Field(description="As `RUSTORE`")


class DeviceView(BaseModel):
    """A registered device. It is a contact too, of the same id."""

    id: int
    sender: str
    token: str
    platform: str | None
    app: str | None
    name: str | None
    active: bool
    inactive_reason: str | None = Field(description="Why nothing is sent there, as when the app was removed")
    inactive_at: datetime | None
    seen_at: datetime = Field(description="When the app was last heard of")


@router.post(
    "",
    summary="Register a device of a recipient",
    response_description="Known before; it is active and was seen now",
    responses={
        201: {"model": DeviceView, "description": "Registered"},
        **documented(NotFound, InvalidContact, *WITH_BODY),
    },
)
async def register_device(
    deps: Deps, caller: Registrar, external_id: ExternalId, body: DeviceRequest, response: Response
) -> DeviceView:
    """Apps may call this at every start. A token that was somebody else's is theirs no longer.

    Beyond `AUDIENCE_DEVICES_MAX` devices a dead one makes room, or the one seen longest ago.
    """
    _judge_caller(caller, external_id)
    device = body.device(_checked(deps, body.sender, body.token))
    if (row := await deps.devices.seen(external_id, body.sender, device)) is not None:
        return _view(row)
    async with deps.audit.entry(caller, "device.register", external_id, sender=body.sender) as done:
        registered = await deps.devices.register(external_id, body.sender, device)
        if registered is None:
            raise nobody(external_id)
        done |= {"device": registered.row["id"], "created": registered.created}
    response.status_code = 201 if registered.created else 200
    return _view(registered.row)


@router.get(
    "",
    summary="Devices of a recipient",
    dependencies=[reading],
    responses=documented(NotFound, InvalidRequest),
)
async def list_devices(deps: Deps, external_id: ExternalId) -> Page[DeviceView]:
    """All of them, the last seen first."""
    rows = await deps.devices.of(external_id)
    if not rows and await deps.recipients.get(external_id) is None:
        raise nobody(external_id)
    return Page(items=[_view(row) for row in rows], next=None)


@router.put(
    "/{device_id:int}",
    summary="Give a device its new token",
    responses=documented(NotFound, InvalidContact, *WITH_BODY),
)
async def rotate_device(
    deps: Deps, caller: Registrar, external_id: ExternalId, device_id: DeviceId, body: DeviceToken
) -> DeviceView:
    """When the provider's library hands out another one. What waits for the device goes to the new token."""
    _judge_caller(caller, external_id)
    sender = await deps.devices.sender_of(external_id, device_id)
    if sender is None:
        raise _no_device(external_id, device_id)
    device = body.device(_checked(deps, sender, body.token))
    async with deps.audit.entry(caller, "device.rotate", external_id, device=device_id):
        rotated = await deps.operations.rotate_device(external_id, device_id, sender, device)
        if rotated is None:
            raise _no_device(external_id, device_id)
    return _view(rotated.row)


@router.delete(
    "/{device_id:int}",
    status_code=204,
    summary="Remove a device",
    responses=documented(NotFound, InvalidRequest),
)
async def remove_device(deps: Deps, caller: Registrar, external_id: ExternalId, device_id: DeviceId) -> None:
    """When the person logs out."""
    _judge_caller(caller, external_id)
    async with deps.audit.entry(caller, "device.remove", external_id, device=device_id):
        if not await deps.devices.remove(external_id, device_id):
            raise _no_device(external_id, device_id)


def _judge_caller(caller: Principal, external_id: str) -> None:
    """A token that may only register devices is its subject's own. Raises `MissingScope`."""
    if Scope.MANAGE not in caller.scopes and caller.subject not in {None, external_id}:
        raise MissingScope("with the scope devices, a token is good for the recipient in its `sub` only")


def _checked(deps: ApiDeps, name: str, token: str) -> str:
    """The token as its sender writes it. Raises `InvalidContact`."""
    sender = deps.senders.get(name)
    if sender is None or not sender.capabilities.devices:
        known = ", ".join(name for name, sender in deps.senders.items() if sender.capabilities.devices)
        raise _invalid("sender", f"{name!r} has no devices; accepted: {known}")
    try:
        return sender.check_device(token)
    except ValueError as error:
        raise _invalid("token", str(error)) from None


def _invalid(field: str, problem: str) -> InvalidContact:
    return InvalidContact([FieldProblem(field=field, problem=problem, code="invalid_contact")])


def _no_device(external_id: str, device_id: int) -> NotFound:
    return NotFound(f"the recipient {external_id!r} has no device {device_id}")


def _view(row: Row) -> DeviceView:
    return DeviceView(
        id=row["id"],
        sender=row["sender"],
        token=row["address"],
        platform=row["platform"],
        app=row["app"],
        name=row["device_name"],
        active=row["active"],
        inactive_reason=row["inactive_reason"],
        inactive_at=row["inactive_at"],
        seen_at=row["seen_at"],
    )
