"""Rich text in parts that a provider takes, cut where a reader expects it."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from unicodedata import category

from service.senders.base import LengthUnit
from service.senders.markup.rich import SPACE, RichText, Slices, Span, Style, utf16_length

_TOGETHER: frozenset[Style] = frozenset({"link", "code", "emoji"})
_CLUSTER_MAX_CHARS = 32
_ZERO_WIDTH_JOINER = "\u200d"
_FLAGS = range(0x1F1E6, 0x1F200)
_EXTENDING = (range(0x1F3FB, 0x1F400), range(0xE0020, 0xE0080), range(0x1160, 0x1200))
_CODECS = {"utf-16 units": ("utf-16-le", 2), "bytes": ("utf-8", 1)}

Writer = Callable[[RichText], str]


def length(text: str, unit: LengthUnit) -> int:
    """Length of a text as a provider counts it."""
    if unit == "utf-16 units":
        return utf16_length(text)
    return len(text) if unit == "characters" or text.isascii() else len(text.encode())


def split(
    rich: RichText, limit: int, unit: LengthUnit = "characters", written: Writer | None = None
) -> list[RichText]:
    """Parts of at most `limit` (>= 2, >= 100 with `written`), cut between paragraphs, lines or words where
    possible, never within a character and, when they are short, never within links and inline code.

    With `written` it is the length of what that writer makes of a part that counts. White space at a
    cut is dropped, and so are parts in which nothing is visible. A link too long for any part is
    left out, its text stays.
    """
    if length(rich.text, unit) <= limit and (written is None or length(written(rich), unit) <= limit):
        return [rich] if rich.visible else []
    if written is not None:
        rich = _without_long_links(rich, limit, unit, written)
    return [part for part in _parts(rich, limit, unit, written) if part.visible]


def _parts(rich: RichText, limit: int, unit: LengthUnit, written: Writer | None) -> Iterator[RichText]:
    text, slices, together = rich.text, Slices(rich), _short_spans(rich, limit)
    start = 0
    while start < len(text):
        room = limit
        while True:
            cut = _whole(together, start, _cut(text, start, room, unit))
            part = slices.part(start, start + len(text[start:cut].rstrip(SPACE)))
            size = length(written(part), unit) if written is not None else 0
            if size <= limit:
                break
            room = min(room - 1, length(part.text, unit) * limit // size)
            if not room:
                part = RichText(part.text)
                break
        yield part
        start = cut
        while start < len(text) and text[start] in "\r\n":
            start += 1


def _without_long_links(rich: RichText, limit: int, unit: LengthUnit, written: Writer) -> RichText:
    def fits(span: Span) -> bool:
        if len(span.value) < limit // 10:
            return True
        alone = RichText("x", (Span(0, 1, span.style, span.value),))
        return length(written(alone), unit) <= limit // 2

    return RichText(rich.text, tuple(span for span in rich.spans if fits(span)))


def _short_spans(rich: RichText, limit: int) -> list[tuple[int, int]]:
    """Where links, inline code and emoji lie that should not be cut; disjoint, in order."""
    short: list[tuple[int, int]] = []
    for span in rich.spans:
        if span.style not in _TOGETHER or 2 * (span.end - span.start) > limit:
            continue
        if not short or span.start >= short[-1][1]:
            short.append((span.start, span.end))
    return short


def _whole(together: list[tuple[int, int]], start: int, cut: int) -> int:
    """The cut, or the beginning of what should stay together around it."""
    first, last = together[bisect_left(together, (cut, 0)) - 1] if together else (0, 0)
    return first if start < first < cut < last else cut


def _cut(text: str, start: int, limit: int, unit: LengthUnit) -> int:
    """Where the part that begins at `start` ends: after the best separator within the limit."""
    end = _reach(text, start, limit, unit)
    if end == len(text):
        return end
    half = start + (end - start) // 2
    for separator, earliest in (("\n\n", half), ("\n", half), (" ", start), ("\n", start)):
        found = text.rfind(separator, earliest, end + len(separator))
        if found > start and not _joined(text, found + len(separator)):
            return found + len(separator)
    return _between_characters(text, start, end)


def _reach(text: str, start: int, limit: int, unit: LengthUnit) -> int:
    """How far a part may go; at least one character."""
    window = text[start : start + limit]
    if unit != "characters":
        codec, width = _CODECS[unit]
        window = window.encode(codec)[: width * limit].decode(codec, "ignore")
    return start + max(len(window), 1)


def _between_characters(text: str, start: int, end: int) -> int:
    """A cut at or a little before `end` that keeps an accent or a joined emoji with what it belongs to."""
    for cut in range(end, max(start, end - _CLUSTER_MAX_CHARS), -1):
        if not _joined(text, cut):
            return cut
    return end


def _joined(text: str, cut: int) -> bool:
    """Whether the characters before and after the cut are shown as one."""
    if not 0 < cut < len(text):
        return False
    before, after = text[cut - 1], text[cut]
    if before in "\r\n":
        return before == "\r" and after == "\n"
    if _ZERO_WIDTH_JOINER in (before, after) or category(after).startswith("M"):
        return True
    if ord(after) in _FLAGS:
        return _flags_before(text, cut) % 2 == 1
    return any(ord(after) in extending for extending in _EXTENDING)


def _flags_before(text: str, cut: int) -> int:
    """How many halves of flags stand right before the cut."""
    first = cut
    while first and ord(text[first - 1]) in _FLAGS:
        first -= 1
    return cut - first
