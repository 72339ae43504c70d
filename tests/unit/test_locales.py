"""The catalogues: whole, fresh, and used in the language that is asked for."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from service.content.localisation import Localisation, locales_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def catalogues() -> ModuleType:
    spec = importlib.util.spec_from_file_location("catalogues", ROOT / ".ci" / "catalogues.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "locales", tmp_path / "locales")
    return tmp_path / "locales"


def russian(folder: Path) -> Path:
    return folder / "ru" / "LC_MESSAGES" / "notifications.po"


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_catalogues_are_whole(catalogues: ModuleType) -> None:
    assert catalogues.check(ROOT / "locales") == []


def test_updating_whole_catalogues_changes_nothing(catalogues: ModuleType, folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*.po*")}
    catalogues.update(folder)
    assert {file: file.read_bytes() for file in folder.rglob("*.po*")} == before


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('msgstr "Отменить"', 'msgstr ""', "not translated"),
        ('msgid "Undo"', '#, fuzzy\nmsgid "Undo"', "fuzzy"),
        ('msgid "Undo"', 'msgid "Undone"', "missing"),
        ('msgid "Undo"', 'msgid "Undone"', "no text of the service any more"),
        ('msgstr "Отменить"', 'msgstr "Отменить {what}"', "placeholders"),
        ("nplurals=3", "nplurals=2", "2 forms; the language has 3"),
    ],
)
def test_what_is_wrong_with_a_catalogue_is_told(
    catalogues: ModuleType, folder: Path, old: str, new: str, complaint: str
) -> None:
    replace(russian(folder), old, new)
    assert any(complaint in line for line in catalogues.check(folder))


@pytest.mark.parametrize("missing", range(3))
def test_a_plural_form_left_out_is_told(catalogues: ModuleType, folder: Path, missing: int) -> None:
    forms = ["{n} день", "{n} дня", "{n} дней"]
    forms[missing] = ""
    lines = "\n".join(f'msgstr[{number}] "{form}"' for number, form in enumerate(forms))
    with russian(folder).open("a") as file:
        file.write(f'\nmsgid "{{n}} day"\nmsgid_plural "{{n}} days"\n{lines}\n')
    read = catalogues._read(folder, "ru")
    (message,) = (message for message in read if message.id and message.id[0] == "{n} day")
    assert "plural form" in " ".join(catalogues._check_message(message, message, 3))


def test_a_stale_template_is_told(catalogues: ModuleType, folder: Path) -> None:
    replace(folder / "notifications.pot", 'msgid "Undo"', 'msgid "Undone"')
    assert catalogues.check(folder) == ["notifications.pot: is stale: make locales"]


def test_another_language_is_one_folder(catalogues: ModuleType, folder: Path) -> None:
    (folder / "pt-BR").mkdir()
    catalogues.update(folder)
    assert any(line.startswith("pt-BR: ") and "not translated" in line for line in catalogues.check(folder))
    replace(
        folder / "pt-BR" / "LC_MESSAGES" / "notifications.po",
        'msgid "Undo"\nmsgstr ""',
        'msgid "Undo"\nmsgstr "Desfazer"',
    )
    localisation = Localisation(folder)
    assert localisation.languages == ("en", "pt-BR", "ru")
    assert localisation.translator("pt-BR").gettext("Undo") == "Desfazer"


@pytest.mark.parametrize(
    ("locale", "text"),
    [("ru", "Отменить"), ("ru-RU", "Отменить"), ("en-GB", "Undo"), ("ar", "Undo"), ("", "Undo")],
)
def test_a_locale_without_a_catalogue_is_english(locale: str, text: str) -> None:
    assert Localisation(locales_folder()).translator(locale).gettext("Undo") == text


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("fr, en;q=0.5, ru;q=0.9", "ru"),
        ("en, ru", "en"),
        ("fr", "en"),
        ("*", "en"),
        ("ru;q=0, en", "en"),
        ("ru;q=x", "en"),
        (";;;,,,", "en"),
        ("ru; q=0.5 , en ;q=0.4", "ru"),
        ("x" * 100_000, "en"),
    ],
)
def test_the_language_of_an_answer(header: str, language: str) -> None:
    assert Localisation(locales_folder()).negotiate(header) == language
