"""The `TG` sender: a Telegram bot, through aiogram's client.

An address is a chat's id, a public @username of a group or channel, or either with `:` and the id of a
forum topic. Protocol: https://core.telegram.org/bots/api. The Bot API has no idempotency key, so
whatever may have been accepted is `Unknown`. `Attachment.name` is not used: Telegram shows the name that
is in the address.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import aiohttp
import orjson
from yarl import URL

from service.senders.base import (
    AddressError,
    BaseSender,
    Button,
    Capabilities,
    Gone,
    Halted,
    Limits,
    Message,
    NotSent,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from service.senders.markup import RichText, clean, read, telegram_html, utf16_length
from service.settings import TelegramSettings

if TYPE_CHECKING:
    from aiogram import Bot

# Below DELIVERY_SEND_TIMEOUT_SECONDS, so that the ids of the parts that were accepted come back.
TIMEOUT_SECONDS = 15.0
TEXT_MAX_UNITS = 4_096
CAPTION_MAX_UNITS = 1_024
CONNECTIONS = 100
MOVED_CHATS_KEPT = 10_000
CHAT_ID_BITS = 52
THREAD_ID_BITS = 31
GENERAL_TOPIC = 1
READ_IN_THREAD_CHARS = 10_000
UNTIMED_PAUSE_SECONDS = 1.0

ADDRESS_HELP = "accepted: a chat id, @username of a group or channel, or either with :TOPIC"
_ADDRESS = re.compile(r"(-?[1-9][0-9]{0,15}|@[A-Za-z][A-Za-z0-9_]{3,31})(?::([1-9][0-9]{0,9}))?")
_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")
_SERVER = re.compile(r"https?://[^\s{}?#]+")
_JSON = {"content-type": "application/json"}

# Texts of 400 and 403 after which the address is dead; any other is about the message or permissions.
_GONE = (
    "bot was blocked by the user",
    "user is deactivated",
    "bot was kicked from",
    "bot is not a member of",
    "group chat was deleted",
    "bot can't initiate conversation",
    "bots can't send messages to bots",
    "can't send messages to the bot",
    "chat not found",
    "peer_id_invalid",
    "message thread not found",
    "topic_deleted",
    "topic_id_invalid",
)


class TelegramSender(BaseSender):
    """Sends text, and photos and documents by their address, as one or several messages in order."""

    name = "TG"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_UNITS,
        length_unit="utf-16 units",
        splits=True,
        buttons=True,
        attachments=frozenset({"photo", "document"}),
    )

    def __init__(self, settings: TelegramSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_chat_id
        self.off_reason = self._why_off(settings)
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._bot: Bot | None = None
        self._moved: dict[str, int] = {}
        self._paused: dict[str, float] = {}

    def check_address(self, address: str) -> str:
        chat, thread = _target(address)
        return chat if thread is None else f"{chat}:{thread}"

    def address_spacing(self, address: str) -> float:
        chat_rate, group_rate = self._settings.chat_rate, self._settings.group_rate
        spacing = 1 / chat_rate if chat_rate else 0.0
        if group_rate and address.startswith(("-", "@")):
            spacing = max(spacing, 60 / group_rate)
        return spacing

    async def open(self) -> None:
        if self._bot is None:
            # Importing aiogram takes seconds of CPU.
            self._bot = await asyncio.to_thread(_connect, self._settings, self._timeout_seconds / 3)

    async def send(self, message: Message) -> Outcome:
        chat, thread = _target(message.address)
        parts = await _compose(message)
        if not parts:
            return Refused(reason="nothing visible remains of the text", code="empty")
        done = list(message.parts_done)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for part in parts[len(done) :]:
                    done.append(await self._deliver(chat, thread, part))
        except (_AnsweredError, aiohttp.ClientError, OSError) as error:
            return replace(self._judge(chat, error), parts=tuple(done))
        moved = self._moved.get(chat)
        return Sent(tuple(done), address=None if moved is None else _address(str(moved), thread))

    async def close(self) -> None:
        bot, self._bot = self._bot, None
        if bot is not None:
            await bot.session.close()

    def _why_off(self, settings: TelegramSettings) -> str | None:
        if settings.bot_token is None:
            return "TG_BOT_TOKEN is not set"
        if not _TOKEN.fullmatch(settings.bot_token.get_secret_value()):
            return "TG_BOT_TOKEN is malformed; accepted: the token as @BotFather gives it, 123456:ABC…"
        if not _SERVER.fullmatch(settings.api_url):
            return "TG_API_URL is malformed; accepted: https://host or http://host:port"
        try:
            self.check_address(settings.default_chat_id or "1")
        except AddressError as error:
            return f"TG_DEFAULT_CHAT_ID {error}"
        return None

    async def _deliver(self, chat: str, thread: int | None, part: "_Part") -> str:
        """Send one part; its message id. A group's move and refused markup are each mended once."""
        moves = 1
        while True:
            try:
                return await self._call(self._moved.get(chat, chat), thread, part)
            except _AnsweredError as error:
                if error.moved_to is not None and moves:
                    moves -= 1
                    self._remember(chat, error.moved_to)
                elif part.text.spans and "can't parse entities" in error.description:
                    part = replace(part, text=RichText(part.text.text))
                else:
                    raise

    async def _call(self, chat: int | str, thread: int | None, part: "_Part") -> str:
        if self._bot is None:
            raise RuntimeError("open() was not called")
        result = cast("dict[str, Any]", await self._bot(_method(chat, thread, part)))
        return str(result["message_id"])

    def _remember(self, chat: str, moved_to: int) -> None:
        while len(self._moved) >= MOVED_CHATS_KEPT:
            del self._moved[next(iter(self._moved))]
        self._moved[chat] = moved_to

    def _judge(self, chat: str, error: Exception) -> NotSent:
        match error:
            case _AnsweredError(throttled=True):
                return self._throttled(chat, error)
            case _AnsweredError():
                return _judge_answer(error)
            case aiohttp.ClientConnectorError():
                return Retry(reason=f"cannot connect: {error.os_error}", code="connect")
            case aiohttp.ConnectionTimeoutError():
                return Retry(reason="cannot connect in time", code="connect")
            case TimeoutError():
                return Unknown(reason=f"no answer within {self._timeout_seconds:g} s", code="timeout")
        # Its text may hold the address of the call, and that the token.
        return Unknown(reason=f"the connection broke before an answer: {type(error).__name__}", code="broken")

    def _throttled(self, chat: str, error: "_AnsweredError") -> Throttled:
        """A chat's own pause, until a second chat is told to pause while the first still does."""
        now = asyncio.get_running_loop().time()
        self._paused = {other: until for other, until in self._paused.items() if until > now}
        scope = Scope.ACCOUNT if self._paused.keys() - {chat} else Scope.ADDRESS
        self._paused[chat] = now + (error.retry_after or UNTIMED_PAUSE_SECONDS)
        return Throttled(
            reason="too many requests", code=str(error.status), retry_after=error.retry_after, scope=scope
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """What one call sends: text, or a file with the text as its caption."""

    kind: Literal["text", "photo", "document"]
    text: RichText
    url: str = ""
    buttons: Sequence[Button] = ()


class _AnsweredError(Exception):
    """The server answered, and not with a message. `error` is what aiogram makes of the answer."""

    def __init__(self, status: int, error: Exception, retry_after: str | None) -> None:
        super().__init__(status)
        hint = getattr(error, "retry_after", None) or (
            int(retry_after) if retry_after and retry_after.isdecimal() else None
        )
        self.status = status
        self.error = error
        self.description: str = getattr(error, "message", None) or ""
        self.moved_to: int | None = getattr(error, "migrate_to_chat_id", None)
        self.retry_after: float | None = hint
        self.throttled = status == 429 or hasattr(error, "retry_after")
