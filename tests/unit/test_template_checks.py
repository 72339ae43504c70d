"""What the check of a template finds, with senders of every shape."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.content.checking import Checker, Finding, integer_plurals, length_in
from service.content.drafts import TemplateDraft
from service.content.rendering import Renderer
from service.senders.base import Capabilities
from service.settings import TemplateSettings

SHAPES = {
    "SMS": Capabilities(max_length=70),
    "CHAT": Capabilities(
        formats=frozenset({"plain", "html"}), max_length=20, length_unit="utf-16 units", splits=True
    ),
    "PUSH": Capabilities(max_length=30, length_unit="bytes"),
}


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    renderer = Renderer(TemplateSettings(render_timeout_seconds=0.5))
    await renderer.start()
    yield Checker(renderer, SHAPES, ("en", "ru"))
    await renderer.close()


async def findings(checker: Checker, *variants: dict[str, Any], params: Any = ()) -> list[Finding]:
    draft = TemplateDraft.model_validate(
        {"default_locale": "en", "params": list(params), "variants": list(variants)}
    )
    return await checker.check(draft.version("test"))


def told(found: list[Finding]) -> set[tuple[str, str, str]]:
    return {(finding.level, finding.code, finding.where) for finding in found}


ENGLISH = {"locale": "en", "body": "hello"}
RUSSIAN = {"locale": "ru", "body": "привет"}


async def test_nothing_is_wrong(checker: Checker) -> None:
    assert await findings(checker, ENGLISH, RUSSIAN) == []


async def test_declared_languages_are_wanted(checker: Checker) -> None:
    assert told(await findings(checker, ENGLISH)) == {("warning", "missing_locale", "variants.ru")}


async def test_unknown_languages_are_refused(checker: Checker) -> None:
    found = await findings(checker, ENGLISH, RUSSIAN, {"locale": "xx", "body": "?"})
    assert ("error", "unknown_locale", "variants.xx") in told(found)


async def test_markup_that_a_sender_refuses(checker: Checker) -> None:
    general = await findings(checker, {**ENGLISH, "format": "html"}, RUSSIAN)
    assert told(general) == {("warning", "refused_markup", "variants.en")}
    assert {finding.text.split()[0] for finding in general} == {"SMS", "PUSH"}
    own = await findings(checker, ENGLISH, RUSSIAN, {**ENGLISH, "sender": "SMS", "format": "html"})
    assert told(own) == {("error", "refused_markup", "variants.en.SMS")}


async def test_lengths_are_those_of_the_example_text_in_the_senders_unit(checker: Checker) -> None:
    param = {"name": "name", "type": "string", "example": "🙂" * 8}
    found = await findings(
        checker, {**ENGLISH, "body": "{{ name }}"}, {**RUSSIAN, "body": "{{ name }}"}, params=[param]
    )
    assert told(found) == {
        ("warning", "too_long", "variants.en.body"),
        ("warning", "too_long", "variants.ru.body"),
    }
    assert {finding.text.split(" of ")[0].split(" by ")[1] for finding in found} == {
        "PUSH: 32 bytes with the example params,"
    }


async def test_a_senders_own_text_may_not_be_over_its_limit(checker: Checker) -> None:
    long = "x" * 71
    own = [{**ENGLISH, "sender": "SMS", "body": long}, {**ENGLISH, "sender": "CHAT", "body": long}]
    assert told(await findings(checker, ENGLISH, RUSSIAN, *own)) == {
        ("error", "too_long", "variants.en.SMS.body"),
        ("warning", "too_long", "variants.en.CHAT.body"),
    }


async def test_optional_params_are_tried_left_out(checker: Checker) -> None:
    param = {"name": "nick", "type": "string", "required": False, "example": "Bob"}
    body = {**ENGLISH, "body": "{{ nick.upper() }}"}
    found = await findings(checker, body, RUSSIAN, params=[param])
    assert told(found) == {("error", "undefined", "variants.en.body")}


async def test_reserved_words_are_no_params(checker: Checker) -> None:
    found = await findings(checker, ENGLISH, RUSSIAN, params=[{"name": "loop", "type": "string"}])
    assert ("error", "reserved", "params.loop") in told(found)


async def test_errors_come_first(checker: Checker) -> None:
    found = await findings(checker, {**ENGLISH, "body": "{{ x }}"}, params=[{"name": "y", "type": "date"}])
    assert [finding.level for finding in found] == ["error", "warning", "warning", "warning"]


@pytest.mark.parametrize(
    ("locale", "forms"),
    [
        ("en", {"one", "other"}),
        ("ru", {"one", "few", "many"}),
        ("ja", {"other"}),
        ("ar", {"zero", "one", "two", "few", "many", "other"}),
    ],
)
def test_the_plural_forms_of_whole_numbers(locale: str, forms: set[str]) -> None:
    assert integer_plurals(locale) == forms


def test_lengths() -> None:
    assert [length_in(unit, "я🙂") for unit in ("characters", "utf-16 units", "bytes")] == [2, 3, 6]
