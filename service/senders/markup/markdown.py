"""CommonMark, with tables and ~~strike~~, as rich text. HTML in it is shown as it is written."""

from collections.abc import Callable, Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from service.senders.markup.builder import RichTextBuilder as Out
from service.senders.markup.rich import RichText, Style

_STYLES: dict[str, Style] = {
    "strong": "bold",
    "em": "italic",
    "s": "strike",
    "link": "link",
    "heading": "bold",
    "blockquote": "quote",
}
_NEWLINES = {"heading_open": 2, "heading_close": 1, "blockquote_open": 1, "blockquote_close": 1}


def from_markdown(source: str) -> RichText:
    """Rich text of a CommonMark document. Never fails: what is not markup is text."""
    out = Out()
    _write(out, _parser().parse(source))
    return out.finish()


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _write(out: Out, tokens: Sequence[Token]) -> None:
    for token in tokens:
        name, _, edge = token.type.rpartition("_")
        if name in _STYLES and edge in ("open", "close"):
            _style(out, token, _STYLES[name])
        elif token.type in _MARKS:
            _MARKS[token.type](out)
        elif token.type in _CONTENT:
            _CONTENT[token.type](out, token)


def _style(out: Out, token: Token, style: Style) -> None:
    if token.type in _NEWLINES:
        out.block(_NEWLINES[token.type])
    if token.nesting > 0:
        out.open(style, _attribute(token, "href"))
    else:
        out.close(style)


def _attribute(token: Token, name: str) -> str:
    return str(token.attrs.get(name, ""))


def _paragraph(out: Out, token: Token) -> None:
    out.block(1 if token.hidden else 2)


def _inline(out: Out, token: Token) -> None:
    _write(out, token.children or ())


def _text(out: Out, token: Token) -> None:
    out.text(token.content)


def _inline_code(out: Out, token: Token) -> None:
    out.open("code")
    out.verbatim(token.content)
    out.close("code")


def _code_block(out: Out, token: Token) -> None:
    out.block()
    out.open("pre", (token.info.split() or [""])[0])
    out.verbatim(token.content.rstrip("\n"))
    out.close("pre")
    out.block()


def _image(out: Out, token: Token) -> None:
    address = _attribute(token, "src")
    out.open("link", address)
    out.text(token.content or address)
    out.close("link")


def _bullets(out: Out) -> None:
    out.open_list(None)


def _numbers(out: Out, token: Token) -> None:
    out.open_list(int(_attribute(token, "start") or 1))


_MARKS: dict[str, Callable[[Out], None]] = {
    "softbreak": Out.newline,
    "hardbreak": Out.newline,
    "hr": Out.rule,
    "bullet_list_open": _bullets,
    "bullet_list_close": Out.close_list,
    "ordered_list_close": Out.close_list,
    "list_item_open": Out.item,
    "table_open": Out.block,
    "table_close": Out.block,
    "tr_open": Out.row,
    "th_open": Out.cell,
    "td_open": Out.cell,
}
_CONTENT: dict[str, Callable[[Out, Token], None]] = {
    "inline": _inline,
    "text": _text,
    "code_inline": _inline_code,
    "image": _image,
    "paragraph_open": _paragraph,
    "fence": _code_block,
    "code_block": _code_block,
    "ordered_list_open": _numbers,
}
