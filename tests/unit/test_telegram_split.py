"""Long texts are cut so that nothing is lost and every part can be sent."""

from typing import Any
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.senders.markup import RichText, read, split, telegram_html, utf16_length
from service.senders.markup.builder import RichTextBuilder
from tests.fakes.telegram_text import parse_html, utf16

STYLES = (
    "bold",
    "italic",
    "underline",
    "strike",
    "spoiler",
    "code",
    "pre",
    "quote",
    "quote-expandable",
    "link",
)
ENTITIES = {
    "strikethrough": "strike", "blockquote": "quote", "expandable_blockquote": "quote-expandable", "text_link": "link"
}  # fmt: skip
TEXTS = st.text(
    st.sampled_from("ab<>&;\"' \n\n\t👍é\u0301\u200d🏽я") | st.characters(codec="utf-8"), max_size=30
)
STEPS = st.one_of(
    st.tuples(st.just("text"), TEXTS),
    st.tuples(st.just("verbatim"), TEXTS),
    st.tuples(st.just("open"), st.sampled_from(STYLES)),
    st.tuples(st.just("close"), st.sampled_from(STYLES)),
    st.sampled_from([("block",), ("newline",), ("item",), ("rule",)]),
)


@st.composite
def documents(draw: st.DrawFn) -> RichText:
    builder = RichTextBuilder()
    for name, *values in draw(st.lists(STEPS, max_size=30)):
        if values == ["link"] and name == "open":
            values.append("https://example.com/?a=1&b=2")
        getattr(builder, name)(*values)
    return builder.finish()


def is_visible(char: str) -> bool:
    return not char.isspace() and category(char) not in ("Cc", "Cf")


def styled(rich: RichText) -> list[tuple[str, frozenset[str]]]:
    """Every visible character with the styles it has."""
    styles: list[set[str]] = [set() for _ in rich.text]
    for span in rich.spans:
        for at in range(span.start, span.end):
            styles[at].add(span.style)
    return [(char, frozenset(has)) for char, has in zip(rich.text, styles, strict=True) if is_visible(char)]


def received(text: str, entities: list[dict[str, Any]]) -> list[tuple[str, frozenset[str]]]:
    """The same, as the server counts it: in UTF-16 units."""
    found, at = [], 0
    for char in text:
        has = {
            ENTITIES.get(entity["type"], entity["type"])
            for entity in entities
            if entity["offset"] <= at < entity["offset"] + entity["length"]
        }
        found.append((char, frozenset(has)))
        at += utf16(char)
    return [(char, has) for char, has in found if is_visible(char)]


@given(rich=documents(), limit=st.integers(2, 60))
def test_nothing_is_lost_and_every_part_fits_and_parses(rich: RichText, limit: int) -> None:
    parts = split(rich, limit, "utf-16 units")
    arrived = []
    for part in parts:
        text, entities = parse_html(telegram_html(part))
        assert 0 < utf16(text) <= utf16_length(part.text) <= limit
        assert any(map(is_visible, text))
        text.encode("utf-8")
        arrived += received(text, entities)
    assert arrived == styled(rich)


@given(rich=documents())
def test_what_fits_is_not_cut(rich: RichText) -> None:
    assert split(rich, 4096, "utf-16 units") == ([rich] if any(map(is_visible, rich.text)) else [])


@given(text=st.text(st.sampled_from("a👍 \n"), min_size=1, max_size=80), limit=st.integers(2, 30))
def test_lengths_are_counted_as_the_server_counts(text: str, limit: int) -> None:
    assert utf16_length(text) == utf16(text)
    assert all(
        len(part.text.encode("utf-16-le")) <= 2 * limit
        for part in split(RichText(text), limit, "utf-16 units")
    )


PREFERENCES = {
    "paragraph before line": ("aaaa bbb cc\n\ndd ee\nff gg", 20, ["aaaa bbb cc", "dd ee\nff gg"]),
    "line before word": ("aaaa bb cc\ndd ee ff gg", 16, ["aaaa bb cc", "dd ee ff gg"]),
    "word before character": ("aaaa bbbb cccc", 11, ["aaaa bbbb", "cccc"]),
    "a word that is too long": ("aaaaaaaaaa", 4, ["aaaa", "aaaa", "aa"]),
    "no tiny first part": ("a\n\nbbbb cccc dddd eeee", 15, ["a\n\nbbbb cccc", "dddd eeee"]),
    "exactly": ("aaaa\n\nbbbb", 4, ["aaaa", "bbbb"]),
    "blank middle": ("aaaa" + "\n" * 50 + "bbbb", 10, ["aaaa", "bbbb"]),
    "surrogate pairs": ("👍👍👍", 3, ["👍", "👍", "👍"]),
    "accents": ("aae\u0301", 3, ["aa", "e\u0301"]),
    "joined emoji": ("ab👩\u200d👧", 5, ["ab", "👩\u200d👧"]),
    "indentation": ("aaaa:\n  bbbb", 7, ["aaaa:", "  bbbb"]),
}


@pytest.mark.parametrize(("text", "limit", "expected"), PREFERENCES.values(), ids=PREFERENCES)
def test_where_it_is_cut(text: str, limit: int, expected: list[str]) -> None:
    assert [part.text for part in split(RichText(text), limit, "utf-16 units")] == expected


def test_open_styles_are_closed_and_reopened() -> None:
    rich = read('<b>one <a href="https://x/">two three</a></b> four', "html")
    assert [telegram_html(part) for part in split(rich, 8, "utf-16 units")] == [
        '<b>one <a href="https://x/">two</a></b>',
        '<b><a href="https://x/">three</a></b>',
        "four",
    ]


def test_an_emoji_of_ones_own_is_whole_or_plain() -> None:
    rich = read('<tg-emoji emoji-id="5">👍👍</tg-emoji>', "html")
    assert [telegram_html(part) for part in split(rich, 2, "utf-16 units")] == ["👍", "👍"]


@pytest.mark.timeout(20)
def test_a_very_long_styled_text_takes_no_long_time() -> None:
    rich = read("<b>word <i>word</i></b> " * 50_000, "html")
    parts = split(rich, 4096, "utf-16 units")
    assert sum(part.text.count("word") for part in parts) == 100_000
    assert all(telegram_html(part) for part in parts)
