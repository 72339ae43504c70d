"""Telegram's messages as the support desk takes them."""

from typing import Any

from aiogram.enums import ContentType
from aiogram.types import Message, PhotoSize

from service.support.values import Incoming, Media

_SERVICE = ("forum_topic", "general_forum", "new_chat", "left_chat", "pinned", "migrate", "delete_chat")


def incoming(message: Message) -> Incoming:
    """A message, or its new form after an edit. A thread counts only where it is a topic."""
    entities = message.entities or message.caption_entities or []
    replied = message.reply_to_message
    if replied is not None and replied.forum_topic_created is not None:
        replied = None  # Telegram names a topic's beginning so where nothing is answered.
    return Incoming(
        chat=str(message.chat.id),
        message=message.message_id,
        text=message.text or message.caption or "",
        entities=tuple(entity.model_dump(mode="json", exclude_none=True) for entity in entities),
        kind=kind_of(message),
        media=_media(message),
        album=message.media_group_id,
        reply_to=None if replied is None else replied.message_id,
        thread=message.message_thread_id if message.is_topic_message else None,
    )


def kind_of(message: Message) -> str:
    """What it holds, as Telegram names the field: text, photo, forum_topic_closed."""
    return ContentType(message.content_type).value


def is_written(message: Message) -> bool:
    """Whether a person wrote it, and not Telegram about the chat."""
    kind = kind_of(message)
    return not kind.startswith(_SERVICE) and not kind.endswith(("_created", "_started", "_ended", "_changed"))


def _media(message: Message) -> Media | None:
    kind = kind_of(message)
    held: Any = getattr(message, kind, None)
    file: Any = held[-1] if isinstance(held, list) and held and isinstance(held[-1], PhotoSize) else held
    if not hasattr(file, "file_unique_id"):
        return None
    return Media(kind, file.file_id, file.file_unique_id)
