"""What people read of a text that Slack, Discord or Mattermost were sent, and whom it mentions.

Written from their documentation, apart from what writes such texts.
"""

import re
from dataclasses import dataclass, field
from html import unescape

from markdown_it import MarkdownIt
from markdown_it.token import Token

_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_HIDDEN = 0xF0000


@dataclass
class Shown:
    """`text` as on the screen; `marks` the styles that took effect; `links` and `mentions` in order."""

    text: str = ""
    marks: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    mentions: list[str] = field(default_factory=list)


def slack(source: str) -> Shown:
    """https://docs.slack.dev/messaging/formatting-message-text"""
    shown = Shown()

    def angle(found: re.Match[str]) -> str:
        target, _, label = found[1].partition("|")
        if target[:1] in ("!", "@", "#"):
            shown.mentions.append(target)
            return f"@{label or target[1:]}"
        shown.links.append(unescape(target))
        return label or target

    def style(found: re.Match[str]) -> str:
        shown.marks.append(found[1])
        return found[2]

    text = re.sub(r"(```)\n?(.*?)\n?```", style, source, flags=re.DOTALL)
    text = re.sub(r"(`)([^`\n]+)`", style, text)
    text = re.sub(r"<([^<>\n]+)>", angle, text)
    for _ in range(3):
        text = re.sub(r"(?<![\w*_~])([*_~])(?=\S)([^\n]*?\S)\1(?![\w*_~])", style, text)
    text = re.sub(r"^(?:>|&gt;) ?", "", text, flags=re.MULTILINE)
    shown.text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return shown


def discord(source: str) -> Shown:
    """https://support.discord.com/hc/en-us/articles/210298617"""
    shown = Shown()

    def hide(found: re.Match[str]) -> str:
        return chr(_HIDDEN + ord(found[1]))

    def style(found: re.Match[str]) -> str:
        shown.marks.append(found[1])
        return found[2]

    def link(found: re.Match[str]) -> str:
        shown.links.append(found[2])
        return found[1]

    text = _ESCAPED.sub(hide, source)
    shown.mentions += re.findall(r"<[@#][!&]?\d+>|@everyone|@here", text)
    text = re.sub(r"(```)(?:\w*\n)?(.*?)\n?```", style, text, flags=re.DOTALL)
    text = re.sub(r"(`)([^`\n]+)`", style, text)
    text = re.sub(r"\[([^\]\n]+)\]\((https?://[^)\s]+)\)", link, text)
    for mark in (r"\|\|", r"\*\*", "__", "~~", r"\*"):
        text = re.sub(rf"({mark})(?=\S)(.+?)(?<=\S){mark}", style, text, flags=re.DOTALL)
    text = re.sub(r"(?<!\w)(_)(?=\S)(.+?)(?<=\S)_(?!\w)", style, text)
    text = re.sub(r"^(?:#{1,3}|-#|>|>>>) ", "", text, flags=re.MULTILINE)
    shown.text = "".join(chr(ord(char) - _HIDDEN) if ord(char) > _HIDDEN else char for char in text)
    return shown


def mattermost(source: str) -> Shown:
    """https://docs.mattermost.com/end-user-guide/collaborate/format-messages.html: CommonMark with strikethrough."""
    shown = Shown()
    reader = MarkdownIt("commonmark", {"breaks": True}).enable("strikethrough")
    for token in reader.parse(source):
        _read(token, shown)
    shown.text = shown.text.removesuffix("\n")
    shown.mentions += re.findall(r"(?<![\w\u200b])@(?:all|channel|here)\b", shown.text)
    return shown


def _read(token: Token, shown: Shown) -> None:
    for child in token.children or ():
        match child.type:
            case "text" | "code_inline":
                shown.text += child.content
            case "softbreak" | "hardbreak":
                shown.text += "\n"
            case "link_open":
                shown.links.append(str(child.attrs["href"]))
        if child.nesting == 1 or child.type == "code_inline":
            shown.marks.append(child.markup or child.tag)
    if token.type in ("fence", "code_block"):
        shown.marks.append(token.markup or "indented")
        shown.text += token.content
    elif token.type == "inline":
        shown.text += "\n"
    elif token.nesting == 1 and token.tag not in ("p", ""):
        shown.marks.append(token.tag)
