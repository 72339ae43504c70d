"""The methods of the fake Bot API server that make messages: sending, albums, copies.

https://core.telegram.org/bots/api#available-methods. Not confirmed: that an album or several copies use
up the limits message by message, and the errors of `copyMessages` when nothing remains to be copied.
"""

import itertools
import re
from collections.abc import Callable
from typing import Any

from tests.fakes.telegram_params import (
    BotApiError,
    Params,
    Rows,
    bad_request,
    buttons,
    chat_id,
    chat_key,
    number,
    structure,
    visible,
)
from tests.fakes.telegram_text import Entity, utf16
from tests.fakes.telegram_world import CAPTIONED, FILES, KINDS, Message, World, kind_of, media, words

TEXT_MAX, CAPTION_MAX = 4096, 1024
ALBUM_MIN, ALBUM_MAX, COPIES_MAX = 2, 10, 100
_ALBUM_KINDS = {"photo", "video", "audio", "document"}
_albums = itertools.count(1)

Method = Callable[[World, str, Params], Any]


def send_message(world: World, method: str, params: Params) -> Message:
    text, entities = visible(params, "text")
    if not text:
        raise bad_request("message text is empty")
    if utf16(text) > TEXT_MAX:
        raise bad_request("message is too long")
    return world.accept(method, params, words(text, entities, "text"), buttons(params))


def send_file(world: World, method: str, params: Params) -> Message:
    kind = _kind_sent(method)
    file, upload = _file(params, kind, kind)
    content = media(kind, file, upload[1] if upload else None)
    if kind in CAPTIONED:
        content |= words(*_caption(params), "caption")
    return world.accept(method, params, content, buttons(params), upload=upload)


def send_location(world: World, method: str, params: Params) -> Message:
    place = {"latitude": float(params["latitude"]), "longitude": float(params["longitude"])}
    return world.accept(method, params, {"location": place}, buttons(params))


def send_contact(world: World, method: str, params: Params) -> Message:
    person = {name: str(params[name]) for name in ("phone_number", "first_name")}
    return world.accept(method, params, {"contact": person}, buttons(params))


def send_media_group(world: World, method: str, params: Params) -> list[Message]:
    items = structure(params, "media") or []
    if not ALBUM_MIN <= len(items) <= ALBUM_MAX:
        raise bad_request("media group must include 2-10 items")
    album = {"media_group_id": str(next(_albums))}
    prepared = [_album_item(place, item, params) for place, item in enumerate(items, 1)]
    return [world.accept(method, params, album | content, [], upload=upload) for content, upload in prepared]


def copy_message(world: World, method: str, params: Params) -> dict[str, int]:
    source = _source(world, params, number(params, "message_id"))
    content = _copied(source)
    if params.get("caption") is not None and kind_of(source) in CAPTIONED:
        content = {name: value for name, value in content.items() if not name.startswith("caption")}
        content |= words(*_caption(params), "caption")
    return _copy(world, method, params, source, content, buttons(params))


def copy_messages(world: World, method: str, params: Params) -> list[dict[str, int]]:
    """What cannot be copied is left out; messages of one album stay one."""
    wanted = structure(params, "message_ids") or []
    if not 0 < len(wanted) <= COPIES_MAX or sorted(set(wanted)) != wanted:
        raise bad_request("message identifiers must be in a strictly increasing order")
    found = [source for one in wanted if (source := _found(world, params, one)) is not None]
    sources = [source for source in found if kind_of(source) != "service"]
    if not sources:
        raise bad_request("there are no messages to copy")
    albums: dict[str, str] = {}
    copies = []
    for source in sources:
        content = _copied(source)
        if album := source.get("media_group_id"):
            content["media_group_id"] = albums.setdefault(album, str(next(_albums)))
        copies.append(_copy(world, method, params, source, content, []))
    return copies


def _album_item(
    place: int, item: dict[str, Any], params: Params
) -> tuple[dict[str, Any], tuple[str, str] | None]:
    try:
        if item.get("type") not in _ALBUM_KINDS:
            raise bad_request("media type is invalid")
        file, upload = _file({**params, "media": item.get("media")}, "media", item["type"])
        return media(item["type"], file) | words(*_caption(item), "caption"), upload
    except BotApiError as error:
        reason = str(error).removeprefix("Bad Request: ")
        raise bad_request(f'Failed to send message #{place} with the error message "{reason}"') from None


def _caption(params: Params) -> tuple[str, list[Entity]]:
    text, entities = visible(params, "caption")
    if utf16(text) > CAPTION_MAX:
        raise bad_request("message caption is too long")
    return text, entities


def _file(params: Params, name: str, kind: str) -> tuple[str, tuple[str, str] | None]:
    file = str(params.get(name) or "")
    if not file:
        raise bad_request(f"there is no {kind} in the request")
    if "://" in file and not re.match(r"(https?|attach)://[^/]+", file):
        raise bad_request("Wrong HTTP URL specified")
    return file, _uploaded(params, file)


def _uploaded(params: Params, file: str) -> tuple[str, str] | None:
    key = file.removeprefix("attach://")
    if key == file or key not in params:
        return None
    return params[key], params.get(f"{key}:filename", key)


def _source(world: World, params: Params, message_id: int | None) -> Message:
    source = _found(world, params, message_id)
    if source is None:
        raise bad_request("message to copy not found")
    if kind_of(source) == "service":
        raise bad_request("message can't be copied")
    return source


def _found(world: World, params: Params, message_id: int | None) -> Message | None:
    key = chat_key(params.get("from_chat_id"))
    if key is None:
        raise bad_request("from_chat_id is empty")
    return world.chat(key).messages.get(message_id or 0)


def _copied(source: Message) -> dict[str, Any]:
    kept = {*KINDS, "entities", "caption", "caption_entities"}
    return {name: value for name, value in source.items() if name in kept}


def _copy(
    world: World, method: str, params: Params, source: Message, content: dict[str, Any], rows: Rows
) -> dict[str, int]:
    origin = (chat_id(source["chat"]["id"]), source["message_id"])
    return {"message_id": world.accept(method, params, content, rows, copied=origin)["message_id"]}


def _kind_sent(method: str) -> str:
    name = method.lower().removeprefix("send")
    return "video_note" if name == "videonote" else name


METHODS: dict[str, Method] = {
    "sendmessage": send_message,
    "sendlocation": send_location,
    "sendcontact": send_contact,
    "sendmediagroup": send_media_group,
    "copymessage": copy_message,
    "copymessages": copy_messages,
} | {f"send{kind.replace('_', '')}": send_file for kind in FILES}
