"""What no schema can tell about a rule: whether its parts go together. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from service.audience.places import zones
from service.contract import Bounds, ContractError, FieldProblem, parse_item
from service.contract import problems_of as problems_of_error
from service.mailings.drafts import parse_draft, request_of
from service.triggers.rules import (
    Action,
    Condition,
    CronSchedule,
    OnEvent,
    RecipientCron,
    TriggerDraft,
)
from service.triggers.timing import parse_cron

OURS = ("id", "send_at", "expires_at")
"""Fields of a notification that a rule, which makes many, cannot have."""
_SOMEBODY = {"recipient": "somebody"}


def problems_of(draft: TriggerDraft, bounds: Bounds) -> list[FieldProblem]:
    """Everything that is wrong with it; empty: it can be kept."""
    return [*_schedule(draft), *_action(draft, bounds)]


def _problem(field: str, problem: str, code: str = "conflict") -> FieldProblem:
    return FieldProblem(field=field, problem=problem, code=code)


def _schedule(draft: TriggerDraft) -> Iterator[FieldProblem]:
    schedule = draft.schedule
    if draft.start_at is not None and draft.end_at is not None and draft.end_at <= draft.start_at:
        yield _problem("end_at", "is not after `start_at`; accepted: a later time")
    if isinstance(schedule, CronSchedule | RecipientCron):
        try:
            parse_cron(schedule.expression)
        except ValueError as error:
            yield _problem("schedule.expression", str(error), "invalid_cron")
    if isinstance(schedule, CronSchedule) and schedule.zone not in zones():
        yield _problem("schedule.zone", "is no time zone; accepted: a name as Europe/Moscow", "unknown_zone")
    if isinstance(schedule, OnEvent):
        yield from _conditions("schedule.conditions", schedule.conditions)
        if schedule.cancel is not None:
            yield from _conditions("schedule.cancel.conditions", schedule.cancel.conditions)
            if not schedule.delay_seconds:
                yield _problem(
                    "schedule.cancel", "has no time in which to cancel; accepted: `delay_seconds` too"
                )


def _conditions(field: str, conditions: Sequence[Condition]) -> Iterator[FieldProblem]:
    for number, condition in enumerate(conditions):
        accepted = _accepted(condition)
        if accepted is not None:
            yield _problem(
                f"{field}.{number}.value", f"does not go with `{condition.op}`; accepted: {accepted}"
            )


def _accepted(condition: Condition) -> str | None:
    value = condition.value
    match condition.op:
        case "in":
            return None if isinstance(value, tuple | list) else "a list of values"
        case "exists":
            return None if isinstance(value, bool) else "true or false"
        case "gt" | "ge" | "lt" | "le":
            plain = isinstance(value, int | float | str) and not isinstance(value, bool)
            return None if plain else "a number or text"
    return "one value" if isinstance(value, tuple | list) else None


def _action(draft: TriggerDraft, bounds: Bounds) -> Iterator[FieldProblem]:
    action = draft.action
    if (action.notification is None) == (action.mailing is None):
        yield _problem("action", "has to make one thing; accepted: either `notification` or `mailing`")
        return
    if not isinstance(draft.schedule, OnEvent) and (action.to_from or action.params_from):
        yield _problem("action", "takes values from an event; accepted: so with the kind `event` only")
    if action.mailing is not None:
        if action.to_from or action.params_from:
            yield _problem("action", "takes values for a mailing; accepted: so with a notification only")
        yield from _mailing(action.mailing, bounds)
    elif isinstance(draft.schedule, RecipientCron):
        yield _problem(
            "action.notification", "has no audience whose zones count; accepted: `mailing` with this kind"
        )
    else:
        yield from _notification(action, bounds)


def _mailing(body: dict[str, Any], bounds: Bounds) -> Iterator[FieldProblem]:
    try:
        request_of(parse_draft(body), bounds)
    except ValidationError as error:
        yield from _within("action.mailing", problems_of_error(error))
    except ContractError as error:
        yield from _within("action.mailing", error.problems)


def _notification(action: Action, bounds: Bounds) -> Iterator[FieldProblem]:
    body = dict(action.notification or {})
    for field in OURS:
        if body.pop(field, None) is not None:
            yield _problem(f"action.notification.{field}", "is each firing's own; accepted: without it")
    if action.to_from is not None:
        if "to" in body:
            yield _problem("action.to_from", "stands in the place of `to`; accepted: one of them")
        body["to"] = _SOMEBODY
    if action.params_from and not isinstance(body.get("params", {}), dict):
        return
    if action.params_from and "template" not in body:
        yield _problem("action.params_from", "is for a template; accepted: none without `template`")
    try:
        parse_item(body, bounds)
    except ContractError as error:
        yield from _within("action.notification", error.problems)


def _within(place: str, problems: Iterable[FieldProblem]) -> Iterator[FieldProblem]:
    for problem in problems:
        field = f"{place}.{problem.field}".rstrip(".")
        yield problem.model_copy(update={"field": field})
