"""What the writers share: tags around spans, links one may follow, blocks and lines."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from service.senders.markup.rich import RichText, Slices, Span, Style

ZERO_WIDTH = "\u200b"
"""Shows nothing, and keeps apart what would mean something together."""

RAW: frozenset[Style] = frozenset({"code", "pre"})
_BLOCKS: frozenset[Style] = frozenset({"quote", "quote-expandable", "pre"})
_LINK = re.compile(r"(?:https?://|mailto:|tel:)[^\s]+", re.IGNORECASE)
_URL = re.compile(r"(https?://[^\s<>\"]+)", re.IGNORECASE)
_IN_URL = re.compile(r"[*~|`\\\[\]@]|(?<![^\W_])_|_(?![^\W_])")

Marks = Callable[[Span], tuple[str, str]]
Escape = Callable[[str], str]


def tagged(rich: RichText, marks: Marks, escape: Escape, raw: Escape | None = None, joint: str = "") -> str:
    """The text with each span between its two marks, closed and nested; everything else escaped.

    `raw` escapes code; `joint` goes between a closing and an opening mark that would touch.
    """
    pieces: list[str] = []
    open_spans: list[tuple[Span, str]] = []
    position = 0
    just_closed = False

    def advance(to: int) -> None:
        nonlocal position, just_closed
        if to > position:
            within = open_spans[-1][0].style if open_spans else None
            write = raw if raw is not None and within in RAW else escape
            pieces.append(write(rich.text[position:to]))
            position, just_closed = to, False

    def close_until(start: int) -> None:
        nonlocal just_closed
        while open_spans and open_spans[-1][0].end <= start:
            span, closing = open_spans[-1]
            advance(span.end)
            open_spans.pop()
            pieces.append(closing)
            just_closed = True

    for span in rich.spans:
        opening, closing = marks(span)
        if opening or closing:
            close_until(span.start)
            advance(span.start)
            pieces.append(joint + opening if just_closed else opening)
            open_spans.append((span, closing))
    close_until(len(rich.text))
    advance(len(rich.text))
    return "".join(pieces)


def followable(address: str) -> bool:
    """Whether a link may lead there: a web page, a mailbox or a telephone."""
    return _LINK.fullmatch(address) is not None


def spelled_out(rich: RichText, span: Span) -> str:
    """A link's address in parentheses, to stand behind its text; empty when the text is the address."""
    label, address = rich.text[span.start : span.end], span.value
    if not followable(address):
        return ""
    shown = re.sub(r"^(?:mailto|tel):", "", address, flags=re.IGNORECASE)
    return (
        ""
        if label.rstrip("/") in (shown, shown.rstrip("/"), shown.partition("://")[2].rstrip("/"))
        else f" ({shown})"
    )


def around_urls(text: str, escape: Escape) -> str:
    """The text escaped, its web addresses left whole but for characters that are markup elsewhere."""
    if "://" not in text:
        return escape(text)
    pieces = _URL.split(text)
    pieces[::2] = map(escape, pieces[::2])
    pieces[1::2] = map(bare_url, pieces[1::2])
    return "".join(pieces)


def bare_url(address: str) -> str:
    """A web address that stands in a text, without characters that could be markup or a mention."""
    return _IN_URL.sub(lambda found: f"%{ord(found[0]):02X}", address)


def blocks(rich: RichText) -> Iterator[tuple[Span | None, RichText]]:
    """Quotes and code blocks, each with its span and without it, and (None) the text between them."""
    slices, position = Slices(rich), 0
    for span in rich.spans:
        if span.style in _BLOCKS and span.start >= position:
            if span.start > position:
                yield None, slices.part(position, span.start)
            block = slices.part(span.start, span.end)
            yield span, RichText(block.text, tuple(one for one in block.spans if one.style != span.style))
            position = span.end
    if position < len(rich.text):
        yield None, slices.part(position, len(rich.text))


def by_line(rich: RichText) -> RichText:
    """Every span cut at newlines and without white space at its edges, as marks in a text need it."""
    spans = [
        replace(span, start=start, end=end) for span in rich.spans for start, end in _lines(rich.text, span)
    ]
    return RichText(rich.text, tuple(sorted(spans, key=lambda span: (span.start, -span.end))))


def _lines(text: str, span: Span) -> Iterator[tuple[int, int]]:
    start = span.start
    for line in text[span.start : span.end].split("\n"):
        if core := line.strip():
            first = start + line.index(core)
            yield first, first + len(core)
        start += len(line) + 1
