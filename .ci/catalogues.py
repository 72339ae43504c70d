"""Keeps the catalogues with the code: `update` extracts the texts and merges them, `check` says what is wrong.

Run by `make locales` and `make lint`.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.plurals import get_plural
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parents[1]
DOMAIN = "notifications"
_KEYWORDS = {"gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2), "N_": None}
_PLACEHOLDER = re.compile(r"{(\w*)")
_CHANGING = re.compile(
    rb'^"(Project-Id-Version|Report-Msgid-Bugs-To|POT-Creation-Date|PO-Revision-Date|Generated-By|Last-Translator|Language-Team): .*\n',
    re.MULTILINE,
)
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def extracted() -> Catalog:
    """Every text of the service: the calls of gettext, and the titles of errors."""
    catalogue = Catalog(project=DOMAIN, copyright_holder="", fuzzy=False, creation_date=_EPOCH)
    catalogue.header_comment = "# The texts of the service. Made by `make locales`; see docs/translating.md."
    calls = extract_from_dir(
        ROOT / "service",
        [("**.py", "python")],
        keywords=_KEYWORDS,
        comment_tags=("Translators:",),
        strip_comment_tags=True,
    )
    for path, _, text, comments, context in sorted(calls, key=lambda call: (str(call[0]), call[1])):
        catalogue.add(text, None, [(f"service/{path}", None)], auto_comments=comments, context=context)
    for title in _error_titles():
        catalogue.add(
            title, None, [("service/errors.py", None)], auto_comments=["Title of an error over HTTP"]
        )
    return catalogue


def _error_titles() -> Iterator[str]:
    sys.path.insert(0, str(ROOT))
    waiting = [importlib.import_module("service.errors").DomainError]
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        if "title" in vars(kind):
            yield kind.title


def languages(folder: Path) -> list[str]:
    """The tags of the catalogues in a folder."""
    return sorted(path.parents[1].name for path in folder.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def update(folder: Path) -> None:
    """Write the template and merge it into every catalogue; a folder without one gets one."""
    template = extracted()
    (folder / f"{DOMAIN}.pot").write_bytes(written(template))
    tags = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("_")]
    for tag in tags:
        file = _file(folder, tag)
        catalogue = (
            _read(folder, tag) if file.exists() else Catalog(locale=tag.replace("-", "_"), fuzzy=False)
        )
        catalogue.header_comment = (
            f"# The service in {catalogue.locale.english_name}. See docs/translating.md."
        )
        catalogue.update(extracted(), no_fuzzy_matching=True, update_header_comment=False)
        catalogue.obsolete.clear()
        if tag == "en":
            _fill_english(catalogue)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(written(catalogue))


def written(catalogue: Catalog) -> bytes:
    """A catalogue as its file has it: without what changes when no text does."""
    out = BytesIO()
    write_po(out, catalogue, width=110, sort_output=True, include_lineno=False, ignore_obsolete=True)
    return _CHANGING.sub(b"", out.getvalue())


def check(folder: Path) -> list[str]:
    """Everything that is wrong, a line each."""
    template = extracted()
    pot = folder / f"{DOMAIN}.pot"
    stale = not pot.exists() or pot.read_bytes() != written(template)
    wrong = [f"{pot.name}: is stale: make locales"] if stale else []
    for tag in languages(folder):
        wrong += (f"{tag}: {problem}" for problem in _check_language(_read(folder, tag), template))
    return wrong


def _check_language(catalogue: Catalog, template: Catalog) -> Iterator[str]:
    known = {_key(message): message for message in catalogue if message.id}
    wanted = {_key(message): message for message in template if message.id}
    right = get_plural(catalogue.locale)
    if catalogue.num_plurals != right.num_plurals:
        yield f"Plural-Forms has {catalogue.num_plurals} forms; the language has {right.num_plurals}"
    for key in known.keys() - wanted.keys():
        yield f"{key[1]!r} is no text of the service any more: make locales"
    for key, message in wanted.items():
        found = known.get(key)
        if found is None:
            yield f"{key[1]!r} is missing: make locales"
        else:
            yield from _check_message(found, message, right.num_plurals)


def _check_message(found: Message, message: Message, plurals: int) -> Iterator[str]:
    name = repr(_key(message)[1])
    forms = found.string if isinstance(found.string, tuple | list) else (found.string,)
    if found.fuzzy:
        yield f"{name} is fuzzy: look at it and take the mark away"
    if message.pluralizable and len(forms) != plurals:
        yield f"{name} has {len(forms)} plural forms; the language has {plurals}"
    if not all(forms):
        yield f"{name} is not translated" + (" in every plural form" if any(forms) else "")
        return
    ids = message.id if isinstance(message.id, tuple | list) else (message.id,)
    allowed = {place for text in ids for place in _PLACEHOLDER.findall(text)}
    for form in forms:
        places = set(_PLACEHOLDER.findall(form))
        if places - allowed or (not message.pluralizable and places != allowed):
            yield f"{name} has other {{placeholders}} than its translation {form!r}"


def _fill_english(catalogue: Catalog) -> None:
    for message in catalogue:
        if message.id:
            message.string = message.id


def _key(message: Message) -> tuple[str | None, str]:
    text = message.id[0] if isinstance(message.id, tuple | list) else message.id
    return message.context, text


def _read(folder: Path, tag: str) -> Catalog:
    with _file(folder, tag).open("rb") as file:
        return read_po(file, locale=tag.replace("-", "_"), domain=DOMAIN)


def _file(folder: Path, tag: str) -> Path:
    return folder / tag / "LC_MESSAGES" / f"{DOMAIN}.po"


def main() -> int:
    """`update` or `check` in the first argument; a folder in the second, `locales` by default."""
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "locales"  # noqa: PLR2004
    if sys.argv[1] == "update":
        update(folder)
        return 0
    wrong = check(folder)
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
