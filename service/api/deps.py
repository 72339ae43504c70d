"""What the routes need, handed in once by the composition root."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Protocol, cast

from fastapi import Depends
from starlette.requests import Request
from starlette.types import Scope as AsgiScope

from service.access.audit import Audit
from service.access.authenticate import Authenticator
from service.access.keys import ApiKeys
from service.access.links import Links
from service.access.principal import Principal, Scope
from service.audience.devices import Devices
from service.audience.recipients import Recipients
from service.audience.topics import Topics
from service.content.checking import Checker
from service.content.localisation import Localisation
from service.content.rendering import Renderer
from service.content.store import Templates
from service.db.database import Database
from service.delivery.intake import Intake
from service.delivery.listing import Listing
from service.delivery.metrics import Metrics
from service.delivery.operations import Operations
from service.delivery.planning import Planner
from service.delivery.wording import Wording
from service.errors import MissingScope
from service.health import Health
from service.mailings.store import Mailings
from service.senders.base import BaseSender
from service.settings import Settings
from service.support.desk import Desk
from service.support.listing import TicketListing
from service.triggers.events import Events
from service.triggers.firing import Firing
from service.triggers.store import Triggers


class TakesUpdates(Protocol):
    """Where the updates go that a bot's server posts."""

    def knows(self, secret: str) -> bool:
        """Whether a call with that secret is the server's."""
        ...

    async def take(self, body: bytes) -> bool:
        """Store an update. False: it is none."""
        ...


@dataclass(frozen=True)
class ApiDeps:
    """`read_gauges` brings the gauges of `metrics` up to date; `asyncapi` makes the document to show, as JSON.

    `renderer` is for what is tried out, which must not hold up deliveries: the engine has its own.
    """

    settings: Settings
    database: Database
    intake: Intake
    operations: Operations
    mailings: Mailings
    planner: Planner
    triggers: Triggers
    firing: Firing
    events: Events
    senders: Mapping[str, BaseSender]
    health: Health
    metrics: Metrics
    keys: ApiKeys
    authenticator: Authenticator
    links: Links
    renderer: Renderer
    localisation: Localisation
    wording: Wording
    desk: Desk | None
    webhook: TakesUpdates | None
    read_gauges: Callable[[], Awaitable[None]]
    asyncapi: Callable[[], str] | None = None

    @cached_property
    def listing(self) -> Listing:
        return Listing(self.database)

    @cached_property
    def templates(self) -> Templates:
        return Templates(self.database)

    @cached_property
    def checker(self) -> Checker:
        shapes = {name: sender.capabilities for name, sender in self.senders.items()}
        return Checker(self.renderer, shapes, self.settings.templates.locales)

    @cached_property
    def recipients(self) -> Recipients:
        return Recipients(self.database)

    @cached_property
    def devices(self) -> Devices:
        return Devices(self.database, most=self.settings.audience.devices_max)

    @cached_property
    def topics(self) -> Topics:
        return Topics(self.database)

    @cached_property
    def tickets(self) -> TicketListing:
        return TicketListing(self.database)

    @cached_property
    def audit(self) -> Audit:
        return Audit(self.database)


def deps_of(request: Request) -> ApiDeps:
    """The dependencies of the application that serves this request."""
    return cast(ApiDeps, request.app.state.deps)


def caller_of(scope: AsgiScope, right: Scope) -> Principal:
    """Who calls, if they have that right. Raises `MissingScope`."""
    principal = cast(Principal, scope["principal"])
    if right not in principal.scopes:
        raise MissingScope(f"this call needs the scope {right.value}")
    return principal


# Coroutines, because FastAPI calls plain functions in a thread.
async def _deps(request: Request) -> ApiDeps:
    return deps_of(request)


async def _reader(request: Request) -> Principal:
    return caller_of(request.scope, Scope.READ)


async def _producer(request: Request) -> Principal:
    return caller_of(request.scope, Scope.SEND)


async def _manager(request: Request) -> Principal:
    return caller_of(request.scope, Scope.MANAGE)


async def _registrar(request: Request) -> Principal:
    """Who may register devices: a manager's right includes it, since devices are contacts."""
    try:
        return caller_of(request.scope, Scope.MANAGE)
    except MissingScope:
        return caller_of(request.scope, Scope.DEVICES)


async def _specialist(request: Request) -> Principal:
    return caller_of(request.scope, Scope.SUPPORT)


Deps = Annotated[ApiDeps, Depends(_deps)]
Producer = Annotated[Principal, Depends(_producer)]
Manager = Annotated[Principal, Depends(_manager)]
Registrar = Annotated[Principal, Depends(_registrar)]
Specialist = Annotated[Principal, Depends(_specialist)]
reading = Depends(_reader)
supporting = Depends(_specialist)
