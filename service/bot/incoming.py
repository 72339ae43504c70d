"""Telegram's messages as the support desk takes them."""

from typing import Any

from aiogram.types import Message, PhotoSize

from service.support.values import Incoming, Media


def incoming(message: Message) -> Incoming:
    """A message, or its new form after an edit. A thread counts only where it is a topic."""
    entities = message.entities or message.caption_entities or []
    replied = message.reply_to_message
    return Incoming(
        chat=str(message.chat.id),
        message=message.message_id,
        text=message.text or message.caption or "",
        entities=tuple(entity.model_dump(mode="json", exclude_none=True) for entity in entities),
        kind=str(message.content_type),
        media=_media(message),
        album=message.media_group_id,
        reply_to=None if replied is None else replied.message_id,
        thread=message.message_thread_id if message.is_topic_message else None,
    )


def _media(message: Message) -> Media | None:
    kind = str(message.content_type)
    held: Any = getattr(message, kind, None)
    file: Any = held[-1] if isinstance(held, list) and held and isinstance(held[-1], PhotoSize) else held
    if not hasattr(file, "file_unique_id"):
        return None
    return Media(kind, file.file_id, file.file_unique_id)
