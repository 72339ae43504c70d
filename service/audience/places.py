"""Languages and time zones: which there are, and their one way of writing."""

from functools import cache
from zoneinfo import available_timezones

from babel import Locale, UnknownLocaleError
from babel.localedata import locale_identifiers

_NO_PLACES = {"localtime", "Factory"}
_NO_LANGUAGES = {"root"}


@cache
def zones() -> frozenset[str]:
    """The names of all time zones, as `Europe/Moscow`."""
    return frozenset(available_timezones() - _NO_PLACES)


@cache
def languages() -> frozenset[str]:
    """The codes of all languages in which dates and numbers can be written, as `ru`."""
    return frozenset(identifier.partition("_")[0] for identifier in locale_identifiers()) - _NO_LANGUAGES


def locale_pattern() -> str:
    """The locales that are accepted, as a regular expression for a JSON schema."""
    return f"^({'|'.join(sorted(languages()))})(-[A-Z][a-z]{{3}})?(-([A-Z]{{2}}|[0-9]{{3}}))?$"


@cache
def canonical_locale(text: str) -> str | None:
    """A locale as BCP 47 writes it, as `ru`, `en-US`, `zh-Hant`; None: no such language is known.

    `en_us` and `EN-US` are `en-US`; a country or script that the language is not known in is left out.
    """
    subtags = text.replace("_", "-").split("-")
    if subtags[0].lower() not in languages():
        return None
    while subtags:
        try:
            locale = Locale.parse("-".join(subtags), sep="-")
        except (UnknownLocaleError, ValueError):
            subtags.pop()
        else:
            return "-".join(filter(None, (locale.language, locale.script, locale.territory)))
    return None
