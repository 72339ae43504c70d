"""Rich text from a document that is read front to back."""

from collections import Counter
from dataclasses import dataclass

from service.senders.markup.rich import SPACE, RichText, Span, Style

_RAW: tuple[Style, ...] = ("code", "pre")
_QUOTES: tuple[Style, ...] = ("quote", "quote-expandable")
_BULLET = "•"
_RULE = "———"
_INDENTED_LEVELS = 8


@dataclass(slots=True)
class _Opened:
    style: Style
    value: str
    shown: bool
    start: int | None = None
    end: int = 0


class RichTextBuilder:
    """Collects text, blocks and styles in reading order and keeps white space and nesting orderly.

    A style within itself and any style within code are left out; white space at a block's edge is
    dropped, and so is the one at a style's edge from the style.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._space = ""
        self._breaks = 0
        self._opened: list[_Opened] = []
        self._stack: list[_Opened] = []
        self._open: Counter[Style] = Counter()
        self._lists: list[int | None] = []
        self._after_mark = False
        self._cells = 0

    def text(self, text: str) -> None:
        """Add running text."""
        core = text.strip(SPACE)
        if not core:
            self._space += text
            return
        leading = text[: len(text) - len(text.lstrip(SPACE))]
        self._gap(leading)
        self._append(core)
        self._space = text[len(leading) + len(core) :]

    def verbatim(self, text: str) -> None:
        """Add text whose white space is kept, as that of code."""
        if text:
            self._gap("")
            self._append(text)

    def block(self, newlines: int = 1) -> None:
        """Make what follows begin after at least so many newlines."""
        if not self._after_mark:
            self._breaks = max(self._breaks, newlines)
        self._space = ""

    def newline(self) -> None:
        """Add one newline at this place."""
        if self._breaks:
            self._breaks += 1
        else:
            self._space = self._space.rstrip(" \t") + "\n"

    def rule(self) -> None:
        """Add a line between what comes before and after."""
        self.block(2)
        self.text(_RULE)
        self.block(2)

    def open(self, style: Style, value: str = "") -> None:
        """Begin a style."""
        alike = _QUOTES if style in _QUOTES else (style,)
        opened = _Opened(style, value, shown=not self.inside(*_RAW, *alike))
        self._opened.append(opened)
        self._stack.append(opened)
        self._open[style] += 1

    def label(self, value: str) -> None:
        """Give the style that was begun last, and is still open, its value."""
        self._stack[-1].value = value

    def close(self, *styles: Style) -> None:
        """End the innermost of these styles, and what was begun within it. Nothing when none is open."""
        if not self.inside(*styles):
            return
        while True:
            top = self._stack.pop()
            self._open[top.style] -= 1
            top.end = self._length
            if top.style in styles:
                return

    def inside(self, *styles: Style) -> bool:
        """Whether one of these styles is open."""
        return any(self._open[style] for style in styles)

    def open_list(self, first: int | None) -> None:
        """Begin a list; `first` is the number of its first item, None: it has bullets."""
        self._leave_mark()
        self._lists.append(first)

    def close_list(self) -> None:
        """End the innermost list."""
        self._leave_mark()
        if self._lists:
            self._lists.pop()

    def item(self) -> None:
        """Begin an item of the innermost list with its bullet or number."""
        self._leave_mark()
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        mark = _BULLET if number is None else f"{number}."
        depth = min(len(self._lists) - 1, _INDENTED_LEVELS)
        self.verbatim("  " * depth + mark + " ")
        self._after_mark = True

    def row(self) -> None:
        """Begin a row of a table."""
        self._leave_mark()
        self._cells = 0

    def cell(self) -> None:
        """Begin a cell of the row."""
        if self._cells:
            self.text(" | ")
        self._cells += 1

    def finish(self) -> RichText:
        """Everything added, with what is still open closed."""
        while self._stack:
            self.close(self._stack[-1].style)
        spans = tuple(
            Span(opened.start, opened.end, opened.style, opened.value)
            for opened in self._opened
            if opened.shown and opened.start is not None
        )
        return RichText("".join(self._pieces), spans)

    def _leave_mark(self) -> None:
        self._after_mark = False
        self.block()

    def _gap(self, leading: str) -> None:
        if self._length and not self._after_mark:
            gap = "\n" * self._breaks if self._breaks else self._space + leading
            self._pieces.append(gap)
            self._length += len(gap)
        self._space, self._breaks, self._after_mark = "", 0, False

    def _append(self, text: str) -> None:
        for opened in reversed(self._stack):
            if opened.start is not None:
                break
            opened.start = self._length
        self._pieces.append(text)
        self._length += len(text)
