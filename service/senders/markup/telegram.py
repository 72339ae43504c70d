"""Rich text as Telegram's HTML (https://core.telegram.org/bots/api#html-style)."""

import re
from html import escape

from service.senders.markup.rich import RichText, Span, Style
from service.senders.markup.writing import tagged

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
    return tagged(rich, _tags, _escaped)


def _escaped(text: str) -> str:
    return escape(text, quote=False)


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
