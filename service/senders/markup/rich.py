"""Formatted text as plain text plus spans, so that it can be measured and cut without touching markup."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from unicodedata import category, combining

Style = Literal[
    "bold",
    "italic",
    "underline",
    "strike",
    "spoiler",
    "link",
    "emoji",
    "code",
    "pre",
    "quote",
    "quote-expandable",
]

_WHOLE_STYLES: tuple[Style, ...] = ("emoji",)
SPACE = " \t\r\n\f"
_JOINERS = frozenset("\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_CLUSTER_MAX_CHARS = 32


@dataclass(frozen=True, slots=True)
class Span:
    """A style of the text's characters `start` to `end` (code points).

    `value` is a link's address, the language of a `pre`, or the id of a custom `emoji`.
    """

    start: int
    end: int
    style: Style
    value: str = ""


@dataclass(frozen=True, slots=True)
class RichText:
    """Text and its spans: ordered by start, the outer one first, nested or disjoint, never empty."""

    text: str
    spans: tuple[Span, ...] = ()

    @property
    def visible(self) -> bool:
        """Whether a person would see anything of it."""
        return any(not char.isspace() and category(char) not in ("Cc", "Cf") for char in self.text)

    def under(self, title: str) -> "RichText":
        """Itself below a bold first line."""
        shift = len(title) + 1
        moved = (replace(span, start=span.start + shift, end=span.end + shift) for span in self.spans)
        return RichText(f"{title}\n{self.text}", (Span(0, len(title), "bold"), *moved))

    def split(self, limit: int) -> list["RichText"]:
        """Parts of at most `limit` (>= 2) UTF-16 units, cut between paragraphs, lines or words where possible.

        White space at a cut is dropped, and so are parts in which nothing is visible.
        """
        if utf16_length(self.text) <= limit:
            return [self] if self.visible else []
        return [part for part in self._slices(_cuts(self.text, limit)) if part.visible]

    def _slices(self, cuts: Iterator[tuple[int, int]]) -> Iterator["RichText"]:
        live: Sequence[Span] = ()
        waiting = iter((*self.spans, Span(len(self.text), len(self.text), "bold")))
        following = next(waiting)
        for start, end in cuts:
            begun = list(live)
            while following.start < end:
                begun.append(following)
                following = next(waiting)
            clipped = (_clip(span, start, end) for span in begun)
            yield RichText(self.text[start:end], tuple(span for span in clipped if span is not None))
            live = [span for span in begun if span.end > end]


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _clip(span: Span, start: int, end: int) -> Span | None:
    if start <= span.start and span.end <= end:
        return replace(span, start=span.start - start, end=span.end - start) if start else span
    first, last = max(span.start, start), min(span.end, end)
    if first >= last or span.style in _WHOLE_STYLES:
        return None
    return replace(span, start=first - start, end=last - start)


def _cuts(text: str, limit: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = _cut(text, start, limit)
        yield start, start + len(text[start:end].rstrip(SPACE))
        start = end
        while start < len(text) and text[start] in "\r\n":
            start += 1


def _cut(text: str, start: int, limit: int) -> int:
    """Where the part that begins at `start` ends: after the best separator within the limit."""
    window = text[start : start + limit].encode("utf-16-le")[: 2 * limit]
    end = start + len(window.decode("utf-16-le", "ignore"))
    if end == len(text):
        return end
    half = start + (end - start) // 2
    for separator, earliest in (("\n\n", half), ("\n", half), (" ", start), ("\n", start)):
        found = text.rfind(separator, earliest, end + len(separator))
        if found > start:
            return found + len(separator)
    return _between_characters(text, start, end)


def _between_characters(text: str, start: int, end: int) -> int:
    """A cut at or a little before `end` that keeps an accent or a joined emoji with what it belongs to."""
    for cut in range(end, max(start, end - _CLUSTER_MAX_CHARS), -1):
        if not (combining(text[cut]) or text[cut] in _JOINERS or text[cut - 1] == "\u200d"):
            return cut
    return end
