"""How the fake Bot API server hands out updates: long polls with offset and 409, or a webhook with retry.

A webhook gets one chat's updates one after another and those of different chats at the same time. What it
answers with may be a method call. Times between retries are shorter than Telegram's; set `retry_seconds`.
"""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.fakes.telegram_params import BotApiError, Params, bad_request, flag, number, structure
from tests.fakes.tiny_http import Connection

Update = dict[str, Any]
Answer = Callable[[Connection, Any], None]

LIMIT_MAX, TIMEOUT_MAX_SECONDS = 100, 50
UNASKED = ("chat_member", "message_reaction", "message_reaction_count")
CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
ACTIVE_WEBHOOK = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"


@dataclass(slots=True)
class Webhook:
    url: str
    secret: str


@dataclass(slots=True)
class _Poll:
    connection: Connection
    limit: int
    timer: asyncio.TimerHandle


class Updates:
    """The updates that the bot has not confirmed. `served` counts how often each one was handed out."""

    def __init__(
        self,
        answer: Answer,
        refuse: Callable[[Connection, BotApiError], None],
        call: Callable[[str, Params], Any],
    ) -> None:
        self.webhook: Webhook | None = None
        self.retry_seconds = 0.1
        self._answer, self._refuse, self._call = answer, refuse, call
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None
        self.last_id = 1_000
        self._poll: _Poll | None = None
        self.clear()

    def clear(self) -> None:
        self.pending: deque[Update] = deque()
        self._end_poll()
        self.polls = 0
        self.served: dict[int, int] = {}
        self.pushes: list[tuple[int, int]] = []
        self._chats: dict[int, deque[Update]] = {}
        self._allowed: set[str] | None = None

    def add(self, kind: str, chat: int, content: dict[str, Any]) -> int:
        """Something happened: its update's id. What the bot did not ask for is not kept."""
        self.last_id += 1
        if kind in UNASKED if self._allowed is None else kind not in self._allowed:
            return self.last_id
        update = {"update_id": self.last_id, kind: content}
        if self.webhook is None:
            self.pending.append(update)
            self._end_poll()
        else:
            self._push(chat, update)
        return self.last_id

    def repeat(self, update_id: int, kind: str, content: dict[str, Any]) -> None:
        """Hand out an update with that id once more, as after a lost confirmation."""
        self.pending.append({"update_id": update_id, kind: content})
        self._end_poll()

    def poll(self, connection: Connection, params: Params) -> Any:
        """`getUpdates`: the updates, or None while they are awaited. An earlier poll is terminated."""
        self.polls += 1
        if self.webhook is not None:
            raise BotApiError(409, ACTIVE_WEBHOOK)
        self._terminate(CONFLICT)
        self._allow(params)
        self._confirm(int(params.get("offset") or 0))
        limit = min(number(params, "limit") or LIMIT_MAX, LIMIT_MAX)
        seconds = min(number(params, "timeout") or 0, TIMEOUT_MAX_SECONDS)
        if self.pending or not seconds:
            return self._take(limit)
        timer = asyncio.get_running_loop().call_later(seconds, self._end_poll)
        self._poll = _Poll(connection, limit, timer)
        return None

    def set_webhook(self, params: Params) -> bool:
        url, secret = str(params.get("url") or ""), str(params.get("secret_token") or "")
        if not url:
            return self.delete_webhook(params)
        if not re.match(r"https://[^/]+|http://127\.0\.0\.1:", url):
            raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
        if len(secret) > 256:
            raise bad_request("secret token is too long")
        if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
            raise bad_request("secret token contains unallowed characters")
        self._terminate("Conflict: terminated by setWebhook request")
        self._allow(params)
        if flag(params, "drop_pending_updates"):
            self.pending.clear()
        self.webhook = Webhook(url, secret)
        while self.pending:
            update = self.pending.popleft()
            self._push(_chat_of(update), update)
        return True

    def delete_webhook(self, params: Params) -> bool:
        """What was not accepted is handed out to polls."""
        self.webhook = None
        waiting = [update for chat in self._chats.values() for update in chat]
        self._chats.clear()
        if not flag(params, "drop_pending_updates"):
            self.pending.extend(sorted(waiting, key=lambda update: int(update["update_id"])))
        return True

    def webhook_info(self) -> dict[str, Any]:
        waiting = len(self.pending) + sum(map(len, self._chats.values()))
        url = self.webhook.url if self.webhook else ""
        return {"url": url, "has_custom_certificate": False, "pending_update_count": waiting}

    async def stop(self) -> None:
        self._terminate(CONFLICT)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def _allow(self, params: Params) -> None:
        allowed = structure(params, "allowed_updates")
        if allowed is not None:
            self._allowed = set(allowed) or None

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            offset = self.pending[offset]["update_id"] if -offset <= len(self.pending) else 0
        while self.pending and self.pending[0]["update_id"] < offset:
            self.pending.popleft()

    def _take(self, limit: int) -> list[Update]:
        taken = list(self.pending)[:limit]
        for update in taken:
            self.served[update["update_id"]] = self.served.get(update["update_id"], 0) + 1
        return taken

    def _end_poll(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.timer.cancel()
            self._answer(poll.connection, [] if poll.connection.lost.done() else self._take(poll.limit))

    def _terminate(self, reason: str) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.timer.cancel()
            self._refuse(poll.connection, BotApiError(409, reason))

    def _push(self, chat: int, update: Update) -> None:
        queue = self._chats.setdefault(chat, deque())
        queue.append(update)
        if len(queue) == 1:
            self._start(self._deliver(queue))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, queue: deque[Update]) -> None:
        """All of one chat, in order, each until it is accepted."""
        pause = self.retry_seconds
        while queue and (webhook := self.webhook) is not None:
            if await self._post(webhook, queue[0]):
                pause = self.retry_seconds
                if queue:
                    queue.popleft()
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 60)

    async def _post(self, webhook: Webhook, update: Update) -> bool:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        headers = {SECRET_HEADER: webhook.secret} if webhook.secret else {}
        status, body = 0, b""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.post(webhook.url, json=update, headers=headers) as response:
                status, body = response.status, await response.read()
        self.pushes.append((update["update_id"], status))
        accepted = 200 <= status < 300
        if accepted:
            self.served[update["update_id"]] = self.served.get(update["update_id"], 0) + 1
            self._call_back(body)
        return accepted

    def _call_back(self, body: bytes) -> None:
        """A method call in the answer, if there is one; its own answer is lost."""
        if b'"method"' in body:
            call = structure({"call": body.decode()}, "call")
            with contextlib.suppress(BotApiError):
                self._call(call.pop("method"), call)


def _chat_of(update: Update) -> int:
    content = next(value for name, value in update.items() if name != "update_id")
    chat: int = (content.get("chat") or content.get("message", {}).get("chat") or content["from"])["id"]
    return chat
