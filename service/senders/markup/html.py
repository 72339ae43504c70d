"""The HTML people write for messages, as rich text. What a message cannot show degrades to readable text."""

import re
from html.parser import HTMLParser

from service.senders.markup.builder import RichTextBuilder
from service.senders.markup.rich import RichText, Style

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_STYLES: dict[str, Style] = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strike",
    "strike": "strike",
    "del": "strike",
    "tg-spoiler": "spoiler",
    "a": "link",
    "tg-emoji": "emoji",
    "code": "code",
    "pre": "pre",
    "blockquote": "quote",
    **dict.fromkeys(_HEADINGS, "bold"),
}
_VALUES = {"a": "href", "tg-emoji": "emoji-id"}
_NEWLINES = {
    **dict.fromkeys(("p", "table", *_HEADINGS), 2),
    **dict.fromkeys(("div", "section", "article", "header", "footer", "figure", "dt", "dd"), 1),
    **dict.fromkeys(("pre", "blockquote"), 1),
}
_MARKS = {
    "hr": RichTextBuilder.rule,
    "li": RichTextBuilder.item,
    "tr": RichTextBuilder.row,
    "td": RichTextBuilder.cell,
    "th": RichTextBuilder.cell,
}
_UNSEEN = frozenset({"script", "style", "head", "title", "template"})
_LANGUAGE = re.compile(r"(?:^|\s)language-(\S+)")


# A "<" that begins no whole tag. Bounded, so that a text of nothing but beginnings costs little.
_STRAY = re.compile(r"""<(?!/?[a-zA-Z](?:[^<>"']|"[^"]{0,2048}+"|'[^']{0,2048}+'){0,2048}+>)""")
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)


def from_html(source: str) -> RichText:
    """Rich text of an HTML fragment. Its newlines are kept. Never fails: what is not a tag is text."""
    parser = _Parser()
    # What the parser sees are whole tags and text: declarations and unfinished tags make it fail or crawl.
    parser.feed(_STRAY.sub("&lt;", _without_comments(_DOCTYPE.sub("", source, count=1))))
    parser.close()
    return parser.out.finish()


def _without_comments(source: str) -> str:
    pieces, position = [], 0
    while (start := source.find("<!--", position)) >= 0 and (end := source.find("-->", start + 4)) >= 0:
        pieces.append(source[position:start])
        position = end + 3
    return "".join((*pieces, source[position:]))


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out = RichTextBuilder()
        self._unseen = ""
        self._spans: list[bool] = []
        self._after_break = False

    def handle_data(self, data: str) -> None:
        if self._after_break:
            data, self._after_break = data.removeprefix("\n"), False
        if self._unseen:
            return
        if self.out.inside("pre"):
            self.out.verbatim(data)
        else:
            self.out.text(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._after_break = False
        if self._unseen:
            return
        values = {name: value or "" for name, value in attrs}
        if tag in _UNSEEN:
            self._unseen = tag
        if tag in _NEWLINES:
            self.out.block(_NEWLINES[tag])
        if tag in _STYLES:
            self._begin_style(tag, values)
        else:
            self._begin_other(tag, values)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("br", "img", "hr"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            self._unseen = "" if tag == self._unseen else self._unseen
            return
        if tag == "blockquote":
            self.out.close("quote", "quote-expandable")
        elif tag in _STYLES:
            self.out.close(_STYLES[tag])
        elif tag in ("ul", "ol"):
            self.out.close_list()
        elif tag == "span" and self._spans and self._spans.pop():
            self.out.close("spoiler")
        if tag in _NEWLINES:
            self.out.block(1 if tag in _HEADINGS else _NEWLINES[tag])

    def _begin_style(self, tag: str, values: dict[str, str]) -> None:
        language = _LANGUAGE.search(values.get("class", "")) if tag == "code" else None
        if language and self.out.inside("pre"):
            self.out.label(language[1])
        if tag == "blockquote" and "expandable" in values:
            self.out.open("quote-expandable")
        else:
            self.out.open(_STYLES[tag], values.get(_VALUES.get(tag, ""), "").strip())

    def _begin_other(self, tag: str, values: dict[str, str]) -> None:
        match tag:
            case "br":
                self.out.newline()
                self._after_break = True
            case "ol":
                self.out.open_list(_number(values.get("start", "")))
            case "ul":
                self.out.open_list(None)
            case "span":
                self._begin_span(values)
            case "img":
                self._image(values)
            case _ if tag in _MARKS:
                _MARKS[tag](self.out)

    def _begin_span(self, values: dict[str, str]) -> None:
        spoiler = "tg-spoiler" in values.get("class", "").split()
        self._spans.append(spoiler)
        if spoiler:
            self.out.open("spoiler")

    def _image(self, values: dict[str, str]) -> None:
        address = values.get("src", "").strip()
        self.out.open("link", address)
        self.out.text(values.get("alt", "").strip() or address)
        self.out.close("link")


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else 1
