"""Text as producers write it, read once into rich text, which a sender writes in its provider's own way."""

import re
from typing import assert_never

from service.senders.base import TextFormat
from service.senders.markup.dialects import discord_markdown, mattermost_markdown, slack_mrkdwn
from service.senders.markup.html import from_html
from service.senders.markup.html_form import email_html, matrix_html, matrix_text, max_markup
from service.senders.markup.markdown import from_markdown
from service.senders.markup.plain import plain_text, vk_text
from service.senders.markup.rich import RichText, Span, utf16_length
from service.senders.markup.splitting import length, split
from service.senders.markup.telegram import telegram_html

__all__ = [
    "RichText",
    "Span",
    "clean",
    "discord_markdown",
    "email_html",
    "length",
    "matrix_html",
    "matrix_text",
    "mattermost_markdown",
    "max_markup",
    "plain_text",
    "read",
    "slack_mrkdwn",
    "split",
    "telegram_html",
    "utf16_length",
    "vk_text",
]

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Text without NUL and lone surrogates, which no provider takes, and with plain newlines."""
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def read(text: str, written_in: TextFormat) -> RichText:
    """What the text says and how it is styled. Never fails: what is not markup is text."""
    text = clean(text)
    match written_in:
        case "plain":
            return RichText(text)
        case "markdown":
            return from_markdown(text)
        case "html":
            return from_html(text)
    assert_never(written_in)
