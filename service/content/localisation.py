"""The service's own words in people's languages: gettext catalogues, read from their .po files.

A language is a folder, `<locale>/LC_MESSAGES/notifications.po`. English is in the code itself.
"""

from collections.abc import Iterable
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

DOMAIN = "notifications"
ENGLISH = "en"
_HEADER_MAX_CHARS = 1_000


def locales_folder() -> Path:
    """Where the catalogues are: inside an installed package, or beside it in the repository."""
    package = Path(__file__).parents[1]
    packaged = package / "locales"
    return packaged if packaged.is_dir() else package.parent / "locales"


def read_catalogue(folder: Path, language: str) -> Catalog:
    """The catalogue of a language as its translators wrote it."""
    with (folder / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        return read_po(file, locale=language.replace("-", "_"), domain=DOMAIN)


class Localisation:
    """All catalogues of a folder, read once."""

    def __init__(self, folder: Path) -> None:
        found = sorted(path.parents[1].name for path in folder.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))
        self._translators: dict[str, NullTranslations] = {ENGLISH: NullTranslations()}
        self._translators |= {language: _compiled(read_catalogue(folder, language)) for language in found}
        self._by_tag = {language.lower(): language for language in self._translators}
        self._negotiated = lru_cache(maxsize=1_000)(self._negotiate)

    @property
    def languages(self) -> tuple[str, ...]:
        """Their tags, as `en`, `ru`."""
        return tuple(self._translators)

    def translator(self, locale: str) -> NullTranslations:
        """The words of a locale, of its language alone, or English. Use its `gettext` and `ngettext`."""
        return self._translators[self.language(locale) or ENGLISH]

    def language(self, locale: str) -> str | None:
        """The tag of the catalogue for a locale; None: there is none, and English stands in."""
        parts = locale.lower().replace("_", "-").split("-")
        tags = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
        return next((self._by_tag[tag] for tag in tags if tag in self._by_tag), None)

    def negotiate(self, accept_language: str) -> str:
        """The language to answer in, from the header of that name; English when it names none of ours."""
        return self._negotiated(accept_language[:_HEADER_MAX_CHARS])

    def _negotiate(self, accept_language: str) -> str:
        for tag in _by_preference(accept_language.split(",")):
            found = ENGLISH if tag == "*" else self.language(tag)
            if found is not None:
                return found
        return ENGLISH


def _by_preference(ranges: Iterable[str]) -> list[str]:
    weighed = []
    for part in ranges:
        tag, _, weight = part.strip().partition(";")
        quality = _quality(weight)
        if tag and quality > 0:
            weighed.append((-quality, tag.strip()))
    return [tag for _, tag in sorted(weighed, key=lambda item: item[0])]


def _quality(weight: str) -> float:
    name, _, value = weight.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _compiled(catalogue: Catalog) -> NullTranslations:
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)
