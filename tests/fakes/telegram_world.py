"""What the fake Bot API server knows: chats with their messages and topics, users, what the bot did."""

import time
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.telegram_pacing import Limits, Pacing
from tests.fakes.telegram_params import (
    BotApiError,
    ChatKey,
    Params,
    Rows,
    bad_request,
    chat_id,
    chat_key,
    chat_kind,
    flag,
    number,
    structure,
)
from tests.fakes.telegram_text import Entity

Message = dict[str, Any]
"""A message as the Bot API writes it."""

CAPTIONED = ("photo", "video", "animation", "audio", "document", "voice")
FILES = (*CAPTIONED, "video_note", "sticker")
KINDS = ("text", *FILES, "venue", "location", "contact", "poll", "dice")
_TIMED = {"width": 320, "height": 320, "duration": 3}
_FILE_FIELDS: dict[str, dict[str, Any]] = {
    "photo": {"width": 320, "height": 320},
    "video": _TIMED,
    "animation": _TIMED,
    "audio": {"duration": 3},
    "voice": {"duration": 3},
    "video_note": {"length": 240, "duration": 3},
    "sticker": {"type": "regular", "width": 512, "height": 512, "is_animated": False, "is_video": False},
}


@dataclass(slots=True)
class Accepted:
    """A message of the bot. `text` is what is read there now: the text or the caption, without markup.

    `earlier` are the texts before edits. `upload` is the content of a file that came with the call.
    """

    number: int
    at: float
    method: str
    chat: ChatKey
    message_id: int
    text: str
    thread: int | None = None
    entities: list[Entity] = field(default_factory=list)
    file: str | None = None
    buttons: Rows = field(default_factory=list)
    kind: str = "text"
    reply_to: int | None = None
    copied: tuple[int, int] | None = None
    album: str | None = None
    upload: str | None = None
    file_name: str | None = None
    earlier: list[str] = field(default_factory=list)
    deleted: bool = False


@dataclass(slots=True)
class Refused:
    """A call that was answered with an error."""

    at: float
    method: str
    chat: ChatKey | None
    status: int
    description: str


@dataclass(slots=True)
class Chat:
    """What is the matter with a chat. `topics` (id to open, closed or deleted) makes it a forum."""

    blocked: bool = False
    deactivated: bool = False
    kicked: bool = False
    missing: bool = False
    readonly: bool = False
    moved_to: int | None = None
    topics: dict[int, Literal["open", "closed", "deleted"]] | None = None
    may_manage_topics: bool = True
    last_message_id: int = 0
    topic_names: dict[int, str] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)


class World:
    """One bot's chats. Times are seconds since 1970."""

    def __init__(self, token: str, limits: Limits | None) -> None:
        self.me = {
            "id": int(token.partition(":")[0]),
            "is_bot": True,
            "first_name": "Fake",
            "username": "fake_bot",
            "can_join_groups": True,
            "can_read_all_group_messages": True,
        }
        self.limits = limits or Limits()
        self.clear()

    def clear(self) -> None:
        """Forget everything but the limits."""
        self.journal: list[Accepted] = []
        self.refused: list[Refused] = []
        self.chats: dict[ChatKey, Chat] = {}
        self.users: dict[int, dict[str, Any]] = {}
        self.commands: dict[str, list[dict[str, str]]] = {}
        self.reactions: list[dict[str, Any]] = []
        self.callbacks: dict[str, dict[str, Any] | None] = {}
        self.pacing = Pacing()
        self._sent: dict[tuple[ChatKey, int], Accepted] = {}

    def chat(self, key: ChatKey) -> Chat:
        """The chat, to be read or changed. Every chat exists until it is `missing`."""
        chat = self.chats.get(key)
        if chat is None:
            chat = self.chats[key] = Chat()
        return chat

    def texts(self, chat: ChatKey | None = None) -> list[str]:
        """What the chat, or everybody, has received, in order."""
        return [sent.text for sent in self.journal if chat is None or sent.chat == chat]

    def sent(self, key: ChatKey, message_id: int) -> Accepted | None:
        """The bot's message with that id."""
        return self._sent.get((key, message_id))

    def chat_json(self, key: ChatKey) -> dict[str, Any]:
        kind = chat_kind(key)
        shown: dict[str, Any] = {"id": chat_id(key), "type": kind}
        if kind == "private":
            user = self.users.get(chat_id(key), {})
            return shown | {name: user[name] for name in ("first_name", "username") if name in user}
        shown["title"] = f"Chat {key}"
        if self.chat(key).topics is not None:
            shown["is_forum"] = True
        return shown

    def place(self, params: Params, name: str = "chat_id") -> tuple[ChatKey, Chat]:
        """The chat of a call, when the bot may do something there."""
        key = chat_key(params.get(name))
        if key is None:
            raise bad_request(f"{name} is empty")
        chat = self.chat(key)
        if chat.missing:
            raise bad_request("chat not found")
        if chat.moved_to is not None:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            raise BotApiError(400, text, migrate_to_chat_id=chat.moved_to)
        if chat.kicked:
            raise BotApiError(403, f"Forbidden: bot was kicked from the {chat_kind(key)} chat")
        if chat.deactivated:
            raise BotApiError(403, "Forbidden: user is deactivated")
        if chat.blocked:
            raise BotApiError(403, "Forbidden: bot was blocked by the user")
        if chat.readonly:
            raise bad_request("have no rights to send a message")
        return key, chat

    def put(
        self,
        key: ChatKey,
        sender: dict[str, Any],
        content: dict[str, Any],
        *,
        thread: int | None = None,
        reply_to: int | None = None,
    ) -> Message:
        """A new message in a chat, whoever wrote it."""
        chat = self.chat(key)
        chat.last_message_id += 1
        message: Message = {
            "message_id": chat.last_message_id,
            "from": sender,
            "chat": self.chat_json(key),
            "date": int(time.time()),
        }
        if thread is not None:
            message |= {"message_thread_id": thread, "is_topic_message": True}
        if reply_to is not None and reply_to in chat.messages:
            message["reply_to_message"] = {
                name: value for name, value in chat.messages[reply_to].items() if name != "reply_to_message"
            }
        chat.messages[chat.last_message_id] = message = message | content
        return message

    def accept(
        self,
        method: str,
        params: Params,
        content: dict[str, Any],
        rows: Rows,
        *,
        copied: tuple[int, int] | None = None,
        upload: tuple[str, str] | None = None,
    ) -> Message:
        """A message of the bot, unless something is the matter with its chat, topic or the limits.

        `upload` is the content and the name of a file that came with the call.
        """
        key, chat = self.place(params)
        thread = topic_of(chat, params)
        reply_to = _reply(chat, params)
        self.pacing.message(self.limits, key)
        if rows:
            content = content | {"reply_markup": {"inline_keyboard": rows}}
        message = self.put(key, self.me, content, thread=thread, reply_to=reply_to)
        accepted = Accepted(
            number=len(self.journal) + 1,
            at=time.time(),
            method=method,
            chat=key,
            message_id=message["message_id"],
            text=text_of(message),
            thread=thread,
            entities=message.get("entities") or message.get("caption_entities") or [],
            file=file_of(message),
            buttons=rows,
            kind=kind_of(message),
            reply_to=reply_to,
            copied=copied,
            album=message.get("media_group_id"),
            upload=upload[0] if upload else None,
            file_name=upload[1] if upload else None,
        )
        self.journal.append(accepted)
        self._sent[key, accepted.message_id] = accepted
        return message


def topic_of(chat: Chat, params: Params) -> int | None:
    """The topic that a call names, when it takes messages."""
    thread = number(params, "message_thread_id")
    if thread is None:
        return None
    state = (chat.topics or {}).get(thread)
    if state is None or thread == 1:
        raise bad_request("message thread not found")
    if state == "deleted":
        raise bad_request("TOPIC_DELETED")
    if state == "closed":
        raise bad_request("TOPIC_CLOSED")
    return thread


def _reply(chat: Chat, params: Params) -> int | None:
    asked = structure(params, "reply_parameters") or {}
    message_id = number(asked, "message_id") or number(params, "reply_to_message_id")
    if message_id is None or message_id in chat.messages:
        return message_id
    if flag(asked, "allow_sending_without_reply"):
        return None
    raise bad_request("message to be replied not found")


def kind_of(message: Message) -> str:
    return next((kind for kind in KINDS if kind in message), "service")


def text_of(message: Message) -> str:
    text: str = message.get("text") or message.get("caption") or ""
    return text


def file_of(message: Message) -> str | None:
    """The file's id, or what the bot gave for it."""
    kind = kind_of(message)
    if kind not in FILES:
        return None
    media = message[kind][-1] if kind == "photo" else message[kind]
    file: str = media["file_id"]
    return file


def words(text: str, entities: list[Entity], name: str) -> dict[str, Any]:
    """The fields `text` or `caption` of a message."""
    if not text:
        return {}
    listed = "entities" if name == "text" else "caption_entities"
    return {name: text} | ({listed: entities} if entities else {})


def media(kind: str, file: str, file_name: str | None = None) -> dict[str, Any]:
    """The field of a message that holds a file. The same id is the same file."""
    value = {"file_id": file, "file_unique_id": f"u{zlib.crc32(file.encode()):08x}", "file_size": 1_000}
    value |= _FILE_FIELDS.get(kind, {})
    if kind in {"document", "video", "animation", "audio"}:
        value |= {"file_name": file_name or f"{kind}.bin"}
    return {kind: [value] if kind == "photo" else value}
