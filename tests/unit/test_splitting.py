"""Long texts in parts, however a provider counts them and whatever form they are written in."""

from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.senders.base import LengthUnit
from service.senders.markup import (
    RichText,
    discord_markdown,
    length,
    mattermost_markdown,
    max_markup,
    plain_text,
    read,
    slack_mrkdwn,
    split,
)

UNITS: tuple[LengthUnit, ...] = get_args(LengthUnit)
CLUSTERS = (
    "a",
    "я",
    "👍🏽",
    "e\u0301",
    "👨\u200d👩\u200d👧",
    "🇫🇷",
    "\u1112\u1161\u11ab",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "क्षि"[:2],
)
WRITERS = (plain_text, slack_mrkdwn, discord_markdown, mattermost_markdown, max_markup)


def solid(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("unit", UNITS)
@given(text=st.text(max_size=200), limit=st.integers(4, 60))
def test_every_part_fits_and_nothing_is_lost(unit: LengthUnit, text: str, limit: int) -> None:
    rich = read(text, "plain")
    parts = split(rich, limit, unit)
    assert all(0 < length(part.text, unit) <= limit for part in parts)
    kept = "".join(char for char in solid("".join(part.text for part in parts)) if char.isprintable())
    assert kept == "".join(char for char in solid(rich.text) if char.isprintable())


@pytest.mark.parametrize("unit", UNITS)
@given(clusters=st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=60), limit=st.integers(30, 60))
def test_what_is_shown_as_one_character_stays_whole(
    unit: LengthUnit, clusters: list[str], limit: int
) -> None:
    parts = split(RichText("".join(clusters)), limit, unit)
    ends, at = set(), 0
    for cluster in clusters:
        at += len(cluster)
        ends.add(at)
    at = 0
    for part in parts:
        at += len(part.text)
        assert at in ends


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("unit", UNITS)
@given(
    source=st.lists(
        st.sampled_from(
            (
                "<b>", "</b>", "<a href='https://x.y/?a=1&amp;b=2'>", "</a>", "<code>", "</code>", "<blockquote>",
                "</blockquote>", "<pre>", "</pre>", "word ", "слово ", "👍", "&lt;", "*_~", "\n", "a" * 90,
            )
        ),
        max_size=60,
    ).map("".join),
    limit=st.integers(100, 300),
)  # fmt: skip
def test_it_is_the_written_part_that_fits(
    writer: Callable[[RichText], str], unit: LengthUnit, source: str, limit: int
) -> None:
    rich = read(source, "html")
    parts = split(rich, limit, unit, writer)
    assert all(length(writer(part), unit) <= limit for part in parts)
    assert solid("".join(part.text for part in parts)) == solid(rich.text)


def test_parts_are_filled() -> None:
    rich = read("**word** & " * 2_000, "markdown")
    parts = split(rich, 2_000, written=discord_markdown)
    whole = len(discord_markdown(rich))
    assert len(parts) <= whole / 2_000 * 1.1 + 1


def test_a_link_is_not_cut_when_it_can_stay_whole() -> None:
    rich = read("some words that stand before [a link of several words](https://x.y) and after", "markdown")
    assert [discord_markdown(part) for part in split(rich, 50)] == [
        "some words that stand before",
        "[a link of several words](https://x.y) and after",
    ]


def test_a_link_too_long_for_a_part_leaves_its_text() -> None:
    rich = read(f"see [this](https://x.y/{'a' * 3_000}) now", "markdown")
    assert [discord_markdown(part) for part in split(rich, 2_000, written=discord_markdown)] == [
        "see this now"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "a" * 200_000,
        "<b>a</b>" * 40_000,
        "\u0301" * 100_000,
        "🇫🇷" * 50_000,
        "<blockquote>a</blockquote>" * 20_000,
        "*" * 200_000,
        "a\n" * 100_000,
    ],
    ids=["letters", "bold", "accents", "flags", "quotes", "stars", "lines"],
)
@pytest.mark.timeout(20)
def test_hostile_texts_take_no_long_time(source: str) -> None:
    split(read(source, "html"), 2_000, written=discord_markdown)
