"""The filters of templates that speak the reader's language: dates, numbers, money, plurals, lists.

Only the standard library, jinja2 and babel: this runs in the rendering process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.lists import format_list
from babel.numbers import format_currency
from jinja2 import TemplateRuntimeError, Undefined, pass_context
from jinja2.runtime import Context

PLURAL_CATEGORIES = ("zero", "one", "two", "few", "many", "other")
_DIGITS_MAX = 20


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency (ISO 4217), as params of the type `money` arrive in templates."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom a text is written. `now` is the time that relative times are told from."""

    locale: Locale
    zone: ZoneInfo
    now: datetime


@lru_cache(maxsize=200)
def locale_of(tag: str) -> Locale:
    """The formats of a language tag: its own, those of the language alone, or English."""
    parts = tag.replace("_", "-").split("-")
    for length in range(len(parts), 0, -1):
        try:
            return Locale.parse("-".join(parts[:length]), sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return Locale("en")


class Filters:
    """The filters, for the reader that is set before each rendering.

    They ask for the context, because Jinja2 would else work out constant ones once for all readers.
    """

    def __init__(self) -> None:
        self.reader = Reader(Locale("en"), ZoneInfo("UTC"), datetime.now(UTC))

    def all(self) -> dict[str, Any]:
        """By the names that templates use."""
        return {
            "date": self.shown_date,
            "time": self.shown_time,
            "datetime": self.shown_datetime,
            "number": self.number,
            "percent": self.percent,
            "money": self.money,
            "relative": self.relative,
            "plural": self.plural,
            "listed": self.listed,
        }

    @pass_context
    def shown_date(self, _: Context, value: Any, format: str = "medium") -> str:  # noqa: A002 - templates write format=
        moment = self._moment(value, "date")
        day = moment.date() if isinstance(moment, datetime) else moment
        return format_date(day, _pattern(format, "date"), self.reader.locale)

    @pass_context
    def shown_time(self, _: Context, value: Any, format: str = "short") -> str:  # noqa: A002
        moment = self._instant(value, "time")
        return format_time(moment, _pattern(format, "time"), self.reader.zone, self.reader.locale)

    @pass_context
    def shown_datetime(self, _: Context, value: Any, format: str = "medium") -> str:  # noqa: A002
        moment = self._instant(value, "datetime")
        return format_datetime(moment, _pattern(format, "datetime"), self.reader.zone, self.reader.locale)

    @pass_context
    def relative(self, _: Context, value: Any) -> str:
        """As "in 3 hours" and "2 days ago"; of a date, in whole days."""
        moment, now = self._moment(value, "relative"), self.reader.now
        if isinstance(moment, datetime):
            return format_timedelta(moment - now, add_direction=True, locale=self.reader.locale)
        days = moment - now.astimezone(self.reader.zone).date()
        return format_timedelta(days, "day", add_direction=True, locale=self.reader.locale)

    @pass_context
    def number(self, _: Context, value: Any, decimals: int | None = None) -> str:
        """Grouped, with the locale's decimal sign; up to three decimals unless their number is given."""
        return self._written(self.reader.locale.decimal_formats[None], value, decimals, "number")

    @pass_context
    def percent(self, _: Context, value: Any, decimals: int = 0) -> str:
        """0.25 is 25 %."""
        return self._written(self.reader.locale.percent_formats[None], value, decimals, "percent")

    @pass_context
    def money(self, _: Context, value: Any, currency: str | None = None) -> str:
        """Of a param of the type money, or of a number and a currency."""
        amount = as_money(value)
        if amount is None:
            if not isinstance(currency, str):
                raise TemplateRuntimeError(
                    'money takes money, or a number and a currency: {{ 5|money("EUR") }}'
                )
            amount = Money(_decimal(value, "money"), currency)
        return str(format_currency(amount.amount, amount.currency, locale=self.reader.locale))

    @pass_context
    def plural(self, _: Context, value: Any, **forms: str) -> str:
        """The form for that number in this language; `other` stands in for one that is missing."""
        if unknown := forms.keys() - set(PLURAL_CATEGORIES):
            raise TemplateRuntimeError(
                f"plural has no form {', '.join(sorted(unknown))}; accepted: {', '.join(PLURAL_CATEGORIES)}"
            )
        category = self.reader.locale.plural_form(_decimal(value, "plural"))
        form = forms.get(category, forms.get("other"))
        if form is None:
            raise TemplateRuntimeError(
                f"plural lacks the form {category}, which {self.reader.locale} has for {value}; {category} or other is needed"
            )
        return form

    @pass_context
    def listed(self, _: Context, value: Any, style: str = "and") -> str:
        """As "a, b and c"; `style`: and, or, unit."""
        styles: Mapping[str, Literal["standard", "or", "unit"]] = {
            "and": "standard",
            "or": "or",
            "unit": "unit",
        }
        if style not in styles:
            raise TemplateRuntimeError(f"listed has no style {style!r}; accepted: {', '.join(styles)}")
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise TemplateRuntimeError(f"listed takes a list, not {_kind(value)}")
        items = [self.text(item) for item in value]
        return format_list(items, styles[style], self.reader.locale)

    def text(self, value: Any) -> str:
        """A value as `{{ … }}` shows it without a filter."""
        if value is None:
            return ""
        if isinstance(value, str | int | float | Decimal | Undefined) and not isinstance(value, bool):
            return str(value)
        reader = self.reader
        if isinstance(value, datetime):
            return format_datetime(value, "medium", reader.zone, reader.locale)
        if isinstance(value, date):
            return format_date(value, "medium", reader.locale)
        if isinstance(value, Money):
            return str(format_currency(value.amount, value.currency, locale=reader.locale))
        raise TemplateRuntimeError(
            f"{_kind(value)} cannot be shown as text: use if, for, join, listed or a field of it"
        )

    def _written(self, pattern: Any, value: Any, decimals: Any, name: str) -> str:
        if decimals is not None and (not isinstance(decimals, int) or not 0 <= decimals <= _DIGITS_MAX):
            raise TemplateRuntimeError(f"{name} has 0 to {_DIGITS_MAX} decimals, not {decimals!r}")
        forced = None if decimals is None else (decimals, decimals)
        return str(pattern.apply(_decimal(value, name), self.reader.locale, force_frac=forced))

    def _moment(self, value: Any, name: str) -> date | datetime:
        """A date, or a time in the reader's zone; also from text, as it stands in lists and objects."""
        if isinstance(value, str):
            value = _parsed(value)
        if isinstance(value, datetime):
            return value.astimezone(self.reader.zone)
        if isinstance(value, date):
            return value
        raise TemplateRuntimeError(f"{name} takes a date or a time with an offset, not {_kind(value)}")

    def _instant(self, value: Any, name: str) -> datetime:
        moment = self._moment(value, name)
        if isinstance(moment, datetime):
            return moment
        raise TemplateRuntimeError(f"{name} takes a time, not a date alone")


def as_money(value: Any) -> Money | None:
    """Money as it is, or written as params write it; else None."""
    if isinstance(value, Money):
        return value
    if isinstance(value, dict) and value.keys() == {"amount", "currency"}:
        return Money(_decimal(value["amount"], "money"), str(value["currency"]))
    return None


def _decimal(value: Any, name: str) -> Decimal:
    if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool):
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and number.adjusted() <= _DIGITS_MAX:
            return number
    raise TemplateRuntimeError(f"{name} takes a number, not {_kind(value)}")


def _parsed(text: str) -> Any:
    try:
        if len(text) == len("2030-01-31"):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return text
    return text if moment.tzinfo is None else moment


_NAMED = ("short", "medium", "long", "full")
_LETTERS = {"date": "yMLdEecwWDFQqG", "time": "ahHkKmsSzZvVxXO", "datetime": "yMLdEecwWDFQqGahHkKmsSzZvVxXO"}


def _pattern(pattern: Any, name: str) -> Any:
    if pattern in _NAMED:
        return pattern
    if isinstance(pattern, str) and any(letter in _LETTERS[name] for letter in pattern):
        return pattern
    raise TemplateRuntimeError(
        f"{name} has no format {pattern!r}; accepted: {', '.join(_NAMED)}, or a CLDR pattern as d MMMM"
    )


def _kind(value: object) -> str:
    names = {
        "str": "the text ",
        "bool": "true or false",
        "NoneType": "nothing",
        "dict": "an object",
        "list": "a list",
    }
    kind = names.get(type(value).__name__, type(value).__name__)
    return f"{kind}{value[:40]!r}" if isinstance(value, str) else kind
