"""The `TG` sender: a Telegram bot. What the Bot API answers is judged by aiogram.

An address is a chat's id, a public @username of a group or channel, or either with `:` and the id of a
forum topic. Protocol: https://core.telegram.org/bots/api. The Bot API has no idempotency key, so
whatever may have been accepted is `Unknown`.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

import orjson

from service.sender_settings import TelegramSettings
from service.senders.base import (
    AddressError,
    BaseSender,
    Capabilities,
    Gone,
    Halted,
    Limits,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from service.senders.http import HttpClient, NoAnswerError, NotReachedError, check_url
from service.senders.markup import RichText
from service.senders.relay import Relay
from service.senders.telegram_calls import Call, call_of, ids_in, is_unchanged, outcome_of_step
from service.senders.telegram_parts import TEXT_MAX_UNITS, Part, call_of_part, compose

Chat = int | str

# Below DELIVERY_SEND_TIMEOUT_SECONDS, so that the ids of the parts that were accepted come back.
TIMEOUT_SECONDS = 15.0
MOVED_CHATS_KEPT = 10_000
CHAT_ID_BITS = 52
THREAD_ID_BITS = 31
GENERAL_TOPIC = 1
UNTIMED_PAUSE_SECONDS = 1.0

ADDRESS_HELP = "accepted: a chat id, @username of a group or channel, or either with :TOPIC"
_ADDRESS = re.compile(r"(-?[1-9][0-9]{0,15}|@[A-Za-z][A-Za-z0-9_]{3,31})(?::([1-9][0-9]{0,9}))?")
_TOKEN = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")
_SERVER = re.compile(r"https?://[^\s{}?#]+")

# Texts of 400 and 403 after which the address is dead; any other is about the message or permissions.
_GONE = re.compile(
    "bot was blocked by the user|user is deactivated|bot was kicked from|bot is not a member of"
    "|group chat was deleted|bot can't initiate conversation|bots can't send messages to bots"
    "|can't send messages to the bot|chat not found|PEER_ID_INVALID"
    "|message thread not found|TOPIC_DELETED|TOPIC_ID_INVALID",
    re.IGNORECASE,
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
        actions=True,
        relays=True,
        attachments=frozenset({"photo", "document"}),
    )

    def __init__(self, settings: TelegramSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_chat_id
        self.off_reason = self._why_off(settings)
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._client: Client | None = None
        self._moved: dict[Chat, int] = {}
        self._paused: dict[Chat, float] = {}

    def check_address(self, address: str) -> str:
        return _address(*_target(address))

    def address_spacing(self, address: str) -> float:
        chat_rate, group_rate = self._settings.chat_rate, self._settings.group_rate
        spacing = 1 / chat_rate if chat_rate else 0.0
        if group_rate and address.startswith(("-", "@")):
            spacing = max(spacing, 60 / group_rate)
        return spacing

    async def preview(self, message: Message) -> Sequence[str]:
        return [part.written for part in await compose(message)]

    def pacing_key(self, address: str) -> str:
        return address.partition(":")[0]

    async def open(self) -> None:
        if self._client is None:
            # Importing aiogram takes seconds of CPU.
            self._client = await asyncio.to_thread(_connect, self._settings, self._timeout_seconds)

    async def send(self, message: Message) -> Outcome:
        chat, thread = _target(message.address)
        parts = await compose(message) if message.relay is None else [message.relay]
        if not parts:
            return Refused(reason="nothing visible remains of the text", code="empty")
        done = list(message.parts_done)
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            for part in parts[len(done) :]:
                done += await self._deliver(chat, thread, part, deadline)
        except _RefusedCallError as refused:
            outcome = refused.outcome
            if isinstance(outcome, Throttled):
                outcome = replace(outcome, scope=self._throttled_scope(chat, outcome))
            if message.relay is not None:
                outcome = outcome_of_step(outcome)
            return replace(outcome, parts=tuple(done))
        except NotReachedError as error:
            return Retry(reason=str(error), code="connect", parts=tuple(done))
        except NoAnswerError as error:
            return Unknown(reason=str(error), code=error.code, parts=tuple(done))
        moved = self._moved.get(chat)
        return Sent(tuple(done), address=None if moved is None else _address(moved, thread))

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _why_off(self, settings: TelegramSettings) -> str | None:
        if settings.bot_token is None:
            return "TG_BOT_TOKEN is not set"
        if not _TOKEN.fullmatch(settings.bot_token.get_secret_value()):
            return "TG_BOT_TOKEN is malformed; accepted: the token as @BotFather gives it, 123456:ABC…"
        if not _is_server(settings.api_url):
            return "TG_API_URL is malformed; accepted: https://host or http://host:port"
        try:
            self.check_address(settings.default_chat_id or "1")
        except AddressError as error:
            return f"TG_DEFAULT_CHAT_ID {error}"
        return None

    async def _deliver(
        self, chat: Chat, thread: int | None, part: Part | Relay, deadline: float
    ) -> tuple[str, ...]:
        """Send one part; its message ids. A group's move and markup that was not understood are mended once."""
        moves = 1
        while True:
            try:
                return await self._call(self._moved.get(chat, chat), thread, part, deadline)
            except _RefusedCallError as refused:
                if refused.moved_to is not None and moves:
                    moves -= 1
                    self._remember(chat, refused.moved_to)
                elif isinstance(part, Part) and part.text.spans and refused.unparsable:
                    part = replace(part, text=RichText(part.text.text))
                elif not isinstance(part, Part) and is_unchanged(refused.outcome):
                    return ()
                else:
                    raise

    async def _call(
        self, chat: Chat, thread: int | None, part: Part | Relay, deadline: float
    ) -> tuple[str, ...]:
        if self._client is None:
            raise RuntimeError("open() was not called")
        call = call_of_part(part, chat, thread) if isinstance(part, Part) else call_of(part, chat, thread)
        return await self._client.post(call, deadline)

    def _remember(self, chat: Chat, moved_to: int) -> None:
        if len(self._moved) >= MOVED_CHATS_KEPT:
            del self._moved[next(iter(self._moved))]
        self._moved[chat] = moved_to

    def _throttled_scope(self, chat: Chat, outcome: Throttled) -> Scope:
        """The chat, until a second one is told to pause while the first still does: then the account."""
        now = asyncio.get_running_loop().time()
        self._paused = {other: until for other, until in self._paused.items() if until > now}
        alone = not self._paused.keys() - {chat}
        self._paused[chat] = now + (outcome.retry_after or UNTIMED_PAUSE_SECONDS)
        return Scope.ADDRESS if alone else Scope.ACCOUNT


class Client(Protocol):
    """The connection to the Bot API server."""

    async def post(self, call: Call, deadline: float) -> tuple[str, ...]:
        """One call until then, on the event loop's clock; the ids of the messages, or of the topic.

        Raises `_RefusedCallError`, `NotReachedError`, `NoAnswerError`.
        """
        ...

    async def close(self) -> None: ...


class _RefusedCallError(Exception):
    """The server answered, and not with a message."""

    def __init__(self, outcome: Outcome, moved_to: int | None = None) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.moved_to = moved_to
        self.unparsable = isinstance(outcome, Refused) and "can't parse entities" in outcome.reason


def _target(address: str) -> tuple[Chat, int | None]:
    """Chat and topic of an address, canonical. Raises `AddressError`."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise AddressError(f"is not a chat; {ADDRESS_HELP}")
    chat = match[1].lower() if match[1].startswith("@") else int(match[1])
    topic = int(match[2] or GENERAL_TOPIC)
    if isinstance(chat, int) and abs(chat) >> CHAT_ID_BITS:
        raise AddressError(f"has a chat id of more than {CHAT_ID_BITS} bits; {ADDRESS_HELP}")
    if topic >> THREAD_ID_BITS:
        raise AddressError(f"has a topic id of more than {THREAD_ID_BITS} bits; {ADDRESS_HELP}")
    return chat, None if topic == GENERAL_TOPIC else topic


def _address(chat: Chat, thread: int | None) -> str:
    return str(chat) if thread is None else f"{chat}:{thread}"


def _is_server(address: str) -> bool:
    try:
        check_url(address)
    except ValueError:
        return False
    return _SERVER.fullmatch(address) is not None


def _connect(settings: TelegramSettings, timeout_seconds: float) -> "Client":
    """Calls of the Bot API that post the fields that are set and no others; whatever is no message is
    judged by aiogram.

    Against a call of aiogram's own this saves the model of the method, the form, the dump of some
    twenty unset fields and the model of the answer: most of its cost.
    """
    from aiogram import Bot  # noqa: PLC0415
    from aiogram.client.session.aiohttp import AiohttpSession  # noqa: PLC0415
    from aiogram.client.telegram import TelegramAPIServer  # noqa: PLC0415
    from aiogram.exceptions import AiogramError  # noqa: PLC0415
    from aiogram.methods import GetMe  # noqa: PLC0415

    class BotApi:
        async def post(self, call: Call, deadline: float) -> tuple[str, ...]:
            url = urls.get(call.method)
            if url is None:
                url = urls[call.method] = server.api_url(token, call.method)
            headers, body = call.written()
            answer = await http.request("POST", url, headers=headers, body=body, deadline=deadline)
            ids = ids_in(answer.body) if answer.status == HTTPStatus.OK else None
            if ids is not None:
                return ids
            try:
                text = answer.body.decode(errors="replace")
                judge.check_response(bot, any_method, answer.status, text)
            except (AiogramError, TypeError) as error:  # TypeError: an error without a description
                raise _refused_call(answer.status, error, answer.headers.get("retry-after")) from error
            raise _RefusedCallError(Unknown(reason="the answer has no message id", code="answer"))

        async def close(self) -> None:
            await http.close()

    urls: dict[str, str] = {}
    any_method = GetMe()  # what is no error, and not what was asked for either, is none of its answers
    token = settings.bot_token.get_secret_value() if settings.bot_token else ""
    server = TelegramAPIServer.from_base(settings.api_url)
    judge = AiohttpSession(api=server, json_loads=orjson.loads)
    bot = Bot(token, session=judge)
    http = HttpClient(timeout_seconds=timeout_seconds)
    return BotApi()


def _refused_call(status: int, error: Exception, hint: str | None) -> _RefusedCallError:
    """What an answer that is no message means. `hint` is the Retry-After header."""
    from aiogram import exceptions as tg  # noqa: PLC0415

    code = str(status)
    reason = (error.message or "no description") if isinstance(error, tg.TelegramAPIError) else ""
    outcome: Outcome
    match error:
        case tg.TelegramRetryAfter():
            outcome = Throttled(reason="too many requests", code=code, retry_after=float(error.retry_after))
        case tg.TelegramMigrateToChat():
            return _RefusedCallError(Retry(reason=reason, code=code), moved_to=error.migrate_to_chat_id)
        case _ if status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = float(hint) if hint and hint.isdecimal() else None
            outcome = Throttled(reason="too many requests", code=code, retry_after=seconds)
        case tg.TelegramUnauthorizedError() | tg.TelegramNotFound():
            outcome = Halted(reason=f"the Bot API does not know TG_BOT_TOKEN: {reason}", code=code)
        case tg.TelegramForbiddenError() | tg.TelegramBadRequest() if _GONE.search(reason):
            outcome = Gone(reason=reason, code=code)
        case tg.TelegramServerError():
            outcome = Retry(reason=reason, code=code)
        case tg.TelegramAPIError():
            outcome = Refused(reason=reason, code=code)
        case _:
            outcome = _not_from_telegram(status)
    return _RefusedCallError(outcome)


def _not_from_telegram(status: int) -> Outcome:
    """An answer that is not the Bot API's JSON: somebody between it and us gave it."""
    reason, code = f"HTTP {status} without the Bot API's answer", str(status)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Refused(reason=reason, code=code)
    if 300 <= status < 500 or status == HTTPStatus.SERVICE_UNAVAILABLE:  # noqa: PLR2004
        return Retry(reason=f"{reason}; is TG_API_URL right?", code=code)
    return Unknown(reason=reason, code=code)
