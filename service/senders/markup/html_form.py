"""Rich text as the HTML of e-mail, of Matrix and of MAX: each has its own tags for the same styles."""

import re
from collections.abc import Mapping
from html import escape

from service.senders.markup.plain import plain_text
from service.senders.markup.rich import RichText, Span, Style
from service.senders.markup.writing import ZERO_WIDTH, Marks, followable, tagged

_TAGS: Mapping[Style, tuple[str, str]] = {
    "bold": ("<b>", "</b>"),
    "italic": ("<i>", "</i>"),
    "underline": ("<u>", "</u>"),
    "strike": ("<s>", "</s>"),
    "code": ("<code>", "</code>"),
    "pre": ("<pre>", "</pre>"),
    "quote": ("<blockquote>", "</blockquote>"),
    "quote-expandable": ("<blockquote>", "</blockquote>"),
}
_MATRIX_TAGS: Mapping[Style, tuple[str, str]] = {
    **_TAGS,
    "strike": ("<del>", "</del>"),
    "spoiler": ("<span data-mx-spoiler>", "</span>"),
    "pre": ("<pre><code>", "</code></pre>"),
}
_EMAIL_TAGS: Mapping[Style, tuple[str, str]] = {
    **_TAGS,
    "pre": ('<pre style="white-space:pre-wrap">', "</pre>"),
    **dict.fromkeys(
        ("quote", "quote-expandable"),
        (
            '<blockquote style="margin:0 0 0 8px;padding-left:8px;border-left:2px solid #ccc">',
            "</blockquote>",
        ),
    ),
}
_NO_IMAGES: Mapping[str, str] = {}
_PAGE = (
    '<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head>\n'
    '<body style="font-family:sans-serif;overflow-wrap:break-word">\n{}\n</body></html>\n'
)
_BREAKS_AT_BLOCK = re.compile(
    r"(?:<br>\n){1,2}(?P<begin><(?:blockquote|pre)\b)|(?P<end></(?:blockquote|pre)>)(?:<br>\n){1,2}"
)
_INDENT = re.compile(r"(?<=[ \n]) +")
_ROOM = re.compile(r"@(?=room\b)", re.IGNORECASE)
_PILL = re.compile(r"https?://matrix\.to(?:[/?#]|$)", re.IGNORECASE)


def max_markup(rich: RichText) -> str:
    """HTML as MAX reads it with `format: html`; a spoiler is shown."""
    return tagged(rich, _marks(_TAGS), _escaped)


def email_html(rich: RichText, images: Mapping[str, str] = _NO_IMAGES) -> str:
    """A whole HTML document; `plain_text` makes its text alternative. A spoiler is shown.

    `images` are content ids by address: where the text links to such an address, the image is shown.
    """
    plain_marks = _marks(_EMAIL_TAGS)

    def marks(span: Span) -> tuple[str, str]:
        if span.style == "link" and span.value in images:
            content_id = escape(images[span.value])
            return f'<img src="cid:{content_id}" alt="" style="max-width:100%"><br>\n', ""
        return plain_marks(span)

    return _PAGE.format(_document(rich, marks))


def matrix_html(rich: RichText) -> str:
    """The `formatted_body` of `org.matrix.custom.html`. Send it with an empty `m.mentions`.

    A link to matrix.to, which is shown as a mention, is left out.
    """
    kept = (one for one in rich.spans if not (one.style == "link" and _PILL.match(one.value)))
    return _room_unmentioned(_document(RichText(rich.text, tuple(kept)), _marks(_MATRIX_TAGS)))


def matrix_text(rich: RichText) -> str:
    """The `body` beside `matrix_html`, which mentions nobody."""
    return _room_unmentioned(plain_text(rich))


def _room_unmentioned(text: str) -> str:
    return _ROOM.sub(f"@{ZERO_WIDTH}", text)


def _document(rich: RichText, marks: Marks) -> str:
    return _BREAKS_AT_BLOCK.sub(r"\g<begin>\g<end>", tagged(rich, marks, _with_breaks, _escaped))


def _marks(tags: Mapping[Style, tuple[str, str]]) -> Marks:
    def marks(span: Span) -> tuple[str, str]:
        if span.style == "link":
            return (f'<a href="{escape(span.value)}">', "</a>") if followable(span.value) else ("", "")
        return tags.get(span.style, ("", ""))

    return marks


def _escaped(text: str) -> str:
    return escape(text, quote=False)


def _with_breaks(text: str) -> str:
    indented = _INDENT.sub(lambda found: "\u00a0" * len(found[0]), _escaped(text))
    return indented.replace("\n", "<br>\n")
