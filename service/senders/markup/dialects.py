"""Rich text in the markdown of Slack, Discord and Mattermost, which differ in nearly everything.

What stands in the text is never markup: Discord and Mattermost have a backslash for that; Slack has none, so
that a character which could be a mark there is shown by one that looks the same.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from service.senders.markup.rich import RichText, Span, Style
from service.senders.markup.writing import (
    ZERO_WIDTH,
    Escape,
    around_urls,
    blocks,
    by_line,
    spelled_out,
    tagged,
)

_LOOKS_LIKE = {"*": "∗", "_": "\uff3f", "~": "∼", "`": "ˋ"}
_FENCE = re.compile(r"`(?=``)")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#-]{1,20}")
_SHORTCODE = re.compile(r":(?=[\w+'-]*[^\W\d][\w+'-]*:)")
_IN_TARGET = re.compile(r"""[()<>"'|\\\[\]*~`]|_(?=_)""")
_WEB = ("http://", "https://")

# A low line within a word marks nothing, and names are full of them.
_LOW_LINE = r"(?<![^\W_])_|_(?![^\W_])"
_SLACK_MARK = re.compile(rf"[*~`]|{_LOW_LINE}")
_SLACK_QUOTE = re.compile(r"^(?=\s*&gt;)", re.MULTILINE)
_SLACK_MENTION = re.compile(r"@(?=(?:here|channel|everyone)\b)")
_MARK = re.compile(rf"[\\`*~|\[\]]|{_LOW_LINE}")
_LINE_MARK = re.compile(r"^([ \t]*)(?:([#>+=-])|(\d{1,9})([.)])(?=\s|$))", re.MULTILINE)
_DISCORD_MENTION = re.compile(r"@(?=everyone|here)")
_MATTERMOST_NAME = re.compile(r"(?<![^\W_])@(?=\w)|[#~](?=[^\W\d])")
_TAG = re.compile(r"<(?=\S)")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_INDENT = re.compile(r"^[ \t]{4,}|^\t+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Dialect:
    marks: Mapping[Style, str]
    link: Callable[[str], tuple[str, str]]
    """What stands before and after the text of a link."""
    links_to: tuple[str, ...]
    escape: Escape
    escape_code: Escape
    languages: bool = True
    after_quote: int = 1
    """Newlines without which what follows a quote would be in it."""
    marks_in_words: bool = True

    def write(self, rich: RichText) -> str:
        text, owed = "", 0
        for span, part in blocks(rich):
            written = self._inline(part) if span is None else self._block(span, part)
            given = len(written) - len(written.lstrip("\n")) + len(text) - len(text.rstrip("\n"))
            text += "\n" * (max(owed, span is not None) - given if text else 0) + written
            owed = 0 if span is None else 1 if span.style == "pre" else self.after_quote
        return text

    def _block(self, span: Span, part: RichText) -> str:
        if span.style != "pre":
            return "\n".join("> " + line for line in self.write(part).split("\n"))
        language = span.value if self.languages and _LANGUAGE.fullmatch(span.value) else ""
        content = _FENCE.sub(f"`{ZERO_WIDTH}", self.escape_code(part.text).strip("\n"))
        return f"```{language}\n{content}\n```"

    def _inline(self, rich: RichText) -> str:
        def marks(span: Span) -> tuple[str, str]:
            if span.style == "link":
                return self._link(rich, span)
            mark = self.marks.get(span.style, "")
            if not mark or self.marks_in_words:
                return mark, mark
            before, after = rich.text[: span.start][-1:], rich.text[span.end : span.end + 1]
            return ZERO_WIDTH * before.isalnum() + mark, mark + ZERO_WIDTH * after.isalnum()

        return tagged(by_line(rich), marks, self._text, self._code, joint=ZERO_WIDTH)

    def _text(self, text: str) -> str:
        return around_urls(text, self.escape)

    def _code(self, text: str) -> str:
        return self.escape_code(text).replace("`", _LOOKS_LIKE["`"])

    def _link(self, rich: RichText, span: Span) -> tuple[str, str]:
        if not span.value.lower().startswith(self.links_to) or "://" in rich.text[span.start : span.end]:
            return "", self._text(spelled_out(rich, span))
        return self.link(_IN_TARGET.sub(_percent, span.value))


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def _slack_text(text: str) -> str:
    text = _SLACK_MARK.sub(lambda found: _LOOKS_LIKE[found[0]], _angles(text))
    text = _SLACK_QUOTE.sub(ZERO_WIDTH, text)
    text = _SLACK_MENTION.sub(f"@{ZERO_WIDTH}", text)
    return _SHORTCODE.sub(f":{ZERO_WIDTH}", text)


def _angles(text: str) -> str:
    return escape(text, quote=False)


def _backslashed(text: str) -> str:
    return _LINE_MARK.sub(_no_line_mark, _MARK.sub(r"\\\g<0>", text))


def _no_line_mark(found: re.Match[str]) -> str:
    space, mark, number, period = found.groups()
    if mark == "=":
        return f"{space}{ZERO_WIDTH}="
    return f"{space}\\{mark}" if mark else f"{space}{number}\\{period}"


def _discord_text(text: str) -> str:
    return _DISCORD_MENTION.sub(f"@{ZERO_WIDTH}", _TAG.sub(r"\\<", _backslashed(text)))


def _mattermost_text(text: str) -> str:
    text = _TAG.sub(f"<{ZERO_WIDTH}", _backslashed(_ENTITY.sub("&amp;", text)))
    text = _MATTERMOST_NAME.sub(rf"\g<0>{ZERO_WIDTH}", text)
    text = _SHORTCODE.sub(f":{ZERO_WIDTH}", text)
    return _INDENT.sub(lambda found: "\u00a0" * len(found[0].expandtabs(4)), text)


def _slack_link(address: str) -> tuple[str, str]:
    return f"<{_angles(address)}|", ">"


def _markdown_link(address: str) -> tuple[str, str]:
    return "[", f"]({address})"


_SLACK = _Dialect(
    marks={"bold": "*", "italic": "_", "strike": "~", "code": "`"},
    link=_slack_link,
    links_to=(*_WEB, "mailto:", "tel:"),
    escape=_slack_text,
    escape_code=_angles,
    languages=False,
    marks_in_words=False,
)
_DISCORD = _Dialect(
    marks={"bold": "**", "italic": "*", "underline": "__", "strike": "~~", "spoiler": "||", "code": "`"},
    link=_markdown_link,
    links_to=_WEB,
    escape=_discord_text,
    escape_code=str,
)
_MATTERMOST = _Dialect(
    marks={"bold": "**", "italic": "*", "strike": "~~", "code": "`"},
    link=_markdown_link,
    links_to=(*_WEB, "mailto:", "tel:"),
    escape=_mattermost_text,
    escape_code=str,
    after_quote=2,
)


def slack_mrkdwn(rich: RichText) -> str:
    """Slack's mrkdwn (https://docs.slack.dev/messaging/formatting-message-text).

    Underline and spoilers are shown plainly.
    """
    return _SLACK.write(rich)


def discord_markdown(rich: RichText) -> str:
    """Discord's markdown. Send it with `allowed_mentions: {"parse": []}`."""
    return _DISCORD.write(rich)


def mattermost_markdown(rich: RichText) -> str:
    """Mattermost's markdown. Underline and spoilers are shown plainly."""
    return _MATTERMOST.write(rich)
