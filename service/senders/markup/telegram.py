"""Rich text as Telegram's HTML (https://core.telegram.org/bots/api#html-style)."""

import re
from html import escape

from service.senders.markup.rich import RichText, Span, Style

_TAGS: dict[Style, str] = {
    "bold": "b",
    "italic": "i",
    "underline": "u",
    "strike": "s",
    "spoiler": "tg-spoiler",
    "code": "code",
    "quote": "blockquote",
}
_LINK = re.compile(r"(?:https?|tg|mailto|tel):[^\s]+", re.IGNORECASE)


def telegram_html(rich: RichText) -> str:
    """HTML in which every tag is allowed, closed and nested, and every other character escaped."""
    pieces: list[str] = []
    open_tags: list[tuple[int, str]] = []
    position = 0

    def advance(to: int) -> None:
        nonlocal position
        pieces.append(escape(rich.text[position:to], quote=False))
        position = to

    def close_until(start: int) -> None:
        while open_tags and open_tags[-1][0] <= start:
            end, closing = open_tags.pop()
            advance(end)
            pieces.append(closing)

    for span in rich.spans:
        opening, closing = _tags(span)
        if opening:
            close_until(span.start)
            advance(span.start)
            pieces.append(opening)
            open_tags.append((span.end, closing))
    close_until(len(rich.text))
    advance(len(rich.text))
    return "".join(pieces)


def _tags(span: Span) -> tuple[str, str]:
    """Opening and closing tag; both empty when Telegram has none for it."""
    value = escape(span.value)
    match span.style:
        case "link":
            return (f'<a href="{value}">', "</a>") if _LINK.fullmatch(span.value) else ("", "")
        case "emoji":
            return (f'<tg-emoji emoji-id="{value}">', "</tg-emoji>") if value.isdecimal() else ("", "")
        case "pre" if value:
            return f'<pre><code class="language-{value}">', "</code></pre>"
        case "pre":
            return "<pre>", "</pre>"
        case "quote-expandable":
            return "<blockquote expandable>", "</blockquote>"
        case style:
            return f"<{_TAGS[style]}>", f"</{_TAGS[style]}>"
