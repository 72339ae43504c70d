"""What an event says to a rule: whether it fits, what it belongs to, and what is taken from it. Pure."""

import operator
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from service.contract import Bounds, DomainEvent, NotificationRequest, parse_item
from service.triggers.rules import Action, Condition

MISSING: Any = object()
_ORDERS = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


class MissingValueError(LookupError):
    """The event lacks what the rule takes from it."""


def value_at(event: DomainEvent, path: str) -> Any:
    """What is at a path, as `data.order.id`, or `MISSING`."""
    root, *steps = path.split(".")
    value = getattr(event, root)
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return MISSING
    return MISSING if value is None and not steps else value


def holds(conditions: Iterable[Condition], event: DomainEvent) -> bool:
    """Whether all of them do."""
    return all(_holds(condition, value_at(event, condition.path)) for condition in conditions)


def _holds(condition: Condition, value: Any) -> bool:
    wanted = condition.value
    match condition.op:
        case "exists":
            return (value is not MISSING) is wanted
        case "eq":
            return _same(value, wanted)
        case "ne":
            return not _same(value, wanted)
        case "in":
            return isinstance(wanted, list) and any(_same(value, one) for one in wanted)
        case _:
            return _in_order(condition.op, value, wanted)


def _same(value: Any, wanted: Any) -> bool:
    # In JSON true is not 1.
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)


def _in_order(op: str, value: Any, wanted: Any) -> bool:
    numbers = _is_number(value) and _is_number(wanted)
    if not numbers and not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    return bool(_ORDERS[op](value, wanted))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def correlation(by: Sequence[str], event: DomainEvent) -> str | None:
    """The same for two events that have the same values at these paths; None: this one lacks some."""
    values = [value_at(event, path) for path in by]
    if MISSING in values:
        return None
    return blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def request_of(action: Action, event: DomainEvent | None, bounds: Bounds) -> NotificationRequest:
    """The notification that a rule makes. Raises `ContractError` or `MissingValueError`."""
    body = dict(action.notification or {})
    if action.to_from is not None:
        body["to"] = {"recipient": _text(_needed(action.to_from, event))}
    if action.params_from:
        taken = {name: _needed(path, event) for name, path in action.params_from.items()}
        body["params"] = {**body.get("params", {}), **taken}
    return parse_item(body, bounds)


def _needed(path: str, event: DomainEvent | None) -> Any:
    value = MISSING if event is None else value_at(event, path)
    if value is MISSING:
        raise MissingValueError(f"the event has no {path}")
    return value


def _text(value: Any) -> Any:
    return str(value) if _is_number(value) else value
