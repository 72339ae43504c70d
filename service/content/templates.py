"""Templates as values: versions, the choice of a variant, and whether params fit."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import orjson

from service.content import queries
from service.contract import FieldProblem
from service.contract.fields import RFC_3339, channel_of
from service.db.database import Connection

ParamType = Literal["string", "integer", "number", "boolean", "datetime", "date", "money", "list", "object"]
Format = Literal["plain", "markdown", "html"]

_ACCEPTED: Mapping[ParamType, str] = {
    "string": "text",
    "integer": "a whole number, as 17",
    "number": "a number below 10²¹, as 12.5",
    "boolean": "true or false",
    "datetime": "RFC 3339 with an offset, as 2030-01-01T12:00:00Z",
    "date": "a date, as 2030-01-31",
    "money": 'an amount and a currency, as {"amount": "12.50", "currency": "EUR"}',
    "list": "a list",
    "object": "a JSON object",
}
_is_time = re.compile(RFC_3339).fullmatch
_is_date = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}").fullmatch
_is_currency = re.compile(r"[A-Z]{3}").fullmatch
_is_amount = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?").fullmatch
_BIGGEST = 1e21


@dataclass(frozen=True, slots=True)
class Param:
    """What a template asks its caller for. `example` is JSON of that type."""

    name: str
    type: ParamType
    required: bool = True
    example: Any = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """The words in one locale (`ru`, `en-US`), for one sender or, with None, for all others."""

    locale: str
    sender: str | None
    title: str
    body: str
    format: Format = "plain"


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """One version of a template. `id` is 0 while it is a draft."""

    id: int
    key: str
    number: int
    default_locale: str
    params: tuple[Param, ...]
    variants: tuple[Variant, ...]
    author: str = ""
    created_at: datetime | None = None

    @property
    def content(self) -> tuple[object, ...]:
        """What two versions with the same texts have in common."""
        return self.default_locale, self.params, self.variants


async def load_current(connection: Connection, keys: Iterable[str]) -> dict[str, TemplateVersion]:
    """The current version of each key; a key that is unknown or archived is left out. One statement."""
    rows = await connection.fetch(queries.LOAD_CURRENT, list(set(keys)))
    return {row["key"]: version_of(row) for row in rows}


async def load_versions(connection: Connection, ids: Iterable[int]) -> dict[int, TemplateVersion]:
    """Versions by their ids, those of archived templates too. One statement."""
    rows = await connection.fetch(queries.LOAD_VERSIONS, list(set(ids)))
    return {row["id"]: version_of(row) for row in rows}


def version_of(row: Mapping[str, Any]) -> TemplateVersion:
    """A row of the statements in `queries` as a value."""
    return TemplateVersion(
        id=row["id"],
        key=row["key"],
        number=row["number"],
        default_locale=row["default_locale"],
        params=tuple(Param(**param) for param in orjson.loads(row["params"])),
        variants=tuple(Variant(**variant) for variant in orjson.loads(row["variants"])),
        author=row["author"],
        created_at=row["created_at"],
    )


def choose(version: TemplateVersion, locale: str, sender: str) -> Variant:
    """The variant for a person and a sender.

    The locale itself, then without its region and script, then the template's default; within each
    the sender's own variant first, then that of its plain name. Raises `LookupError` when the default locale has no variant for
    that sender, which no saved version lacks.
    """
    for tag in (*_fallbacks(locale), *_fallbacks(version.default_locale)):
        found = [variant for variant in version.variants if variant.locale.lower() == tag]
        for name in (sender, channel_of(sender), None):
            for variant in found:
                if variant.sender == name:
                    return variant
    raise LookupError(f"{version.key} has no variant in {version.default_locale} for {sender}")


def formats_of(variant: Variant, locale: str) -> str:
    """The locale whose plurals and formats go with a variant: the person's, when it is one of the variant's language.

    Somebody who gets the default language gets its dates too.
    """
    return locale if variant.locale.lower() in _fallbacks(locale) else variant.locale


def _fallbacks(locale: str) -> Sequence[str]:
    parts = locale.lower().replace("_", "-").split("-")
    return ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]


def check_params(version: TemplateVersion, params: Mapping[str, Any]) -> list[FieldProblem]:
    """What is wrong with these params, each by its name, as `params.order`. Null is the same as left out."""
    problems = []
    for param in version.params:
        value = params.get(param.name)
        if value is None:
            if param.required:
                problems.append(_problem(param.name, "missing", f"is required; accepted: {accepted(param)}"))
        elif not fits(param.type, value):
            problems.append(
                _problem(param.name, f"not_{param.type}", f"is not {param.type}; accepted: {accepted(param)}")
            )
    declared = [param.name for param in version.params]
    for name in params.keys() - set(declared):
        known = ", ".join(declared) or "none"
        problems.append(_problem(name, "undeclared", f"is not a param of {version.key}; accepted: {known}"))
    return sorted(problems, key=lambda problem: problem.field)


def _problem(name: str, code: str, text: str) -> FieldProblem:
    return FieldProblem(field=f"params.{name[:80]}", problem=text, code=code)


def accepted(param: Param) -> str:
    """What a param takes, in words."""
    return _ACCEPTED[param.type]


def fits(kind: ParamType, value: object) -> bool:
    """Whether a JSON value is of that type."""
    return _FITS[kind](value)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _BIGGEST  # false for NaN


def _is_whole(value: object) -> bool:
    return _is_number(value) and value == int(value)  # type: ignore[call-overload]


def _is_datetime(value: object) -> bool:
    return isinstance(value, str) and bool(_is_time(value)) and _parses(datetime, value.upper())


def _is_day(value: object) -> bool:
    return isinstance(value, str) and bool(_is_date(value)) and _parses(date, value)


def _parses(kind: type[date], text: str) -> bool:
    try:
        kind.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_money(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"amount", "currency"}:
        return False
    amount, currency = value["amount"], value["currency"]
    if not isinstance(currency, str) or not _is_currency(currency):
        return False
    return bool(_is_amount(amount)) if isinstance(amount, str) else _is_number(amount)


_FITS: Mapping[ParamType, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_whole,
    "number": _is_number,
    "datetime": _is_datetime,
    "date": _is_day,
    "money": _is_money,
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
