"""What is wrong with a message, in words that name the field, its problem and what is accepted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from service.contract.fields import (
    CATEGORY_MAX_CHARS,
    HTTPS,
    ID_MAX_CHARS,
    LINE,
    NOT_BLANK,
)
from service.contract.request import (
    CHAIN_MAX_SENDERS,
    ESCALATE_MAX_SECONDS,
    ESCALATE_MIN_SECONDS,
    INCOMPLETE,
    NAME_MAX_CHARS,
    Attachment,
    Button,
    NotificationRequest,
    Target,
)


class FieldProblem(BaseModel):
    """What is wrong with one field, and what is accepted in its place."""

    field: str = Field(description="Path of the field, as `buttons.0.url`; empty: the message as a whole")
    problem: str
    code: str = Field(description="Stable word for the kind of problem")


class ContractError(ValueError):
    """A message that does not follow the contract; `problems` says where and how."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field or 'message'}: {p.problem}" for p in self.problems))


@dataclass(frozen=True, slots=True)
class Wording:
    """How to speak of a message's fields.

    `accepted`: what a field takes, by its name. `models`: which fields an object has, by the name
    of the field it is in ("" for the message itself).
    """

    accepted: Mapping[str, str]
    models: Mapping[str, type[BaseModel]]


_TIME = "RFC 3339 with an offset, as 2030-01-01T12:00:00Z"
_TEXT = "text with at least one visible character"
_REQUEST_WORDING = Wording(
    accepted={
        "": "a JSON object",
        "title": "text",
        "body": _TEXT,
        "sender": f'a sender, as "TG", or a list of 1 to {CHAIN_MAX_SENDERS} of them',
        "id": f"1 to {ID_MAX_CHARS} characters on one line",
        "to": 'an address, as "123456789", or {"addresses": {"TG": "123456789"}}, {"recipient": "42"}, {"topic": "news"}',
        "recipient": f"1 to {ID_MAX_CHARS} characters on one line, without a slash",
        "topic": "letters, digits, dots, dashes and underscores",
        "template": "the key of a template, as order-paid",
        "params": "a JSON object",
        "locale": "a language, as ru, en-US, zh-Hant",
        "escalate_after": f"seconds, from {ESCALATE_MIN_SECONDS} to {ESCALATE_MAX_SECONDS}",
        "addresses": 'an object of senders and addresses, as {"TG": "123456789"}',
        "format": "plain, markdown, html",
        "priority": "urgent, high, normal, bulk",
        "send_at": _TIME,
        "expires_at": _TIME,
        "buttons": 'a list of {"text": "Open", "url": "https://…"}',
        "attachments": 'a list of {"kind": "photo", "url": "https://…"}',
        "kind": "photo, document",
        "text": _TEXT,
        "url": "a web address, as https://example.com/page",
        "name": f"1 to {NAME_MAX_CHARS} characters on one line",
        "category": f"1 to {CATEGORY_MAX_CHARS} characters on one line",
        "on_unknown": "resend, hold",
        "metadata": "a JSON object",
        "items": "a list of notifications",
    },
    models={"": NotificationRequest, "buttons": Button, "attachments": Attachment, "to": Target},
)

_SHOWN_PROBLEMS = 20
_SHOWN_CHARS = 80
_SHOWN_BITS = 256
_PROBLEM_TEXTS = {
    "missing": "is required",
    "string_type": "is not text",
    "string_too_short": "is empty",
    "too_short": "is empty",
    "tuple_type": "is not a list",
    "list_type": "is not a list",
    "dict_type": "is not an object",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "literal_error": "is not one of the known words",
    "enum": "is not one of the known words",
}
_PATTERN_TEXTS = {NOT_BLANK: "is blank", LINE: "has control characters", HTTPS: "is not a web address"}
_TIME_ERRORS = ("datetime_", "timezone_", "date_")
_UNIONS = frozenset({"sender", "to"})
_TAGGED_UNIONS = frozenset({"schedule"})
_WRONG_KINDS = frozenset({"string_type", "tuple_type", "model_type"})

Path = tuple[str | int, ...]


def problems_of(error: ValidationError) -> tuple[FieldProblem, ...]:
    """A pydantic error in the contract's words: the field, its value's problem, what is accepted."""
    return field_problems(error.errors(include_url=False))


def field_problems(
    details: Iterable[ErrorDetails], wording: Wording = _REQUEST_WORDING
) -> tuple[FieldProblem, ...]:
    """The same from pydantic's list of errors, 20 at most."""
    located = [(_path(detail["loc"], detail), detail) for given in details for detail in _each(given)]
    # A value that fits no branch of a union fails each of them: what counts is the branch of its kind.
    judged = {path[0] for path, detail in located if path and not _is_wrong_kind(path, detail)}
    found: dict[str, FieldProblem] = {}
    for path, detail in located:
        if not (_is_wrong_kind(path, detail) and path[0] in judged):
            problem = _problem_of(path, detail, wording)
            found.setdefault(problem.field, problem)
    return tuple(found.values())[:_SHOWN_PROBLEMS]


def _each(detail: ErrorDetails) -> Iterable[ErrorDetails]:
    """One error for each of the fields that are missing together."""
    if detail["type"] != INCOMPLETE:
        return (detail,)
    return [
        {**detail, "type": "missing", "loc": (*detail["loc"], field), "ctx": {}}
        for field in detail["ctx"]["fields"]
    ]


def _is_wrong_kind(path: Path, detail: ErrorDetails) -> bool:
    return len(path) == 1 and path[0] in _UNIONS and detail["type"] in _WRONG_KINDS


def _path(loc: Path, detail: ErrorDetails) -> Path:
    """The field's path as its producer wrote it: without pydantic's names for a union's branches."""
    if not loc:
        field = detail.get("ctx", {}).get("field")
        return (field,) if field else ()
    if loc[0] in _UNIONS | _TAGGED_UNIONS:
        loc = loc[:1] + loc[2:]
    return tuple(step for step in loc if step != "[key]")


def _problem_of(path: Path, detail: ErrorDetails, wording: Wording) -> FieldProblem:
    field = ".".join(str(step)[:_SHOWN_CHARS] for step in path)
    code = "wrong_kind" if _is_wrong_kind(path, detail) else detail["type"]
    text = _text(path, detail, wording)
    value = detail.get("input")
    if isinstance(value, str | int | float) and path and code not in {"missing", "extra_forbidden"}:
        text = f"{text} (got {_shown(value)})"
    return FieldProblem(field=field, code=code, problem=text)


def _shown(value: str | float) -> str:
    """The beginning of a value. Python does not even turn the hugest integers into text."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return "a huge number"
    shown = repr(value[: _SHOWN_CHARS + 1] if isinstance(value, str) else value)
    return shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + "…"


def _text(path: Path, detail: ErrorDetails, wording: Wording) -> str:
    code, context = detail["type"], detail.get("ctx", {})
    if code == "json_invalid":
        return f"is not JSON ({context['error']}); accepted: UTF-8 JSON, an object"
    if code == "extra_forbidden":
        return f"is not a field here; accepted: {_fields_beside(path, wording)}"
    if code.startswith("string_too_long") or (code == "too_long" and "max_length" in context):
        return f"is too long; accepted: at most {context['max_length']}"
    if code.startswith(_TIME_ERRORS):
        return f"is not a time with an offset from UTC; accepted: {_TIME}"
    problem = _PROBLEM_TEXTS.get(code) or _PATTERN_TEXTS.get(context.get("pattern", ""))
    return f"{problem}; accepted: {_accepted(path, wording)}" if problem else detail["msg"]


def _names(path: Path) -> Iterable[str]:
    return (step for step in reversed(("", *path)) if isinstance(step, str))


def _accepted(path: Path, wording: Wording) -> str:
    return next(
        (wording.accepted[name] for name in _names(path) if name in wording.accepted), "see the schema"
    )


def _fields_beside(path: Path, wording: Wording) -> str:
    model = wording.models.get(next(iter(_names(path[:-1]))))
    return ", ".join(model.model_fields) if model else "see the schema"
