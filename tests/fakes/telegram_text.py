"""What the Bot API makes of a text: Telegram's HTML parsed into entities, its lengths, its errors.

https://core.telegram.org/bots/api#html-style; the words of the errors are the official server's.
"""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

Entity = dict[str, Any]

_TYPES = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "span": "spoiler",
    "tg-spoiler": "spoiler", "a": "text_link", "tg-emoji": "custom_emoji", "code": "code", "pre": "pre",
    "blockquote": "blockquote",
}  # fmt: skip
_PIECE = re.compile(r"[^<&]+|&(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);|&|<")
_TAG = re.compile(
    r"""</(?P<end>[A-Za-z][A-Za-z0-9-]*)\s*>|<(?P<start>[A-Za-z][A-Za-z0-9-]*)(?P<rest>(?:[^<>"']|"[^"]*"|'[^']*')*)>"""
)
_ATTRIBUTE = re.compile(r"""([A-Za-z][A-Za-z0-9-]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")


class UnparsableError(ValueError):
    """The text after `can't parse entities: `."""


@dataclass(slots=True)
class _Open:
    tag: str
    offset: int
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def language(self) -> str:
        return self.attributes.get("class", "").removeprefix("language-")


def utf16(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text) + sum(char > "\uffff" for char in text)


def parse_html(source: str) -> tuple[str, list[Entity]]:
    """Visible text and its entities, trimmed as the server trims. Raises `UnparsableError`."""
    text: list[str] = []
    length = position = 0
    stack: list[_Open] = []
    entities: list[Entity] = []
    while position < len(source):
        if source[position] == "<":
            tag = _tag(source, position)
            if tag["end"] is None:
                stack.append(_opened(tag, length, source))
            else:
                opened = _closed(tag, stack, source)
                if opened.tag == "code" and stack and stack[-1].tag == "pre":
                    stack[-1].attributes["language"] = opened.language
                elif length > opened.offset:
                    entities.append(_entity(opened, length))
            position = tag.end()
            continue
        piece = _PIECE.match(source, position)
        assert piece is not None
        shown = unescape(piece[0]) if piece[0][0] == "&" and len(piece[0]) > 1 else piece[0]
        text.append(shown)
        length += utf16(shown)
        position = piece.end()
    if stack:
        raise UnparsableError(f'Can\'t find end tag corresponding to start tag "{stack[-1].tag}"')
    return _trim("".join(text), sorted(entities, key=lambda entity: (entity["offset"], -entity["length"])))


def _bytes(source: str, position: int) -> int:
    return len(source[:position].encode())


def _tag(source: str, position: int) -> re.Match[str]:
    tag = _TAG.match(source, position)
    if tag is None:
        raise UnparsableError(f"Unclosed start tag at byte offset {_bytes(source, position)}")
    return tag


def _opened(tag: re.Match[str], offset: int, source: str) -> _Open:
    name = tag["start"].lower()
    where = f"at byte offset {_bytes(source, tag.start())}"
    attributes = {
        found[1].lower(): unescape(found[2] or found[3] or found[4] or "")
        for found in _ATTRIBUTE.finditer(tag["rest"])
    }
    if name not in _TYPES:
        raise UnparsableError(f'Unsupported start tag "{name}" {where}')
    if name == "span" and attributes.get("class") != "tg-spoiler":
        raise UnparsableError(f'Tag "span" must have class "tg-spoiler" {where}')
    if name == "tg-emoji" and not attributes.get("emoji-id", "").isdecimal():
        raise UnparsableError("Invalid custom emoji identifier specified")
    return _Open(name, offset, attributes)


def _closed(tag: re.Match[str], stack: list[_Open], source: str) -> _Open:
    name = tag["end"].lower()
    where = f"at byte offset {_bytes(source, tag.start())}"
    if not stack:
        raise UnparsableError(f"Unexpected end tag {where}")
    if stack[-1].tag != name:
        raise UnparsableError(f'Unmatched end tag {where}, expected "</{stack[-1].tag}>", found "</{name}>"')
    return stack.pop()


def _entity(opened: _Open, end: int) -> Entity:
    entity: Entity = {"type": _TYPES[opened.tag], "offset": opened.offset, "length": end - opened.offset}
    if opened.tag == "a":
        entity["url"] = opened.attributes.get("href", "")
    if opened.tag == "tg-emoji":
        entity["custom_emoji_id"] = opened.attributes["emoji-id"]
    if opened.tag == "blockquote" and "expandable" in opened.attributes:
        entity["type"] = "expandable_blockquote"
    if opened.tag == "pre" and opened.attributes.get("language"):
        entity["language"] = opened.attributes["language"]
    return entity


def _trim(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    shown = text.strip()
    before, most = utf16(text[: len(text) - len(text.lstrip())]), utf16(shown)
    kept = []
    for entity in entities:
        start = max(entity["offset"] - before, 0)
        end = min(entity["offset"] + entity["length"] - before, most)
        if end > start:
            kept.append(entity | {"offset": start, "length": end - start})
    return shown, kept
