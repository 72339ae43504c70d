"""Formatted text as plain text plus spans, so that it can be measured and cut without touching markup."""

from dataclasses import dataclass, replace
from typing import Literal
from unicodedata import category

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


class Slices:
    """Cuts rich text into parts from front to back, in one pass over its spans."""

    def __init__(self, rich: RichText) -> None:
        self._rich = rich
        self._live: list[Span] = []
        self._next = 0

    def part(self, start: int, end: int) -> RichText:
        """The characters from `start` to `end` with their spans. `start` never goes back."""
        spans = self._rich.spans
        self._live = [span for span in self._live if span.end > start]
        while self._next < len(spans) and spans[self._next].start < end:
            self._live.append(spans[self._next])
            self._next += 1
        clipped = (_clip(span, start, end) for span in self._live)
        return RichText(self._rich.text[start:end], tuple(span for span in clipped if span is not None))


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
