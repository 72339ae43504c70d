"""The methods of the fake Bot API server that change what is there, answer buttons, and tell about the bot.

Not confirmed: the words for a message without text or caption, and for one that is not the bot's.
"""

from collections.abc import Callable
from typing import Any

from tests.fakes.telegram_params import BotApiError, Params, bad_request, buttons, number, structure, visible
from tests.fakes.telegram_text import utf16
from tests.fakes.telegram_world import CAPTIONED, Message, World, kind_of, media, text_of, words

TEXT_MAX, CAPTION_MAX, ANSWER_MAX = 4096, 1024, 200
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)

Method = Callable[[World, str, Params], Any]


def edit_text(world: World, _method: str, params: Params) -> Message:
    message = _mine(world, params)
    if kind_of(message) != "text":
        raise bad_request("there is no text in the message to edit")
    text, entities = visible(params, "text")
    if not text:
        raise bad_request("message text is empty")
    if utf16(text) > TEXT_MAX:
        raise bad_request("message is too long")
    return _changed(world, params, message, words(text, entities, "text"), ("text", "entities"))


def edit_caption(world: World, _method: str, params: Params) -> Message:
    message = _mine(world, params)
    if kind_of(message) not in CAPTIONED:
        raise bad_request("there is no caption in the message to edit")
    text, entities = visible(params, "caption")
    if utf16(text) > CAPTION_MAX:
        raise bad_request("message caption is too long")
    content = words(text, entities, "caption")
    return _changed(world, params, message, content, ("caption", "caption_entities"))


def edit_media(world: World, _method: str, params: Params) -> Message:
    message = _mine(world, params)
    item = structure(params, "media") or {}
    if item.get("type") not in CAPTIONED or not item.get("media"):
        raise bad_request("media type is invalid")
    content = media(item["type"], str(item["media"])) | words(*visible(item, "caption"), "caption")
    old = (kind_of(message), "text", "entities", "caption", "caption_entities")
    return _changed(world, params, message, content, old)


def edit_markup(world: World, _method: str, params: Params) -> Message:
    return _changed(world, params, _mine(world, params), {}, ())


def delete_message(world: World, _method: str, params: Params) -> bool:
    key, chat = world.place(params)
    message_id = number(params, "message_id")
    if message_id not in chat.messages:
        raise bad_request("message to delete not found")
    del chat.messages[message_id]
    if sent := world.sent(key, message_id):
        sent.deleted = True
    return True


def delete_messages(world: World, method: str, params: Params) -> bool:
    _, chat = world.place(params)
    for message_id in structure(params, "message_ids") or []:
        if message_id in chat.messages:
            delete_message(world, method, {**params, "message_id": message_id})
    return True


def answer_callback(world: World, _method: str, params: Params) -> bool:
    query = str(params.get("callback_query_id") or "")
    if world.callbacks.get(query, {}) is not None:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    if len(str(params.get("text") or "")) > ANSWER_MAX:
        raise bad_request("MESSAGE_TOO_LONG")
    world.callbacks[query] = {name: value for name, value in params.items() if name != "callback_query_id"}
    return True


def set_reaction(world: World, _method: str, params: Params) -> bool:
    key, chat = world.place(params)
    if number(params, "message_id") not in chat.messages:
        raise bad_request("message to react not found")
    world.reactions.append({**params, "chat_id": key, "reaction": structure(params, "reaction")})
    return True


def set_commands(world: World, _method: str, params: Params) -> bool:
    language = str(params.get("language_code") or "")
    world.commands[language] = structure(params, "commands") or []
    return True


def get_commands(world: World, _method: str, params: Params) -> list[dict[str, str]]:
    return world.commands.get(str(params.get("language_code") or ""), [])


def in_a_chat(world: World, _method: str, params: Params) -> bool:
    world.place(params)
    return True


def get_chat(world: World, _method: str, params: Params) -> dict[str, Any]:
    key, _ = world.place(params)
    gifts = dict.fromkeys(
        ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels"),
        False,
    )
    more = {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts}
    return world.chat_json(key) | more


def get_member(world: World, _method: str, params: Params) -> dict[str, Any]:
    world.place(params)
    user = world.users.get(number(params, "user_id") or 0)
    if user is None:
        raise bad_request("PARTICIPANT_ID_INVALID")
    return {"status": "member", "user": user}


def _mine(world: World, params: Params) -> Message:
    _, chat = world.place(params)
    message = chat.messages.get(number(params, "message_id") or 0)
    if message is None:
        raise bad_request("message to edit not found")
    if message["from"] != world.me:
        raise bad_request("message can't be edited")
    return message


def _changed(
    world: World, params: Params, message: Message, content: dict[str, Any], old: tuple[str, ...]
) -> Message:
    """The message with that content in the place of the old fields, and with the buttons of the call."""
    rows = buttons(params)
    kept = {name: value for name, value in message.items() if name not in {*old, "reply_markup", "edit_date"}}
    new = kept | content | ({"reply_markup": {"inline_keyboard": rows}} if rows else {})
    if new == {name: value for name, value in message.items() if name != "edit_date"}:
        raise BotApiError(400, f"Bad Request: {NOT_MODIFIED}")
    key, chat = world.place(params)
    chat.messages[message["message_id"]] = new = new | {"edit_date": message["date"]}
    if sent := world.sent(key, message["message_id"]):
        if text_of(new) != sent.text:
            sent.earlier.append(sent.text)
        sent.text, sent.buttons, sent.kind = text_of(new), rows, kind_of(new)
        sent.entities = new.get("entities") or new.get("caption_entities") or []
    return new


METHODS: dict[str, Method] = {
    "editmessagetext": edit_text,
    "editmessagecaption": edit_caption,
    "editmessagemedia": edit_media,
    "editmessagereplymarkup": edit_markup,
    "deletemessage": delete_message,
    "deletemessages": delete_messages,
    "answercallbackquery": answer_callback,
    "setmessagereaction": set_reaction,
    "setmycommands": set_commands,
    "getmycommands": get_commands,
    "sendchataction": in_a_chat,
    "pinchatmessage": in_a_chat,
    "unpinallforumtopicmessages": in_a_chat,
    "getchat": get_chat,
    "getchatmember": get_member,
    "getme": lambda world, _method, _params: world.me,
}
