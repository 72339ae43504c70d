"""What becomes of an arrived message, whatever broker it came from."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from service.contract import ContractError, FieldProblem, parse_event, parse_request
from service.delivery.intake import Refusal, Submission
from service.transports.base import Door, EventDoor
from service.triggers.events import Arrived

log = logging.getLogger(__name__)

INSIST_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Before a message that the engine cannot digest is buried."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it came. `dedup_key`: the broker's own identity of it, the same at every redelivery."""

    raw: bytes
    source: str
    dedup_key: str | None = None


Bury = Callable[[Arrival, str], Awaitable[None]]
"""Put a message into the broker's dead-letter place, with the reason; returns when the broker has it."""
Admit = Callable[[Sequence[Arrival]], Awaitable[None]]


async def take(door: Door, arrivals: Sequence[Arrival], bury: Bury) -> None:
    """Return when every arrival is safe: committed as a notification or as a rejection.

    See `take_safely` for what else may happen to it.
    """
    await take_safely(partial(_admit, door), arrivals, bury)


async def take_events(door: Door, events: EventDoor, arrivals: Sequence[Arrival], bury: Bury) -> None:
    """The same for events: each is taken in, or is a rejection."""
    await take_safely(partial(_admit_events, door, events), arrivals, bury)


async def take_safely(admit: Admit, arrivals: Sequence[Arrival], bury: Bury) -> None:
    """Return when `admit` has made every arrival safe.

    An outage of the database only makes this wait. A message that the engine fails on (a bug) is
    tried again alone and then buried, so that it neither loops nor holds up the others.
    """
    try:
        await admit(arrivals)
    except Exception:
        log.exception("%d messages could not be taken in, trying each alone", len(arrivals))
        for arrival in arrivals:
            await _insist(admit, arrival, bury)


async def _admit(door: Door, arrivals: Sequence[Arrival]) -> None:
    refused: list[tuple[Arrival, Sequence[FieldProblem]]] = []
    submitted: list[Arrival] = []
    submissions: list[Submission] = []
    for arrival in arrivals:
        try:
            request = parse_request(arrival.raw, door.bounds)
        except ContractError as error:
            refused.append((arrival, error.problems))
        else:
            submitted.append(arrival)
            submissions.append(Submission(request, arrival.source, arrival.dedup_key))
    if submissions:
        answers = await door.accept_many(submissions, wait=True)
        for arrival, answer in zip(submitted, answers, strict=True):
            if isinstance(answer, Refusal):
                refused.append((arrival, answer.problems))
    await _reject(door, refused)


async def _admit_events(door: Door, events: EventDoor, arrivals: Sequence[Arrival]) -> None:
    refused: list[tuple[Arrival, Sequence[FieldProblem]]] = []
    arrived: list[Arrived] = []
    for arrival in arrivals:
        try:
            arrived.append(Arrived(parse_event(arrival.raw, door.bounds), arrival.dedup_key))
        except ContractError as error:
            refused.append((arrival, error.problems))
    if arrived:
        await events.accept_many(arrived, wait=True)
    await _reject(door, refused)


async def _reject(door: Door, refused: Sequence[tuple[Arrival, Sequence[FieldProblem]]]) -> None:
    await asyncio.gather(*(door.reject(a.raw, source=a.source, problems=problems) for a, problems in refused))


async def _insist(admit: Admit, arrival: Arrival, bury: Bury) -> None:
    reason = ""
    for pause in INSIST_PAUSES_SECONDS:
        await asyncio.sleep(pause)
        try:
            return await admit((arrival,))
        except Exception as error:  # noqa: BLE001 - a bug of any kind; the first was logged in full
            reason = f"{type(error).__name__}: {error}"
    await bury(arrival, reason)
    log.error("the message of %s was put aside as a dead letter: %s", arrival.source, reason)
    return None
