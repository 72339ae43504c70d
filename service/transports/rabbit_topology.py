"""What the service needs in RabbitMQ, and what it does when something of it exists in another form."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelPreconditionFailed

from service.transports.base import EVENTS, REJECTED, TICKETS

DELIVERY_LIMIT = 100
"""Deliveries of one message before RabbitMQ itself puts it aside. Restarts of the service count too."""

_DISAGREES = (ChannelPreconditionFailed, ChannelAccessRefused, ChannelLockedResource)
_Declare = Callable[[AbstractChannel, bool], Awaitable[object]]


def dead_exchange(queue: str) -> str:
    """The fanout exchange of messages that were put aside; they wait in the queue `<queue>.dead`."""
    return f"{queue}.dlx"


async def declare(connection: AbstractConnection, queues: Sequence[str]) -> list[str]:
    """Make what is missing. The answer says, a line each, what exists in another form and is used as it is."""
    steps: list[tuple[str, _Declare]] = [
        *(step for queue in queues for step in _queue_with_dead_letters(queue)),
        (f"the exchange {EVENTS!r}", _exchange(EVENTS, "topic")),
        (f"the exchange {REJECTED!r}", _exchange(REJECTED, "topic")),
        (f"the exchange {TICKETS!r}", _exchange(TICKETS, "topic")),
    ]
    return [warning for what, step in steps if (warning := await _declare_or_use(connection, what, step))]


def _queue_with_dead_letters(queue: str) -> list[tuple[str, _Declare]]:
    return [
        (f"the exchange {dead_exchange(queue)!r}", _exchange(dead_exchange(queue), "fanout")),
        (f"the queue {queue + '.dead'!r}", _dead_queue(queue)),
        (f"the queue {queue!r}", _queue(queue)),
    ]


async def _declare_or_use(connection: AbstractConnection, what: str, step: _Declare) -> str | None:
    # A channel of its own: RabbitMQ closes the one on which it disagrees.
    try:
        async with connection.channel() as channel:
            await step(channel, False)
    except _DISAGREES as error:
        async with connection.channel() as channel:
            await step(channel, True)
        return (
            f"{what} exists in another form and is used as it is ({error}); "
            "for the service's own form let it run empty, delete it and restart the service"
        )
    return None


def _exchange(name: str, kind: str) -> _Declare:
    async def step(channel: AbstractChannel, passive: bool) -> None:
        await channel.declare_exchange(name, kind, durable=True, passive=passive)

    return step


def _queue(name: str) -> _Declare:
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": dead_exchange(name),
    }

    async def step(channel: AbstractChannel, passive: bool) -> None:
        await channel.declare_queue(name, durable=True, passive=passive, arguments=arguments)

    return step


def _dead_queue(queue: str) -> _Declare:
    async def step(channel: AbstractChannel, passive: bool) -> None:
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        kept = await channel.declare_queue(
            f"{queue}.dead", durable=True, passive=passive, arguments=arguments
        )
        if not passive:
            await kept.bind(dead_exchange(queue))

    return step
