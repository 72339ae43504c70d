"""Markdown, HTML and plain text as rich text, and rich text as Telegram's HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.senders.base import TextFormat
from service.senders.markup import read, telegram_html
from tests.fakes.telegram_text import parse_html


def shown(source: str, written_in: TextFormat) -> str:
    return telegram_html(read(source, written_in))


@pytest.mark.parametrize(
    "source",
    ["<b>x</b>", "a & b < c > d", "&lt;&amp;", "*x* _y_ `z`", "</code><i>", '<a href="tg://x">'],
    ids=str,
)
def test_plain_text_never_becomes_markup(source: str) -> None:
    assert parse_html(shown(source, "plain")) == (source, [])


def test_what_no_provider_takes_is_removed() -> None:
    assert read("a\0b\r\nc\rd\ud83de\U0001f600", "plain").text == "ab\nc\nd\ufffde\U0001f600"


MARKDOWN = {
    "emphasis": ("**b** *i* ~~s~~ ***bi***", "<b>b</b> <i>i</i> <s>s</s> <i><b>bi</b></i>"),
    "code": ("`a < b && *c*`", "<code>a &lt; b &amp;&amp; *c*</code>"),
    "link": ("[l*i*](https://x.y/?a=1&b=2)", '<a href="https://x.y/?a=1&amp;b=2">l<i>i</i></a>'),
    "user link": ("[me](tg://user?id=5)", '<a href="tg://user?id=5">me</a>'),
    "link without an address one can follow": ("[docs](/docs)", "docs"),
    "script link": ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
    "image": ("![a cat](https://x.y/cat.png)", '<a href="https://x.y/cat.png">a cat</a>'),
    "image without words": ("![](https://x.y/c.png)", '<a href="https://x.y/c.png">https://x.y/c.png</a>'),
    "html is text": ("<b>x</b> &lt; &copy;", "&lt;b&gt;x&lt;/b&gt; &lt; ©"),
    "html block is text": ("<div>\nx\n</div>", "&lt;div&gt;\nx\n&lt;/div&gt;"),
    "lines stay lines": ("one\ntwo  \nthree", "one\ntwo\nthree"),
    "paragraphs": ("one\n\n\n\ntwo", "one\n\ntwo"),
    "heading": ("# Top\ntext", "<b>Top</b>\n\ntext"),
    "quote": ("> a\n> > b\n\nc", "<blockquote>a\n\nb</blockquote>\n\nc"),
    "fence": (
        "```py\nif a < b:\n    pass\n```",
        '<pre><code class="language-py">if a &lt; b:\n    pass</code></pre>',
    ),
    "fence in text": ("a\n```\n x\n```\nb", "a\n<pre> x</pre>\n\nb"),
    "indented code": ("    x\n     y", "<pre>x\n y</pre>"),
    "bullets": ("- a\n- b\n  - c", "• a\n• b\n  • c"),
    "numbers": ("3. a\n4. **b**", "3. a\n4. <b>b</b>"),
    "empty item": ("-\n- a", "• \n• a"),
    "rule": ("a\n\n---\n\nb", "a\n\n———\n\nb"),
    "table": ("| a | b |\n|---|---|\n| 1 | *2* |", "a | b\n1 | <i>2</i>"),
    "unfinished": ("**a [b](c `d", "**a [b](c `d"),
    "escaped": (r"\*a\* \<b\>", "*a* &lt;b&gt;"),
}


@pytest.mark.parametrize(("source", "expected"), MARKDOWN.values(), ids=MARKDOWN)
def test_markdown(source: str, expected: str) -> None:
    assert shown(source, "markdown") == expected


HTML = {
    "styles": (
        "<strong>b</strong> <em>i</em> <ins>u</ins> <del>s</del> <strike>s</strike>",
        "<b>b</b> <i>i</i> <u>u</u> <s>s</s> <s>s</s>",
    ),
    "spoilers": (
        '<span class="tg-spoiler">a</span> <tg-spoiler>b</tg-spoiler> <span style="x">c</span>',
        "<tg-spoiler>a</tg-spoiler> <tg-spoiler>b</tg-spoiler> c",
    ),
    "spans within spans": (
        '<span class="tg-spoiler">a<span>b</span>c</span>d',
        "<tg-spoiler>abc</tg-spoiler>d",
    ),
    "link": ('<a href="https://x.y/?a=1&amp;b=2">l</a>', '<a href="https://x.y/?a=1&amp;b=2">l</a>'),
    "quoted address": ("<a href='https://x/\"&gt;'>l</a>", '<a href="https://x/&quot;&gt;">l</a>'),
    "script link": ('<a href="javascript:alert(1)">l</a>', "l"),
    "emoji": (
        '<tg-emoji emoji-id="5368324170671202286">👍</tg-emoji>',
        '<tg-emoji emoji-id="5368324170671202286">👍</tg-emoji>',
    ),
    "emoji without an id": ("<tg-emoji>👍</tg-emoji>", "👍"),
    "code": ("<code>a &lt; <b>b</b></code>", "<code>a &lt; b</code>"),
    "pre": (
        '<pre><code class="language-py">if a:\n  b</code></pre>',
        '<pre><code class="language-py">if a:\n  b</code></pre>',
    ),
    "quote": (
        "<blockquote expandable>a<blockquote>b</blockquote></blockquote>",
        "<blockquote expandable>a\nb</blockquote>",
    ),
    "newlines are kept": ("one\ntwo\n\n  three", "one\ntwo\n\n  three"),
    "breaks": ("a<br>b<br/>\nc", "a\nb\nc"),
    "paragraphs": ("<p>a</p>\n<p>b</p><div>c</div>", "a\n\nb\n\nc"),
    "heading": ("<h1>Top</h1>text", "<b>Top</b>\ntext"),
    "lists": (
        "<ul>\n <li>a</li>\n <li><b>b</b><ol start='3'><li>c</ol>\n</ul>d",
        "• a\n• <b>b</b>\n  3. c\nd",
    ),
    "table": ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a | b\n1 | 2"),
    "image": ('<img src="https://x/c.png" alt="cat">', '<a href="https://x/c.png">cat</a>'),
    "white space after a bullet": ("<ul><li>\n  a</li><li>\n<p>b</p></li></ul>", "• a\n• b"),
    "rule": ("a<hr>b", "a\n\n———\n\nb"),
    "unseen": ("<style>b{}</style><script>alert('<b>')</script>a<title>t</title>", "a"),
    "unknown tags": ("<font color=red>a</font><blink>b", "ab"),
    "unclosed": ("<b>a<i>b", "<b>a<i>b</i></b>"),
    "misnested": ("<b>a<i>b</b>c</i>", "<b>a<i>b</i></b>c"),
    "stray end": ("a</b></i></p>b", "a\n\nb"),
    "style in itself": ("<b>a<strong>b</strong>c</b>", "<b>abc</b>"),
    "links in links": ('<a href="http://a">a<a href="http://b">b</a></a>', '<a href="http://a">ab</a>'),
    "white space stays outside": ("a <b> b </b> c", "a  <b>b</b>  c"),
    "entities": ("&lt;b&gt; &copy; &#128077; &amp;lt;", "&lt;b&gt; © 👍 &amp;lt;"),
    "not tags": ("1 < 2 && <3 x<y", "1 &lt; 2 &amp;&amp; &lt;3 x&lt;y"),
    "comment": ("a<!-- <b> -->c<!-- d", "ac&lt;!-- d"),
    "doctype": ("<!DOCTYPE html>\n<html><head><meta x></head><body>a</body></html>", "a"),
    "declarations": (
        "<![x]> <!x> <?x?> </3 <!ELEMENT [",
        "&lt;![x]&gt; &lt;!x&gt; &lt;?x?&gt; &lt;/3 &lt;!ELEMENT [",
    ),
    "a sign in an attribute": ('<a href="https://x/?a>b">l</a>', '<a href="https://x/?a&gt;b">l</a>'),
}


@pytest.mark.parametrize(("source", "expected"), HTML.values(), ids=HTML)
def test_html(source: str, expected: str) -> None:
    assert shown(source, "html") == expected


PIECES = st.sampled_from(
    (
        "<b>", "</b>", "<i>", "</i>", "<a href='http://x'>", "</a>", "<pre>", "</pre>", "<code>", "</code>", "<p>",
        "<li>", "<ul>", "</ul>", "<td>", "<br>", "&", "&lt;", "<blockquote>", "</blockquote>", "<span>", "</span>",
        "<span class=tg-spoiler>", "<tg-emoji emoji-id=5>", "</tg-emoji>", "<script>", "<!--", "-->", "**", "*", "_",
        "`", "```", "~~", "[", "](", ")", "![", ">", "#", "-", "1.", "|", "\\", "👍", "слово", "word", "\n", " ",
    )
)  # fmt: skip


@pytest.mark.parametrize("written_in", ["plain", "markdown", "html"])
@given(pieces=st.lists(PIECES | st.text(st.characters(), max_size=5), max_size=40))
def test_whatever_is_written_the_server_can_parse_it(written_in: TextFormat, pieces: list[str]) -> None:
    rich = read("".join(pieces), written_in)
    text, entities = parse_html(telegram_html(rich))
    assert text == rich.text.strip()
    for entity in entities:
        if entity["type"] in ("code", "pre"):
            first, last = entity["offset"], entity["offset"] + entity["length"]
            assert not [
                inner for inner in entities
                if inner is not entity and first <= inner["offset"] and inner["offset"] + inner["length"] < last
            ]  # fmt: skip


BEGINNINGS = (
    "<b>", "<", "<a ", "</a ", "<!--", "<!a ", "<![x", "<?", "<a '", '<a "', "<a '\"", "<a b=", "<a b='\"", "<a/ ", "<a =",
    "<a b= c=' >", "&", "&#1", "<script>", "<title>", "<li>", "<pre>", "<b><i>", "<ul><li>", "<td>", "<br>",
)  # fmt: skip


@pytest.mark.parametrize("end", ["", ">", "</u>"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.timeout(20)
def test_hostile_html_takes_no_long_time(beginning: str, end: str) -> None:
    source = beginning * (100_000 // len(beginning)) + end
    telegram_html(read(source, "html"))


@pytest.mark.parametrize(
    "source",
    [
        "*" * 20_000,
        "[" * 20_000,
        "> " * 5_000,
        "- " * 5_000,
        "`" * 20_000 + "a",
        "![" * 10_000,
        "|a" * 10_000,
    ],
    ids=["stars", "brackets", "quotes", "lists", "ticks", "images", "cells"],
)
@pytest.mark.timeout(20)
def test_hostile_markdown_takes_no_long_time(source: str) -> None:
    telegram_html(read(source, "markdown"))
