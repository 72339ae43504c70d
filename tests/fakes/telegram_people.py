"""People of the fake Bot API server, to be scripted: what they do becomes updates, as Telegram makes them.

    anna = fake.person(7, language="ru")
    anna.says("/start abc")
    anna.presses(anna.sees()[-1], "Settings")
    vera = fake.person(20).at(-1001234567890, thread=4)
    vera.says("How can I help?", reply_to=12)

Messages are named by their id in that chat. Over HTTP: `POST /control/act` with `user`, and `chat`,
`thread`, `name`, `language` where they matter, `do` (the method's name) and `with` (its arguments).
"""

import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.fakes.telegram_params import chat_id
from tests.fakes.telegram_text import Entity, utf16
from tests.fakes.telegram_topics import open_topic, remove_topic, turn
from tests.fakes.telegram_world import CAPTIONED, FILES, Accepted, Message, kind_of, media, words

if TYPE_CHECKING:
    from tests.fakes.telegram import FakeTelegram

_OTHERS: dict[str, Any] = {
    "location": {"latitude": 55.75, "longitude": 37.62},
    "contact": {"phone_number": "+79990000000", "first_name": "Kim"},
    "venue": {"location": {"latitude": 55.75, "longitude": 37.62}, "title": "Cafe", "address": "1"},
    "dice": {"emoji": "🎲", "value": 3},
}
_numbers = itertools.count(1)
_NO_RIGHTS = dict.fromkeys(("can_be_edited", "is_anonymous", "can_delete_messages", "can_manage_video_chats", "can_restrict_members", "can_promote_members", "can_change_info", "can_invite_users", "can_post_stories", "can_edit_stories", "can_delete_stories", "can_send_welcome_messages"), False)  # fmt: skip


class Person:
    """A user in one chat: by default in their own with the bot."""

    def __init__(self, fake: "FakeTelegram", user: int, chat: int, thread: int | None) -> None:
        self._fake = fake
        self.id, self.chat, self.thread = user, chat, thread

    def at(self, chat: int, thread: int | None = None) -> "Person":
        """The same person in another chat or topic."""
        return Person(self._fake, self.id, chat, thread)

    @property
    def user(self) -> dict[str, Any]:
        return self._fake.users[self.id]

    def sees(self) -> list[Accepted]:
        """The bot's messages here that are not deleted, in order."""
        return [
            sent
            for sent in self._fake.journal
            if sent.chat == self.chat and not sent.deleted and self.thread in (None, sent.thread)
        ]

    def reads(self) -> list[str]:
        """The texts of what they see."""
        return [sent.text for sent in self.sees()]

    def says(
        self, text: str, *, reply_to: int | None = None, entities: Sequence[Entity] | None = None
    ) -> int:
        """Write a text; its id. A command at the beginning is marked as one."""
        listed = list(entities or ())
        if text.startswith("/"):
            listed.insert(0, {"type": "bot_command", "offset": 0, "length": utf16(text.split(maxsplit=1)[0])})
        return self._writes(words(text, listed, "text"), reply_to)

    def starts(self, payload: str = "") -> int:
        """Press Start, or follow a deep link; whoever had blocked the bot has not any more."""
        if self._fake.chat(self.chat).blocked:
            self.unblocks()
        return self.says(f"/start {payload}".strip())

    def sends(self, kind: str, caption: str = "", *, reply_to: int | None = None, file: str = "") -> int:
        """Send a photo, video, voice, sticker, location, …; its id."""
        return self._writes(_content(kind, caption, file), reply_to)

    def album(self, *kinds: str, caption: str = "", reply_to: int | None = None) -> list[int]:
        """Several photos or other files as one album; their ids."""
        group = {"media_group_id": f"a{next(_numbers)}"}
        captions = [caption, *[""] * (len(kinds) - 1)]
        return [
            self._writes(_content(kind, text, "") | group, reply_to)
            for kind, text in zip(kinds, captions, strict=True)
        ]

    def edits(self, message_id: int, text: str, *, file: str = "") -> None:
        """Change the text or the caption, and the file where one is given."""
        messages = self._fake.chat(self.chat).messages
        old = messages[message_id]
        kind = kind_of(old)
        changed = {name: value for name, value in old.items() if "entities" not in name and name != "caption"}
        changed |= words(text, [], "text" if kind == "text" else "caption")
        if file:
            changed |= media(kind, file)
        messages[message_id] = changed = changed | {"edit_date": int(time.time())}
        self._fake.updates.add("edited_message", self._chat_id, changed)

    def deletes(self, message_id: int) -> None:
        """Delete a message. Nobody is told."""
        self._fake.chat(self.chat).messages.pop(message_id, None)

    def presses(self, message: Accepted | int, button: str) -> str:
        """Press the button with that text or data; the query's id, see `answer`."""
        message_id = message if isinstance(message, int) else message.message_id
        shown = self._fake.chat(self.chat).messages[message_id]
        rows = shown.get("reply_markup", {}).get("inline_keyboard", [])
        data = [
            one["callback_data"]
            for row in rows
            for one in row
            if "callback_data" in one and button in (one["text"], one["callback_data"])
        ]
        if not data:
            raise LookupError(f"no button {button!r} in {[[one['text'] for one in row] for row in rows]}")
        return self.calls_back(shown, data[0])

    def calls_back(self, message: Message, data: str) -> str:
        """Send a button's data, whether or not the message has that button."""
        query = f"{self.id}{next(_numbers):06d}"
        self._fake.callbacks[query] = None
        pressed = {
            "id": query,
            "from": self.user,
            "message": message,
            "chat_instance": f"i{self.chat}",
            "data": data,
        }
        self._fake.updates.add("callback_query", self._chat_id, pressed)
        return query

    def answer(self, query: str) -> dict[str, Any] | None:
        """What the bot answered to a button; None: nothing yet."""
        return self._fake.callbacks[query]

    def reacts(self, message_id: int, emoji: str) -> None:
        new = [{"type": "emoji", "emoji": emoji}] if emoji else []
        content = {
            "chat": self._fake.chat_json(self.chat),
            "message_id": message_id,
            "user": self.user,
            "date": int(time.time()),
            "old_reaction": [],
            "new_reaction": new,
        }
        self._fake.updates.add("message_reaction", self._chat_id, content)

    def blocks(self) -> None:
        self._fake.chat(self.chat).blocked = True
        self._bot_member("member", "kicked")

    def unblocks(self) -> None:
        self._fake.chat(self.chat).blocked = False
        self._bot_member("kicked", "member")

    def makes_topic(self, name: str) -> int:
        message = open_topic(self._fake, self.chat, self.user, name)
        self._fake.updates.add("message", self._chat_id, message)
        thread: int = message["message_thread_id"]
        return thread

    def closes_topic(self, thread: int) -> None:
        message = turn(self._fake, self.chat, self.user, thread, "closed")
        self._fake.updates.add("message", self._chat_id, message)

    def reopens_topic(self, thread: int) -> None:
        message = turn(self._fake, self.chat, self.user, thread, "open")
        self._fake.updates.add("message", self._chat_id, message)

    def deletes_topic(self, thread: int) -> None:
        """Delete it with its messages. Nobody is told."""
        remove_topic(self._fake.chat(self.chat), thread)

    def upgrades_group(self, to: int) -> None:
        """The group becomes a supergroup with another id."""
        self._fake.chat(self.chat).moved_to = to
        for chat, told in (
            (self.chat, {"migrate_to_chat_id": to}),
            (to, {"migrate_from_chat_id": self.chat}),
        ):
            self._fake.updates.add("message", chat_id(chat), self._fake.put(chat, self.user, told))

    @property
    def _chat_id(self) -> int:
        return chat_id(self.chat)

    def _writes(self, content: dict[str, Any], reply_to: int | None) -> int:
        message = self._fake.put(self.chat, self.user, content, thread=self.thread, reply_to=reply_to)
        self._fake.updates.add("message", self._chat_id, message)
        message_id: int = message["message_id"]
        return message_id

    def _bot_member(self, old: str, new: str) -> None:
        content = {
            "chat": self._fake.chat_json(self.chat),
            "from": self.user,
            "date": int(time.time()),
            "old_chat_member": self._member(old),
            "new_chat_member": self._member(new),
        }
        self._fake.updates.add("my_chat_member", self._chat_id, content)

    def _member(self, status: str) -> dict[str, Any]:
        member = {"status": status, "user": self._fake.me}
        if status == "kicked":
            member["until_date"] = 0
        if status == "administrator":
            member |= {**_NO_RIGHTS, "can_manage_chat": True, "can_manage_topics": True}
        return member

    def promotes_bot(self) -> None:
        """Make the bot an administrator here."""
        self._bot_member("member", "administrator")


def _content(kind: str, caption: str, file: str) -> dict[str, Any]:
    if kind in FILES:
        content = media(kind, file or f"{kind}-{next(_numbers)}")
        return content | (words(caption, [], "caption") if kind in CAPTIONED else {})
    if kind == "poll":
        return {"poll": _poll()}
    return {kind: _OTHERS[kind]} | ({"location": _OTHERS["location"]} if kind == "venue" else {})


def _poll() -> dict[str, Any]:
    options = [{"persistent_id": str(n), "text": f"Option {n}", "voter_count": 0} for n in (1, 2)]
    flags = ("is_closed", "allows_multiple_answers", "allows_revoting", "members_only")
    poll = {"id": "1", "question": "Which?", "options": options, "total_voter_count": 0, "type": "regular"}
    return poll | {"is_anonymous": True} | dict.fromkeys(flags, False)


def new_user(user: int, name: str | None, username: str | None, language: str | None) -> dict[str, Any]:
    """A `User`, as the Bot API writes it."""
    shown: dict[str, Any] = {"id": user, "is_bot": False, "first_name": name or f"User {user}"}
    given = {"username": username, "language_code": language}
    return shown | {key: value for key, value in given.items() if value is not None}


def act(fake: "FakeTelegram", values: dict[str, Any]) -> Any:
    """One step of a script that comes over HTTP: what the method returns."""
    who = {name: values[name] for name in ("name", "username", "language") if name in values}
    person = fake.person(values["user"], **who)
    if "chat" in values:
        person = person.at(values["chat"], values.get("thread"))
    asked = values.get("with", {})
    kinds = asked.pop("kinds", ())
    return getattr(person, values["do"])(*kinds, **asked)
