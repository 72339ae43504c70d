"""Templates rendered in their own process: languages, escapes, and what is stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from babel.localedata import locale_identifiers
from hypothesis import given
from hypothesis import strategies as st

from service.content.filters import locale_of
from service.content.language import escape_markdown
from service.content.rendering import Inspection, PluralUse, Rendered, Renderer, RenderError
from service.content.templates import (
    Format,
    Param,
    ParamType,
    TemplateVersion,
    Variant,
    check_params,
    choose,
)
from service.senders.markup import read
from service.settings import TemplateSettings
from tests.support.rendering import RenderJob, render_many

NOW = datetime(2026, 11, 23, 11, 30, tzinfo=UTC)
PAID = "2026-11-23T20:30:00Z"
TYPES: dict[str, ParamType] = {
    "n": "integer",
    "text": "string",
    "at": "datetime",
    "day": "date",
    "price": "money",
    "share": "number",
    "names": "list",
    "order": "object",
    "ok": "boolean",
}


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer(TemplateSettings(render_timeout_seconds=0.5, memory_max_mib=256, rest_seconds=30))
    await made.start()
    yield made
    await made.close()


def job(
    body: str, *, locale: str = "en", zone: str = "UTC", form: Format = "plain", **params: Any
) -> RenderJob:
    declared = tuple(Param(name, kind, required=False) for name, kind in TYPES.items())
    version = TemplateVersion(0, "test", 0, "en", declared, ())
    assert check_params(version, params) == []
    return RenderJob(version, Variant(locale, None, "", body, form), params, locale, zone, NOW)


async def text(renderer: Renderer, body: str, **options: Any) -> str:
    (result,) = await render_many(renderer, [job(body, **options)])
    assert isinstance(result, Rendered), result
    return result.body


async def error(renderer: Renderer, body: str, **options: Any) -> RenderError:
    (result,) = await render_many(renderer, [job(body, **options)])
    assert isinstance(result, RenderError), result
    return result


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (1, "1 заказ"),
        (2, "2 заказа"),
        (5, "5 заказов"),
        (11, "11 заказов"),
        (21, "21 заказ"),
        (112, "112 заказов"),
    ],
)
async def test_russian_plurals(renderer: Renderer, n: int, words: str) -> None:
    body = "{{ n }} {{ n|plural(one='заказ', few='заказа', many='заказов') }}"
    assert await text(renderer, body, locale="ru", n=n) == words


@pytest.mark.parametrize(
    ("n", "word"), [(0, "صفر"), (1, "واحد"), (2, "اثنان"), (3, "قليل"), (11, "كثير"), (100, "آخر")]
)
async def test_arabic_plurals(renderer: Renderer, n: int, word: str) -> None:
    body = "{{ n|plural(zero='صفر', one='واحد', two='اثنان', few='قليل', many='كثير', other='آخر') }}"
    assert await text(renderer, body, locale="ar", n=n) == word


async def test_other_stands_in_for_a_missing_form(renderer: Renderer) -> None:
    assert await text(renderer, "{{ 5|plural(one='x', other='y') }}", locale="ru") == "y"
    failed = await error(renderer, "{{ 5|plural(one='x') }}", locale="ru")
    assert "many" in failed.reason


@pytest.mark.parametrize(
    ("body", "locale", "zone", "words"),
    [
        ("{{ at|time }}", "en", "America/New_York", "3:30\u202fPM"),
        ("{{ at|time }}", "ru", "Europe/Moscow", "23:30"),
        ("{{ at|date('long') }}", "ru", "Europe/Moscow", "23 ноября 2026\u202fг."),
        ("{{ at|date('long') }}", "ru", "Asia/Vladivostok", "24 ноября 2026\u202fг."),
        ("{{ at|datetime('short') }}", "de", "Asia/Kolkata", "24.11.26, 02:00"),
        ("{{ at|datetime('d MMMM HH:mm') }}", "en", "UTC", "23 November 20:30"),
        ("{{ at }}", "en", "UTC", "Nov 23, 2026, 8:30:00\u202fPM"),
        ("{{ day|date('full') }}", "ar", "Asia/Riyadh", "الثلاثاء، 24 نوفمبر 2026"),
        ("{{ day }}", "en", "UTC", "Nov 24, 2026"),
        ("{{ at|relative }}", "ru", "UTC", "через 9 часов"),
        ("{{ day|relative }}", "en", "UTC", "in 1 day"),
        ("{{ 1234567.5|number }}", "ru", "UTC", "1\xa0234\xa0567,5"),
        ("{{ 1234567.5|number(2) }}", "de", "UTC", "1.234.567,50"),
        ("{{ share|percent }}", "en", "UTC", "26%"),
        ("{{ share|percent(1) }}", "ru", "UTC", "25,6\xa0%"),
        ("{{ price|money }}", "en", "UTC", "€1,234.50"),
        ("{{ price|money }}", "ru", "UTC", "1\xa0234,50\xa0€"),
        ("{{ price }} {{ price.currency }}", "en", "UTC", "€1,234.50 EUR"),
        ("{{ 5|money('JPY') }}", "en", "UTC", "¥5"),
        ("{{ names|listed }}", "en", "UTC", "Ann, Bob, and Eve"),
        ("{{ names|listed('or') }}", "ru", "UTC", "Ann, Bob или Eve"),
        ("{{ names|join(' + ') }}", "en", "UTC", "Ann + Bob + Eve"),
        ("{{ order.items }} {{ order.at|date }}", "en", "UTC", "3 Nov 23, 2026"),
        ("{{ text }}|{{ text|default('none') }}|{% if not text %}no{% endif %}", "en", "UTC", "|none|no"),
        ("{{ 7|number }}", "tlh", "UTC", "7"),
    ],
)
async def test_values_in_the_readers_language_and_zone(
    renderer: Renderer, body: str, locale: str, zone: str, words: str
) -> None:
    values: dict[str, Any] = {
        "at": PAID,
        "day": "2026-11-24",
        "share": 0.256,
        "price": {"amount": "1234.50", "currency": "EUR"},
        "names": ["Ann", "Bob", "Eve"],
        "order": {"items": 3, "at": PAID},
    }
    assert await text(renderer, body, locale=locale, zone=zone, **values) == words


async def test_a_constant_is_written_anew_for_each_reader(renderer: Renderer) -> None:
    body = "{{ 1234.5|number }} {{ 2|plural(one='a', few='b', other='c') }}"
    assert await text(renderer, body, locale="en") == "1,234.5 c"
    assert await text(renderer, body, locale="ru") == "1\xa0234,5 b"


async def test_params_are_never_markup(renderer: Renderer) -> None:
    nasty = "<b>*x*</b> [a](https://example.com)"
    assert await text(renderer, "<i>{{ text }}</i>", form="html", text=nasty) == (
        "<i>&lt;b&gt;*x*&lt;/b&gt; [a](https://example.com)</i>"
    )
    assert await text(renderer, "{{ text }}", text=nasty) == nasty
    assert await text(renderer, "{{ text|e }}", form="html", text="<") == "&lt;"
    shown = read(await text(renderer, "**{{ text }}**", form="markdown", text=nasty), "markdown")
    assert (shown.text, [span.style for span in shown.spans]) == (nasty, ["bold"])
    assert "No filter" in (await error(renderer, "{{ text|safe }}", form="html", text="<")).reason


_LINES = st.text(
    st.sampled_from("ab1.)-+*_`~#>=|:[]()<>!&\\ \t\n\"'{};/")
    | st.characters(codec="utf-8", exclude_categories=["C", "Z"]),
    max_size=30,
)


@given(_LINES, st.sampled_from(["{}", "hi {} there", "- {}\n- b", "> {}", "a\n{}\nb", "1. {}", "x\n\n{}"]))
def test_escaped_text_adds_no_markup(words: str, around: str) -> None:
    plain = read(around.format("word"), "markdown")
    shown = read(around.format("w" + escape_markdown(words) + "w"), "markdown")
    assert [span.style for span in shown.spans] == [span.style for span in plain.spans]
    bare = read(around.format(escape_markdown(words)), "markdown")
    assert {span.style for span in bare.spans} <= {span.style for span in plain.spans}
    assert "".join(words.split()) in "".join(bare.text.split())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "forbidden"),
        ("{{ range.__globals__ }}", "forbidden"),
        ("{{ namespace.__init__.__globals__ }}", "forbidden"),
        ("{{ '{0.__class__}'.format(1) }}", "forbidden"),
        ("{{ names.append(1) }}", "forbidden"),
        ("{{ ().__class__ }}", "forbidden"),
        ("{{ self.__init__ }}", "forbidden"),
        ("{{ cycler }}", "undefined"),
        ("{{ nobody }}", "undefined"),
        ("{{ 9**9**9 }}", "failed"),
        ("{{ names }}", "failed"),
        ("{{ ok }}", "failed"),
        ("{{ 'a'|number }}", "failed"),
        ("{{ at|date('nonsense!') }}", "failed"),
        ("{{ text|attr('__class__') }}", "syntax"),
        ("{% import 'os' as os %}", "syntax"),
        ("{% macro x() %}{% endmacro %}", "syntax"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "failed"),
        ("{% for i in range(100000) %}{{ 'a' * 1000 }}{% endfor %}", "too_long"),
        ("{% for i in range(100000000) %}x{% endfor %}", "failed"),
        ("{{ 'a' * 10000000000 }}", "memory"),
        ("{{ '%1000000000d'|format(1) }}", "memory"),
    ],
)
async def test_what_a_template_may_not_do_is_told(renderer: Renderer, body: str, code: str) -> None:
    failed, fine = await render_many(renderer, [job(body, names=[], ok=True, at=PAID, text=""), job("fine")])
    assert isinstance(failed, RenderError)
    assert (failed.code, failed.temporary) == (code, False)
    assert fine == Rendered("", "fine", "plain")


async def test_errors_name_their_line(renderer: Renderer) -> None:
    failed = await error(renderer, "a\nb\n{{ 1 / 0 }}")
    assert (failed.part, failed.line, str(failed)) == ("body", 3, "body line 3: division by zero")


@pytest.mark.parametrize(
    "body",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        # One operation of C that never looks up: the process itself has to be killed.
        "{% set v = namespace(x=3) %}{% for i in range(99) %}{% set v.x = v.x * v.x %}{% endfor %}{{ v.x > 1 }}",
    ],
)
async def test_an_endless_template_fails_alone(renderer: Renderer, body: str) -> None:
    jobs = [job("before"), job(body), *(job(f"after {number}") for number in range(100))]
    before, endless, *after = await asyncio.wait_for(render_many(renderer, jobs), 20)
    assert isinstance(endless, RenderError)
    assert (endless.code, endless.temporary) == ("overrun", False)
    assert before == Rendered("", "before", "plain")
    assert after == [Rendered("", f"after {number}", "plain") for number in range(100)]


async def test_a_template_that_overruns_again_and_again_rests(renderer: Renderer) -> None:
    body = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    codes = [(await error(renderer, body)).code for _ in range(4)]
    assert codes == ["overrun", "overrun", "overrun", "unavailable"]
    assert (await error(renderer, body)).temporary
    assert await text(renderer, "fine") == "fine"


async def test_memory_that_others_filled_is_not_blamed_on_a_text() -> None:
    renderer = Renderer(TemplateSettings(memory_max_mib=128))
    await renderer.start()
    assert await text(renderer, "fine") == "fine"
    first = renderer._child
    # Each language stays in memory: all of them are too many for one process.
    tags = [tag.replace("_", "-") for tag in sorted(locale_identifiers())]
    results = await render_many(renderer, [job("{{ at|date }}", locale=tag, at=PAID) for tag in tags])
    assert [result for result in results if not isinstance(result, Rendered)] == []
    assert renderer._child is not first
    await renderer.close()


async def test_a_killed_process_is_replaced_and_nothing_is_lost(renderer: Renderer) -> None:
    assert await text(renderer, "fine") == "fine"
    child = renderer._child
    assert child is not None
    os.kill(child.process.pid, signal.SIGKILL)
    results = await render_many(renderer, [job(f"{number}") for number in range(200)])
    assert results == [Rendered("", str(number), "plain") for number in range(200)]


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


async def test_the_process_does_not_know_the_services_secrets(
    monkeypatch: pytest.MonkeyPatch, renderer: Renderer
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    fresh = Renderer(TemplateSettings())
    await fresh.start()
    assert await text(fresh, "fine") == "fine"
    assert fresh._child is not None
    environment = environment_of(fresh._child.process.pid)
    names = sorted(line.partition("=")[0] for line in environment.split("\0") if line)
    assert names == ["PATH", "PYTHONPATH"]
    await fresh.close()


async def test_after_closing_nothing_is_rendered() -> None:
    renderer = Renderer(TemplateSettings())
    with pytest.raises(RenderError) as caught:
        await renderer.inspect(Variant("en", None, "", "x"))
    assert caught.value.temporary
    await renderer.start()
    await renderer.close()
    assert (await error(renderer, "x")).temporary


async def test_inspection_names_what_is_used(renderer: Renderer) -> None:
    body = "{% for item in items %}{{ item.name }}{% endfor %}\n{{ count|plural(one='x', other='y') }}"
    assert await renderer.inspect(Variant("en", None, "{{ title }}", body)) == Inspection(
        frozenset({"items", "count", "title"}), (PluralUse("body", 2, frozenset({"one", "other"})),)
    )


def variants(*tags: str) -> TemplateVersion:
    made = [tag.partition(".") for tag in tags]
    return TemplateVersion(
        1, "k", 1, "en", (), tuple(Variant(locale, sender or None, "", locale) for locale, _, sender in made)
    )


@pytest.mark.parametrize(
    ("tags", "locale", "sender", "chosen"),
    [
        (("en", "ru"), "ru", "TG", ("ru", None)),
        (("en", "ru"), "ru-RU", "TG", ("ru", None)),
        (("en", "ru", "ru.TG"), "ru-RU", "TG", ("ru", "TG")),
        (("en", "ru", "ru.TG"), "ru", "CONSOLE", ("ru", None)),
        (("en", "pt", "pt-BR", "pt.TG"), "pt-BR", "TG", ("pt-BR", None)),
        (("en", "zh-Hant"), "zh-Hant-TW", "TG", ("zh-Hant", None)),
        (("en", "ru"), "ar", "TG", ("en", None)),
        (("en", "en.TG"), "ar", "TG", ("en", "TG")),
        (("en", "ru.TG"), "ru", "CONSOLE", ("en", None)),
        (("en", "ru"), "RU_ru", "TG", ("ru", None)),
    ],
)
def test_the_variant_for_a_person(
    tags: tuple[str, ...], locale: str, sender: str, chosen: tuple[str, str | None]
) -> None:
    variant = choose(variants(*tags), locale, sender)
    assert (variant.locale, variant.sender) == chosen


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "x"], [1, True, [], {}]),
        ("integer", [0, -5, 17.0], [1.5, "1", True, 10**30, float("inf")]),
        ("number", [0, 1.5], ["1", True, float("nan")]),
        ("boolean", [True, False], [1, "true"]),
        ("datetime", [PAID, "2026-11-23t20:30:00.5+03:00"], ["2026-11-23", "2026-02-30T00:00:00Z", 5, "now"]),
        ("date", ["2026-02-28"], ["2026-02-30", PAID, 5]),
        (
            "money",
            [{"amount": "12.50", "currency": "EUR"}, {"amount": 5, "currency": "JPY"}],
            ["12", {"amount": "1e9", "currency": "EUR"}, {"amount": 1, "currency": "eur"}, {"amount": 1}],
        ),
        ("list", [[], [1]], ["x", {}]),
        ("object", [{}], [[], "x"]),
    ],
)
def test_params_are_checked_by_name_and_type(kind: ParamType, good: list[Any], bad: list[Any]) -> None:
    version = TemplateVersion(1, "k", 1, "en", (Param("p", kind),), ())
    for value in good:
        assert check_params(version, {"p": value}) == []
    for value in bad:
        (problem,) = check_params(version, {"p": value})
        assert (problem.field, problem.code) == ("params.p", f"not_{kind}")
        assert "accepted" in problem.problem


def test_missing_and_undeclared_params_are_named() -> None:
    version = TemplateVersion(
        1, "k", 1, "en", (Param("a", "string"), Param("b", "string", required=False)), ()
    )
    problems = {problem.field: problem.code for problem in check_params(version, {"a": None, "c": 1})}
    assert problems == {"params.a": "missing", "params.c": "undeclared"}


@pytest.mark.parametrize(
    ("written", "person", "body", "words"),
    [
        ("ru", "en", "{{ 1.5|number }} {{ 3|plural(one='день', few='дня', many='дней') }}", "1,5 дня"),
        ("en", "ru", "{{ 1.5|number }} {{ 3|plural(one='day', other='days') }}", "1.5 days"),
        ("de", "de-CH", "{{ 1234.5|number }}", "1’234.5"),
        ("pt-BR", "pt-PT", "{{ 1234.5|number }}", "1.234,5"),
    ],
)
async def test_formats_and_plurals_follow_the_language_of_the_text(
    renderer: Renderer, written: str, person: str, body: str, words: str
) -> None:
    made = RenderJob(variants("en"), Variant(written, None, "", body), {}, person, "UTC", NOW)
    assert await render_many(renderer, [made]) == [Rendered("", words, "plain")]


@given(st.text(max_size=20))
def test_any_tag_has_formats(tag: str) -> None:
    assert locale_of(tag).language
