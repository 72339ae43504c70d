"""Rich text as each channel's own form: what it shows, and that nothing in the text becomes markup or a mention."""

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from service.senders.base import TextFormat
from service.senders.markup import (
    RichText,
    discord_markdown,
    email_html,
    matrix_html,
    matrix_text,
    mattermost_markdown,
    max_markup,
    plain_text,
    read,
    slack_mrkdwn,
    telegram_html,
    vk_text,
)

Writer = Callable[[RichText], str]
ZERO_WIDTH = "\u200b"
SOURCE = "**b** *i* ~~s~~ `a < b` [l](https://x.y/?a=1&b=(2)) [me](mailto:a@b.c)\n\n> q\n> **r**\n\nz\n```py\nx < y\n```\n- one"


def body(rich: RichText) -> str:
    return re.split(r"<body[^>]*>\n|\n</body>", email_html(rich))[1]


SHOWN: dict[str, tuple[Writer, str]] = {
    "plain": (
        plain_text,
        "b i s a < b l (https://x.y/?a=1&b=(2)) me (a@b.c)\n\nq\nr\n\nz\nx < y\n• one",
    ),
    "MAX": (
        max_markup,
        (
            '<b>b</b> <i>i</i> <s>s</s> <code>a &lt; b</code> <a href="https://x.y/?a=1&amp;b=(2)">l</a>'
            ' <a href="mailto:a@b.c">me</a>\n\n<blockquote>q\n<b>r</b></blockquote>\n\nz\n<pre>x &lt; y</pre>\n• one'
        ),
    ),
    "Slack": (
        slack_mrkdwn,
        (
            "*b* _i_ ~s~ `a &lt; b` <https://x.y/?a=1&amp;b=%282%29|l> <mailto:a@b.c|me>\n\n> q\n> *r*\n\nz\n"
            "```\nx &lt; y\n```\n• one"
        ),
    ),
    "Discord": (
        discord_markdown,
        (
            "**b** *i* ~~s~~ `a < b` [l](https://x.y/?a=1&b=%282%29) me (a@b.c)\n\n> q\n> **r**\n\nz\n"
            "```py\nx < y\n```\n• one"
        ),
    ),
    "Mattermost": (
        mattermost_markdown,
        (
            "**b** *i* ~~s~~ `a < b` [l](https://x.y/?a=1&b=%282%29) [me](mailto:a@b.c)\n\n> q\n> **r**\n\nz\n"
            "```py\nx < y\n```\n• one"
        ),
    ),
    "Matrix": (
        matrix_html,
        (
            '<b>b</b> <i>i</i> <del>s</del> <code>a &lt; b</code> <a href="https://x.y/?a=1&amp;b=(2)">l</a>'
            ' <a href="mailto:a@b.c">me</a><blockquote>q<br>\n<b>r</b></blockquote>z<pre><code>x &lt; y</code></pre>• one'
        ),
    ),
    "e-mail": (
        body,
        (
            '<b>b</b> <i>i</i> <s>s</s> <code>a &lt; b</code> <a href="https://x.y/?a=1&amp;b=(2)">l</a>'
            ' <a href="mailto:a@b.c">me</a>'
            '<blockquote style="margin:0 0 0 8px;padding-left:8px;border-left:2px solid #ccc">q<br>\n<b>r</b></blockquote>'
            'z<pre style="white-space:pre-wrap">x &lt; y</pre>• one'
        ),
    ),
}


@pytest.mark.parametrize(("writer", "expected"), SHOWN.values(), ids=SHOWN)
def test_each_form(writer: Writer, expected: str) -> None:
    assert writer(read(SOURCE, "markdown")) == expected


DEGRADED = {
    "underline": ("<u>x</u>", "html", "x", "__x__", "x", "x"),
    "spoiler": ("<tg-spoiler>x</tg-spoiler>", "html", "x", "||x||", "x", "x"),
    "an address as its own text": ("[https://x.y](https://x.y/)", "markdown", *["https://x.y"] * 4),
    "a text that looks like another address": (
        "[https://a.b](https://x.y)", "markdown", *["https://a.b (https://x.y)"] * 4,
    ),
    "a link one cannot follow": ("[x](/a)", "markdown", *["x"] * 4),
    "a style over two lines": ("**a\nb**", "markdown", "*a*\n*b*", "**a**\n**b**", "**a**\n**b**", "a\nb"),
    "a style within a word": ("a**b**c", "markdown", "a¦*b*¦c", "a**b**c", "a**b**c", "abc"),
    "styles side by side": (
        "<b>a</b><i>b</i>", "html", "*a*¦¦¦_b_", "**a**¦*b*", "**a**¦*b*", "ab",
    ),
    "a quote at once followed by text": (
        "<blockquote>q</blockquote>t", "html", "> q\nt", "> q\nt", "> q\n\nt", "q\nt",
    ),
    "code in a quote": (
        "> a\n> ```\n> b\n> ```", "markdown", *["> a\n> ```\n> b\n> ```"] * 3, "a\nb",
    ),
    "backticks in code": ("``a`b``", "markdown", "`aˋb`", "`aˋb`", "`aˋb`", "a`b"),
    "a fence in code": ("<pre>```</pre>", "html", *["```\n`¦``\n```"] * 3, "```"),
}  # fmt: skip


@pytest.mark.parametrize("case", DEGRADED.values(), ids=DEGRADED)
def test_what_a_channel_cannot_show_stays_readable(case: tuple[str, TextFormat, str, str, str, str]) -> None:
    source, written_in, *expected = case
    rich = read(source, written_in)
    writers: tuple[Writer, ...] = (slack_mrkdwn, discord_markdown, mattermost_markdown, plain_text)
    assert [writer(rich).replace(ZERO_WIDTH, "¦") for writer in writers] == expected


HARMLESS: dict[str, tuple[Writer, str, str]] = {
    "Slack's mentions": (slack_mrkdwn, "<!channel> <@U1> @here", "&lt;!channel&gt; &lt;@U1&gt; @¦here"),
    "Slack's links": (slack_mrkdwn, "<https://x.y|me>", "&lt;https://x.y%7Cme¦&gt;"),
    "Slack's quote": (slack_mrkdwn, "> a", "¦&gt; a"),
    "Slack's marks": (slack_mrkdwn, "*a* _b_ ~c~ `d` e_f", "∗a∗ ＿b＿ ∼c∼ ˋdˋ e_f"),
    "Discord's mentions": (discord_markdown, "<@1> <#2> @everyone @here", r"\<@1> \<#2> @¦everyone @¦here"),
    "Discord's links": (discord_markdown, "[a](https://x.y)", r"\[a\](https://x.y)"),
    "Discord's lines": (discord_markdown, "# a\n- b\n> c\n-# d\n1. e", "\\# a\n\\- b\n\\> c\n\\-# d\n1\\. e"),
    "Discord's marks": (discord_markdown, r"*a* \*b __c__ a_b ||d||", r"\*a\* \\\*b \_\_c\_\_ a_b \|\|d\|\|"),
    "Mattermost's mentions": (mattermost_markdown, "@all @bob a@b.c ~town #tag", "@¦all @¦bob a@b.c \\~¦town #¦tag"),
    "Mattermost's pictures": (mattermost_markdown, "![a](https://x.y) :tada:", r"!\[a\](https://x.y) :¦tada:"),
    "Mattermost's lines": (mattermost_markdown, "a\n===\n    b\n+ c", "a\n¦===\n\u00a0\u00a0\u00a0\u00a0b\n\\+ c"),
    "addresses stay whole": (discord_markdown, "https://x.y/a_b*c?d=1 f_g", "https://x.y/a_b%2Ac?d=1 f_g"),
    "Matrix's mention of a room": (matrix_text, "@room @roommate", "@¦room @roommate"),
    "VK's mentions": (vk_text, "@all *id1 (a) [id1|a] [a] a@b.c", "@¦all *¦id1 (a) [¦id1|a] [a] a@b.c"),
}  # fmt: skip


@pytest.mark.parametrize(("writer", "source", "expected"), HARMLESS.values(), ids=HARMLESS)
def test_the_text_is_no_markup_and_mentions_nobody(writer: Writer, source: str, expected: str) -> None:
    assert writer(RichText(source)).replace(ZERO_WIDTH, "¦") == expected


def test_a_link_that_is_a_mention_on_matrix_is_left_out() -> None:
    assert matrix_html(read("[Bob](https://matrix.to/#/@bob:x.y)", "markdown")) == "Bob"


class Shown(HTMLParser):
    """The text and the tags of a fragment; fails on a tag that is not closed in its order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.tags, self._open = "", set[str](), list[str]()
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert [name for name, _ in attrs] in ([], ["href"], ["style"], ["data-mx-spoiler"])
        assert all(re.match("https?://|mailto:|tel:", value or "") for name, value in attrs if name == "href")
        if tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def plain(text: str) -> str:
    """What a person reads, however the white space is made."""
    return "".join(text.replace(ZERO_WIDTH, "").split())


MARKS = st.sampled_from(
    (
        "*", "**", "_", "__", "~", "~~", "`", "```", "||", "|", "#", "# ", "> ", "- ", "1. ", "+ ", "===", "---", "    ",
        "\t", "\n", "\n\n", " ", "<", ">", "<@1>", "<!here>", "<b>", "</b>", "<https://x.y>", "[a](https://x.y)", "![", "](",
        ")", "[a]: https://x.y", "&", "&lt;", "&copy;", "\\", "@all", "@everyone", "@room", ":tada:", "a", "word", "слово",
        "https://x.y/_a_*b*", "👍", "e\u0301", "\u202eעברית", "1", ".", "!", "(", "=",
    )
)  # fmt: skip
TEXTS = st.lists(MARKS | st.text(st.characters(codec="utf-8"), max_size=4), max_size=30).map("".join)
PIECES = st.lists(
    st.sampled_from(
        (
            "<b>", "</b>", "<i>", "</i>", "<u>", "</u>", "<s>", "</s>", "<a href='https://x'>", "</a>", "<pre>", "</pre>",
            "<code>", "</code>", "<blockquote>", "</blockquote>", "<tg-spoiler>", "</tg-spoiler>", "<li>", "<br>", "\n",
            " ", "a", "b c", "*", "_", "`", "https://x/", "@all", "👍", ".",
        )
    ),
    max_size=30,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("writer", [max_markup, body, matrix_html, telegram_html])
@given(text=TEXTS)
def test_html_of_plain_text_shows_the_text(writer: Writer, text: str) -> None:
    rich = read(text, "plain")
    shown = Shown(writer(rich))
    assert shown.tags <= {"br"}
    assert plain(shown.text) == plain(rich.text)


@pytest.mark.parametrize("writer", [max_markup, body, matrix_html])
@given(source=PIECES)
def test_html_of_rich_text_is_whole(writer: Writer, source: str) -> None:
    rich = read(source, "html")
    shown = Shown(writer(rich))
    assert shown.tags <= {"b", "i", "u", "s", "del", "a", "pre", "code", "blockquote", "span", "br"}
    assert plain(shown.text) == plain(rich.text)


COMMONMARK = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
JUST_TEXT = {"paragraph_open", "paragraph_close", "inline", "text", "softbreak", "hardbreak"}


def markdown_text(source: str) -> tuple[set[str], str]:
    """The kinds of tokens and the text of a CommonMark document."""
    tokens = COMMONMARK.parse(source)
    inner = [child for token in tokens for child in token.children or ()]
    texts = [
        token.content
        for token in (*tokens, *inner)
        if token.type in ("text", "code_inline", "fence", "code_block")
    ]
    return {token.type for token in (*tokens, *inner)}, plain("".join(texts))


@pytest.mark.parametrize("writer", [discord_markdown, mattermost_markdown])
@given(text=TEXTS)
def test_markdown_of_plain_text_shows_the_text(writer: Writer, text: str) -> None:
    rich = read(re.sub(r"https?://\S+", "", text), "plain")
    if writer is discord_markdown:  # which knows neither indented code, headings under lines nor entities
        rich = RichText(re.sub(r"(?m)^\s+|[&=]", "", rich.text))
    kinds, shown = markdown_text(writer(rich))
    assert kinds <= JUST_TEXT
    assert shown == plain(rich.text)


DELIMITED = re.compile(r"<(?:https?://|mailto:|tel:)[^<>|\s]+\||>")


@given(text=TEXTS)
def test_slacks_form_of_plain_text_has_no_marks(text: str) -> None:
    written = slack_mrkdwn(read(text, "plain"))
    assert not re.search(r"[<>*~`]|(?m:^\s*&gt;)|@(?:here|channel|everyone)\b", written)
    assert not re.search(r"(?<![^\W_])_|_(?![^\W_])", written)


@given(source=PIECES)
def test_slacks_form_of_rich_text_has_its_own_links_only(source: str) -> None:
    written = slack_mrkdwn(read(source, "html"))
    assert "<" not in DELIMITED.sub("", re.sub("(?m)^(?:> )+", "", written))
    assert written.count("<https://x|") == len(re.findall("<https", written))


@pytest.mark.parametrize("writer", [slack_mrkdwn, discord_markdown, mattermost_markdown])
@given(source=PIECES)
def test_every_letter_of_a_rich_text_is_there(writer: Writer, source: str) -> None:
    rich = read(source, "html")
    letters = [char for char in rich.text if char in "abcl👍"]
    found = iter(writer(rich))
    assert all(letter in found for letter in letters)
