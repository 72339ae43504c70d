"""The `SLACK` sender: incoming webhooks, and chat.postMessage with a bot's token.

An address is a webhook's URL, or a channel's or user's id. A webhook answers in plain words and gives no id of
the message; the API answers errors inside HTTP 200. Neither recognises repeats. Buttons and attachments are
links below the text. Unconfirmed: the statuses beside a webhook's words, and that 4000 is the text's best length.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus

import orjson

from service.sender_settings import SlackSettings
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
    Throttled,
    Unknown,
)
from service.senders.http import Answer, HttpClient, check_url
from service.senders.markup import slack_mrkdwn
from service.senders.parts import (
    Failure,
    NotSentError,
    NumberedText,
    composed,
    files_as_links,
    json_of,
    numbered,
    seconds_of,
    send_parts,
    shown,
    strange,
    titled_text,
    with_links,
    written_parts,
)

TIMEOUT_SECONDS = 15.0
TEXT_MAX_CHARS = 4_000

ADDRESS_HELP = "accepted: a channel's or user's id as C0123ABCD, or the URL of an incoming webhook"
_CHANNEL = re.compile(r"[CDGUW][A-Z0-9]{2,30}")
_HOOK = re.compile(r"/[A-Za-z0-9]{1,64}/[A-Za-z0-9]{1,64}/[A-Za-z0-9]{1,128}")
_WORD = re.compile(r"[a-z_]{2,64}")

_CREDENTIALS = frozenset((
    "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope",
    "no_permission", "org_login_required", "team_access_not_granted",
))  # fmt: skip
_GONE = frozenset(("channel_not_found", "is_archived", "user_not_found", "cannot_dm_bot"))
_HOOK_GONE = frozenset((
    "no_service", "no_active_hooks", "no_service_id", "no_team", "team_disabled", "invalid_token",
    "channel_not_found", "channel_is_archived", "user_not_found",
))  # fmt: skip
_THROTTLED = frozenset(("ratelimited", "rate_limited"))
_TEMPORARY = frozenset(
    ("fatal_error", "internal_error", "service_unavailable", "request_timeout", "rollup_error")
)


class SlackSender(BaseSender):
    """Sends mrkdwn to channels and webhooks."""

    name = "SLACK"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_CHARS,
        splits=True,
        buttons=True,
        secret_addresses=True,
    )

    def __init__(self, settings: SlackSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        hook = settings.webhook_url.get_secret_value() if settings.webhook_url else None
        self.default_address = settings.default_channel or hook
        self._token = settings.bot_token.get_secret_value() if settings.bot_token else None
        self._api = settings.api_url.rstrip("/")
        self._hooks = settings.hooks_url.rstrip("/")
        self._channel_rate = settings.channel_rate
        self._timeout_seconds = timeout_seconds
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self.off_reason = self._why_off(settings, hook)

    def check_address(self, address: str) -> str:
        if self._is_hook(address):
            return address
        if not _CHANNEL.fullmatch(address):
            raise AddressError(f"is no channel, user or webhook of Slack; {ADDRESS_HELP}")
        if self._token is None:
            raise AddressError("is a channel, and SLACK_BOT_TOKEN is not set; accepted: the URL of a webhook")
        return address

    def address_spacing(self, address: str) -> float:
        return 1 / self._channel_rate if self._channel_rate else 0.0

    async def preview(self, message: Message) -> Sequence[str]:
        return [part.text for part in await composed(message, _parts)]

    async def send(self, message: Message) -> Outcome:
        parts = await composed(message, _parts)

        async def send(part: NumberedText, deadline: float) -> str:
            if self._is_hook(message.address):
                await self._call_hook(message.address, part.text, deadline)
                return f"{message.delivery_id}-{part.number}"
            return await self._post_message(message.address, part.text, deadline)

        return await send_parts(parts, message.parts_done, send, timeout_seconds=self._timeout_seconds)

    async def close(self) -> None:
        await self._http.close()

    def _why_off(self, settings: SlackSettings, hook: str | None) -> str | None:
        if self._token is None and hook is None:
            return "neither SLACK_BOT_TOKEN nor SLACK_WEBHOOK_URL is set"
        if self._token is not None and not re.fullmatch(r"[!-~]+", self._token):
            return "SLACK_BOT_TOKEN is malformed; accepted: xoxb-… as Slack shows it"
        for setting, url in (("SLACK_API_URL", self._api), ("SLACK_HOOKS_URL", self._hooks)):
            try:
                check_url(url)
            except ValueError:
                return f"{setting} is malformed; accepted: https://host/path"
        if hook is not None and not self._is_hook(hook):
            return "SLACK_WEBHOOK_URL is malformed; accepted: SLACK_HOOKS_URL and the webhook's path"
        try:
            self.check_address(settings.default_channel or hook or "C00")
        except AddressError as error:
            return f"SLACK_DEFAULT_CHANNEL {error}"
        return None

    def _is_hook(self, address: str) -> bool:
        return _HOOK.fullmatch(address.removeprefix(self._hooks)) is not None and address.startswith(
            self._hooks
        )

    async def _call_hook(self, url: str, text: str, deadline: float) -> None:
        answer = await self._http.request(
            "POST",
            url,
            headers={"content-type": "application/json; charset=utf-8"},
            body=orjson.dumps({"text": text}),
            deadline=deadline,
        )
        if answer.status != HTTPStatus.OK or answer.body.strip() != b"ok":
            raise NotSentError(_judge_hook(answer))

    async def _post_message(self, channel: str, text: str, deadline: float) -> str:
        """The `ts` of the message, which is its id within the channel."""
        answer = await self._http.request(
            "POST",
            f"{self._api}/chat.postMessage",
            headers={
                "authorization": f"Bearer {self._token}",
                "content-type": "application/json; charset=utf-8",
            },
            body=orjson.dumps({"channel": channel, "text": text}),
            deadline=deadline,
        )
        match json_of(answer):
            case {"ok": True, "ts": str(ts)} if ts:
                return ts
            case {"ok": False, "error": str(error)}:
                raise NotSentError(_judge(answer, shown(error)))
            case {"ok": True}:
                raise NotSentError(Unknown(reason="the answer has no ts", code="answer"))
        raise NotSentError(_throttled(answer) or strange(answer, "Slack", "SLACK_API_URL"))


def _parts(message: Message) -> list[NumberedText]:
    text = with_links(titled_text(message), (*message.buttons, *files_as_links(message)))
    return numbered(written_parts(text, TEXT_MAX_CHARS, slack_mrkdwn))


def _throttled(answer: Answer, error: str = "") -> Throttled | None:
    """One channel or webhook was written to too fast: that is what Slack limits."""
    if answer.status != HTTPStatus.TOO_MANY_REQUESTS and error not in _THROTTLED:
        return None
    hint = seconds_of(answer.headers.get("retry-after"))
    code = error or str(answer.status)
    return Throttled(reason="too many messages", code=code, retry_after=hint, scope=Scope.ADDRESS)


def _judge(answer: Answer, error: str) -> Failure:
    """What an error of the API means, by its word."""
    if throttled := _throttled(answer, error):
        return throttled
    if error in _CREDENTIALS:
        return Halted(reason=f"Slack does not let SLACK_BOT_TOKEN in: {error}", code=error)
    if error in _GONE:
        return Gone(reason=error, code=error)
    if error in _TEMPORARY or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Retry(reason=error, code=error)
    if error.startswith("duplicate_"):
        return Unknown(reason=error, code=error)
    return Refused(reason=error, code=error)


def _judge_hook(answer: Answer) -> Failure:
    """What a webhook's words mean. All of it is about that webhook alone."""
    word = shown(answer.body.decode("utf-8", "replace"))
    if throttled := _throttled(answer, word if word in _THROTTLED else ""):
        return throttled
    if word in _HOOK_GONE:
        return Gone(reason=word, code=word)
    if word in _TEMPORARY:
        return Retry(reason=word, code=word)
    if answer.status >= HTTPStatus.BAD_REQUEST and _WORD.fullmatch(word):
        temporary = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return Retry(reason=word, code=word) if temporary else Refused(reason=word, code=word)
    return strange(answer, "Slack", "SLACK_HOOKS_URL")
