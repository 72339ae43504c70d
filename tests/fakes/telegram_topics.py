"""The methods of the fake Bot API server for forum topics.

Not confirmed: which of TOPIC_ID_INVALID and `message thread not found` a deleted topic's own methods
answer, and the words for a chat that is no forum.
"""

from collections.abc import Callable
from typing import Any, Literal

from tests.fakes.telegram_params import ChatKey, Params, bad_request, number
from tests.fakes.telegram_world import Chat, Message, World

NAME_MAX = 128
GENERAL = 1
COLORS = (7322096, 16766590, 13338331, 9367192, 16749490, 16478047)

Method = Callable[[World, str, Params], Any]
State = Literal["open", "closed"]


def create(world: World, _method: str, params: Params) -> dict[str, Any]:
    key, _ = _forum(world, params)
    name = str(params.get("name") or "")
    if not 1 <= len(name) <= NAME_MAX:
        raise bad_request("TOPIC_TITLE_EMPTY" if not name else "topic name is too long")
    world.pacing.topic(world.limits, key)
    color = number(params, "icon_color") or COLORS[0]
    message = open_topic(world, key, world.me, name, color)
    return {"message_thread_id": message["message_thread_id"], "name": name, "icon_color": color}


def edit(world: World, _method: str, params: Params) -> bool:
    key, chat = _forum(world, params)
    thread = _alive(chat, params)
    name = str(params.get("name") or chat.topic_names.get(thread, ""))
    if name == chat.topic_names.get(thread):
        raise bad_request("TOPIC_NOT_MODIFIED")
    chat.topic_names[thread] = name
    world.put(key, world.me, {"forum_topic_edited": {"name": name}}, thread=thread)
    return True


def close(world: World, _method: str, params: Params) -> bool:
    return _turn(world, params, "closed")


def reopen(world: World, _method: str, params: Params) -> bool:
    return _turn(world, params, "open")


def delete(world: World, _method: str, params: Params) -> bool:
    _, chat = _forum(world, params)
    remove_topic(chat, _alive(chat, params))
    return True


def open_topic(
    world: World, key: ChatKey, creator: dict[str, Any], name: str, color: int = COLORS[0]
) -> Message:
    """A new topic; its id is that of the message that tells of it."""
    chat = world.chat(key)
    chat.topics = chat.topics or {}
    chat.last_message_id = max(chat.last_message_id, GENERAL)
    thread = chat.last_message_id + 1
    chat.topics[thread], chat.topic_names[thread] = "open", name
    told = {"forum_topic_created": {"name": name, "icon_color": color}}
    return world.put(key, creator, told, thread=thread)


def turn(world: World, key: ChatKey, who: dict[str, Any], thread: int, state: State) -> Message:
    """Close or reopen; the message that tells of it."""
    topics = world.chat(key).topics or {}
    topics[thread] = state
    told = "forum_topic_closed" if state == "closed" else "forum_topic_reopened"
    return world.put(key, who, {told: {}}, thread=thread)


def remove_topic(chat: Chat, thread: int) -> None:
    """Its messages go with it, and nobody is told."""
    if chat.topics is not None:
        chat.topics.pop(thread, None)
    for message_id in [one for one, sent in chat.messages.items() if sent.get("message_thread_id") == thread]:
        del chat.messages[message_id]


def _forum(world: World, params: Params) -> tuple[ChatKey, Chat]:
    key, chat = world.place(params)
    if chat.topics is None:
        raise bad_request("the chat is not a forum")
    if not chat.may_manage_topics:
        raise bad_request("not enough rights to create a topic")
    return key, chat


def _alive(chat: Chat, params: Params) -> int:
    thread = number(params, "message_thread_id") or 0
    if (chat.topics or {}).get(thread, "deleted") == "deleted":
        raise bad_request("TOPIC_ID_INVALID")
    return thread


def _turn(world: World, params: Params, state: State) -> bool:
    key, chat = _forum(world, params)
    thread = _alive(chat, params)
    if (chat.topics or {})[thread] == state:
        raise bad_request("TOPIC_NOT_MODIFIED")
    turn(world, key, world.me, thread, state)
    return True


METHODS: dict[str, Method] = {
    "createforumtopic": create,
    "editforumtopic": edit,
    "closeforumtopic": close,
    "reopenforumtopic": reopen,
    "deleteforumtopic": delete,
}
