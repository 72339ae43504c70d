"""Versions in PostgreSQL, and templates as files."""

import asyncio
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.content.drafts import TemplateDraft, draft_of
from service.content.folder import changes, files_of, read_folder, write_folder
from service.content.store import Templates
from service.content.templates import TemplateVersion, load_current, load_versions
from service.db.database import Database
from tests.support.order_paid import TEMPLATE

DRAFT = TemplateDraft.model_validate(TEMPLATE)


def version(key: str, default_locale: str = "en") -> TemplateVersion:
    return replace(DRAFT.version(key), default_locale=default_locale)


async def test_what_was_saved_is_what_is_loaded(database: Database) -> None:
    saved, changed = await Templates(database).save(version("a"), "me")
    async with database.connection() as connection:
        assert await load_current(connection, ["a", "a", "nobody"]) == {"a": saved}
        assert await load_versions(connection, [saved.id, -1]) == {saved.id: saved}
    assert (saved.number, saved.author, changed) == (1, "me", True)
    assert saved.content == version("a").content


async def test_an_archived_templates_versions_can_still_be_sent(database: Database) -> None:
    templates = Templates(database)
    saved, _ = await templates.save(version("a"), "me")
    assert await templates.archive("a")
    async with database.connection() as connection:
        assert await load_current(connection, ["a"]) == {}
        assert await load_versions(connection, [saved.id]) == {saved.id: saved}


async def test_versions_saved_at_once_are_numbered_one_by_one(database: Database) -> None:
    templates = Templates(database)
    locales = [f"{a}{b}" for a in "abcd" for b in "abcde"]
    saved = await asyncio.gather(*(templates.save(version("a", locale), "me") for locale in locales))
    assert sorted(made.number for made, _ in saved) == list(range(1, 21))
    newest = max((made for made, _ in saved), key=lambda made: made.number)
    assert await templates.current("a") == newest


@pytest.mark.parametrize("count", [1, 50, 500])
async def test_loading_costs_one_statement_whatever_the_count(database: Database, count: int) -> None:
    keys = [f"t{number}" for number in range(count)]
    ids = [(await Templates(database).save(version(key), "me"))[0].id for key in keys[:50]]
    statements: list[str] = []
    async with database.connection() as connection:
        await load_current(connection, [])  # the driver looks up each array type once
        await load_versions(connection, [])
        with connection.query_logger(lambda record: statements.append(record.query)):
            assert len(await load_current(connection, keys)) == len(ids)
            assert len(await load_versions(connection, ids)) == len(ids)
    assert len(statements) == 2


_LINE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
_BODY = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=40
) | st.sampled_from(["---", "---\n", "---\ntitle: x\n---\n", "\n", "a\n\n", "title: x", "{{ x }}"])
_VARIANT: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "locale": st.sampled_from(["en", "ru", "pt-BR", "zh-Hant"]),
        "sender": st.sampled_from([None, "TG", "WEBHOOK"]),
        "title": _LINE,
        "body": _BODY,
        "format": st.sampled_from(["plain", "markdown", "html"]),
    }
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | _LINE
    | st.sampled_from(["2030-01-31", "yes", "1.5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_LINE, inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(_VARIANT, min_size=1, max_size=4, unique_by=lambda v: (v["locale"], v["sender"])),
    st.lists(_JSON, max_size=3),
)
def test_files_hold_the_whole_template(variants: list[dict[str, Any]], examples: list[Any]) -> None:
    params = [
        {"name": f"p{number}", "type": "object", "example": value, "required": number == 0}
        for number, value in enumerate(examples)
    ]
    draft = TemplateDraft.model_validate({"default_locale": "en", "params": params, "variants": variants})
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), {"a": draft})
        read = read_folder(Path(folder))["a"]
    assert files_of(read) == files_of(draft)
    assert read.params == draft.params
    assert {variant.model_dump_json() for variant in read.variants} == {
        variant.model_dump_json() for variant in draft.variants
    }
    assert [change.kind for change in changes({"a": draft}, {"a": read})] == ["same"]


def test_a_draft_and_a_version_are_the_same_thing() -> None:
    assert draft_of(DRAFT.version("a")) == DRAFT
