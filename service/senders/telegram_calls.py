"""The Bot API's calls for the steps of a relayed conversation, and what their answers hold.

Shapes: https://core.telegram.org/bots/api#copymessage and the methods named here.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from service.senders.base import Gone, Outcome, Refused
from service.senders.relay import (
    THREAD_CLOSED,
    THREAD_GONE,
    Actions,
    Copy,
    Edit,
    File,
    Relay,
    Say,
    Thread,
)

JSON_HEADERS = {"content-type": "application/json"}
THREAD_GONE_REASONS = ("message thread not found", "TOPIC_DELETED", "TOPIC_ID_INVALID")
UNCHANGED_REASONS = ("message is not modified", "TOPIC_NOT_MODIFIED")
_THREAD_METHODS = {"open": "createForumTopic", "reopen": "reopenForumTopic", "close": "closeForumTopic"}
_EDITABLE_MEDIA = frozenset({"animation", "audio", "document", "photo", "video"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the method, its parameters, and a document that goes with it."""

    method: str
    fields: Mapping[str, Any]
    file: File | None = None

    def written(self) -> tuple[Mapping[str, str], bytes]:
        """Headers and body: JSON, or a form where a file is sent."""
        if self.file is None:
            return JSON_HEADERS, orjson.dumps(self.fields)
        boundary = secrets.token_hex(16)
        lines = [_form_field(boundary, name, value) for name, value in self.fields.items()]
        lines.append(_form_field(boundary, "document", "attach://file"))
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{self.file.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = b"".join([*lines, head.encode(), self.file.content, f"\r\n--{boundary}--\r\n".encode()])
        return {"content-type": f"multipart/form-data; boundary={boundary}"}, body


def call_of(  # noqa: PLR0911 - one for each step
    relay: Relay, chat: int | str, thread: int | None
) -> Call:
    """The call that makes a step in that chat and topic."""
    match relay:
        case Say():
            return _into(chat, thread, relay.reply_to, relay.actions, "sendMessage", text=relay.text)
        case Copy(messages=(single,)):
            fields: dict[str, Any] = {"from_chat_id": relay.source, "message_id": single}
            if relay.caption is not None:
                fields["caption"] = relay.caption
            return _into(chat, thread, relay.reply_to, (), "copyMessage", **fields)
        case Copy():
            # copyMessages takes no reply_parameters. Its ids have to rise.
            ids = sorted(relay.messages)
            return _into(chat, thread, None, (), "copyMessages", from_chat_id=relay.source, message_ids=ids)
        case Edit():
            return Call(*_edit(relay, chat))
        case File():
            return replace(_into(chat, thread, None, (), "sendDocument"), file=relay)
        case Thread(action="open"):
            return Call(_THREAD_METHODS["open"], {"chat_id": chat, "name": relay.name})
        case Thread():
            return Call(_THREAD_METHODS[relay.action], {"chat_id": chat, "message_thread_id": thread})


def ids_in(content: bytes) -> tuple[str, ...] | None:
    """The ids of messages, or of a topic, in an answer that says ok; None: it does not, or is none."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    match answer:
        case {"ok": True, "result": {"message_id": int(found)} | {"message_thread_id": int(found)}}:
            return (str(found),)
        case {"ok": True, "result": [{"message_id": int()}, *_] as found}:
            return tuple(str(item["message_id"]) for item in found)
        case {"ok": True, "result": True}:
            return ()
    return None


def outcome_of_step(outcome: Outcome) -> Outcome:
    """The same, saying where it is only the topic that stands in the way."""
    reason = getattr(outcome, "reason", "")
    if any(text in reason for text in THREAD_GONE_REASONS):
        return Gone(reason=reason, code=THREAD_GONE)
    if "TOPIC_CLOSED" in reason:
        return Refused(reason=reason, code=THREAD_CLOSED)
    return outcome


def is_unchanged(outcome: Outcome) -> bool:
    """Whether the provider refused because it is already as it should be."""
    return isinstance(outcome, Refused) and any(text in outcome.reason for text in UNCHANGED_REASONS)


def _into(
    chat: int | str, thread: int | None, reply_to: int | None, actions: Actions, method: str, **fields: Any
) -> Call:
    fields = {"chat_id": chat, **fields}
    if thread is not None:
        fields["message_thread_id"] = thread
    if reply_to is not None:
        fields["reply_parameters"] = {"message_id": reply_to, "allow_sending_without_reply": True}
    if actions:
        fields["reply_markup"] = _keyboard(actions)
    return Call(method, fields)


def _edit(relay: Edit, chat: int | str) -> tuple[str, dict[str, Any]]:
    fields: dict[str, Any] = {"chat_id": chat, "message_id": relay.message}
    if relay.actions:
        fields["reply_markup"] = _keyboard(relay.actions)
    if relay.what == "text":
        return "editMessageText", fields | {"text": relay.text, "entities": list(relay.entities)}
    if relay.what == "caption" or relay.kind not in _EDITABLE_MEDIA:
        caption = {"caption": relay.text, "caption_entities": list(relay.entities)}
        return "editMessageCaption", fields | caption
    media = {
        "type": relay.kind,
        "media": relay.file,
        "caption": relay.text,
        "caption_entities": list(relay.entities),
    }
    return "editMessageMedia", fields | {"media": media}


def _keyboard(actions: Actions) -> dict[str, Any]:
    rows = [[{"text": action.text, "callback_data": action.action} for action in row] for row in actions]
    return {"inline_keyboard": rows}


def _form_field(boundary: str, name: str, value: Any) -> bytes:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
