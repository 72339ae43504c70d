"""What a message is made of in Telegram: the parts that are one call each, and the parameters of their calls.

`Attachment.name` is not used: Telegram shows the name that is in the address.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from service.senders.base import Button, Message
from service.senders.markup import RichText, clean, read, split, telegram_html, utf16_length
from service.senders.relay import Action
from service.senders.telegram_calls import Call

Kind = Literal["text", "photo", "document"]

TEXT_MAX_UNITS = 4_096
CAPTION_MAX_UNITS = 1_024
READ_IN_THREAD_CHARS = 10_000
_METHODS: dict[Kind, str] = {"text": "sendMessage", "photo": "sendPhoto", "document": "sendDocument"}


@dataclass(frozen=True, slots=True)
class Part:
    """What one call sends: text, or a file with the text as its caption."""

    kind: Kind
    text: RichText
    url: str = ""
    buttons: Sequence[Button] = ()
    actions: Sequence[Action] = ()

    @property
    def written(self) -> str:
        """The text as it is sent: HTML when it has styles, else the text itself."""
        return telegram_html(self.text) if self.text.spans else self.text.text


async def compose(message: Message) -> list[Part]:
    """The calls that make up a message: always the same ones for the same message. Empty: nothing to see."""
    if message.format != "plain" and len(message.body) > READ_IN_THREAD_CHARS:
        return await asyncio.to_thread(_parts, message)
    return _parts(message)


def _parts(message: Message) -> list[Part]:
    text = read(message.body, message.format)
    if title := clean(message.title).strip():
        text = text.under(title)
    files = [Part(file.kind, RichText(""), file.url) for file in message.attachments]
    if len(files) == 1 and utf16_length(text.text) <= CAPTION_MAX_UNITS:
        parts = [replace(files[0], text=text)]
    else:
        parts = [*files, *(Part("text", piece) for piece in split(text, TEXT_MAX_UNITS, "utf-16 units"))]
    if parts and (message.buttons or message.actions):
        parts[-1] = replace(parts[-1], buttons=message.buttons, actions=message.actions)
    return parts


def call_of_part(part: Part, chat: int | str, thread: int | None) -> Call:
    """The call that sends it to that chat and topic."""
    return Call(_METHODS[part.kind], _fields(part, chat, thread))


def _fields(part: Part, chat: int | str, thread: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"chat_id": chat}
    if thread is not None:
        fields["message_thread_id"] = thread
    if part.text.spans:
        fields["parse_mode"] = "HTML"
    if part.buttons or part.actions:
        rows = [[{"text": clean(button.text), "url": button.url}] for button in part.buttons]
        rows += [[{"text": clean(one.text), "callback_data": one.action}] for one in part.actions]
        fields["reply_markup"] = {"inline_keyboard": rows}
    if part.kind == "text":
        fields["text"] = part.written
    else:
        fields[part.kind] = part.url
        if part.text.text:
            fields["caption"] = part.written
    return fields
