"""What the engine and the transports know of each other."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from service.contract import Bounds, FieldProblem
from service.delivery.events import Publisher
from service.delivery.intake import Accepted, Refusal, Submission
from service.triggers.events import Arrived, Taken

EVENTS = "notifications.events"
"""Exchange or topic of `NotificationEvent`s."""
REJECTED = "notifications.rejected"
"""Exchange or topic of `RejectedMessage`s."""
TICKETS = "notifications.tickets"
"""Exchange or topic of `TicketEvent`s."""


class Door(Protocol):
    """The part of the engine's intake that transports use. Every call returns after the commit."""

    bounds: Bounds

    async def accept_many(
        self, submissions: Sequence[Submission], *, wait: bool = False
    ) -> list[Accepted | Refusal]: ...

    async def reject(self, raw: bytes, *, source: str, problems: Sequence[FieldProblem]) -> UUID: ...


class EventDoor(Protocol):
    """Where events go that triggers wait for. Returns after the commit; with `wait` it waits out an outage."""

    async def accept_many(self, arrived: Sequence[Arrived], *, wait: bool = False) -> list[Taken]: ...


class Transport(Publisher, Protocol):
    """A broker: requests in, events out. Its outages are its own business; `ready` and `detail` tell of them."""

    detail: str
    """One line for people: what it does, or why it does not."""

    async def run(self) -> None:
        """Connect, consume and reconnect until `stop_intake`, `close` or cancellation. Never raises for a broker."""
        ...

    async def stop_intake(self) -> None:
        """Take no new messages; return when those under way are committed and acknowledged."""
        ...

    async def close(self) -> None:
        """Disconnect. What is not acknowledged stays with the broker."""
        ...
