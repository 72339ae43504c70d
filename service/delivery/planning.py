"""Deciding where a request goes. Pure: facts in, plan out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from service.contract import Addresses, FieldProblem, NotificationRequest
from service.senders.base import AddressError, BaseSender

SPACING_MARGIN = 1.03
"""A little wider than the limit's own, so that an uneven network stays within it."""

RefusalCode = Literal["unknown_sender", "sender_off", "invalid_address", "no_address", "id_conflict"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is well-formed but cannot be taken."""

    code: RefusalCode
    problems: tuple[FieldProblem, ...]


def refuse(code: RefusalCode, field: str, problem: str) -> Refusal:
    return Refusal(code, (FieldProblem(field=field, problem=problem, code=code),))


@dataclass(frozen=True, slots=True)
class Hop:
    """One link of the fallback chain. `spacing`: least seconds between two messages with that `pacing_key`."""

    sender: str
    address: str
    spacing: float
    pacing_key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The chain in the order in which it is tried."""

    route: tuple[Hop, ...]


def plan(request: NotificationRequest, senders: Mapping[str, BaseSender]) -> Plan | Refusal:
    """Resolve the senders and their addresses, or say which field stands in the way."""
    route: list[Hop] = []
    for name in request.chain:
        hop = _hop(request, name, senders)
        if isinstance(hop, Refusal):
            return hop
        route.append(hop)
    return Plan(tuple(route))


def _hop(request: NotificationRequest, name: str, senders: Mapping[str, BaseSender]) -> Hop | Refusal:
    sender = senders.get(name)
    if sender is None:
        known = ", ".join(sorted(senders))
        return refuse("unknown_sender", "sender", f"{name!r} is not a sender; accepted: {known}")
    if sender.off_reason is not None:
        return refuse("sender_off", "sender", f"{name} is off: {sender.off_reason}")
    given = request.to.addresses.get(name) if isinstance(request.to, Addresses) else request.to
    address = given or sender.default_address
    if address is None:
        return refuse("no_address", "to", f"is required: {name} has no default address")
    try:
        address = sender.check_address(address)
    except AddressError as error:
        return refuse("invalid_address", "to", f"{address!r} is no address for {name}: {error}")
    spacing = sender.address_spacing(address) * SPACING_MARGIN
    return Hop(name, address, spacing, sender.pacing_key(address))
