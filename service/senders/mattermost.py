"""The `MATTERMOST` sender: incoming webhooks of one server.

An address is a webhook's key, with `:channel` or `:@user` for another channel than its own; its URL is accepted too.
A webhook gives no id of the message and recognises no repeats. Buttons and attachments are links below the
text. Unconfirmed: the ids of the errors for unknown channels and users, the headers beside a 429, and that the
server itself splits longer posts.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus

import orjson

from service.sender_settings import MattermostSettings
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
    Throttled,
)
from service.senders.http import Answer, HttpClient, check_url
from service.senders.markup import mattermost_markdown
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
TEXT_MAX_CHARS = 16_000

ADDRESS_HELP = (
    "accepted: a webhook's key or URL on MATTERMOST_URL, with :channel or :@user for another channel"
)
_ADDRESS = re.compile(r"[A-Za-z0-9]{1,64}(?::@?[a-z0-9][a-z0-9._-]{0,63})?")
_DISABLED = "web.incoming_webhook.disabled.app_error"
_UNKNOWN_HOOK = "web.incoming_webhook.invalid.app_error"


class MattermostSender(BaseSender):
    """Sends Mattermost's markdown to incoming webhooks."""

    name = "MATTERMOST"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_CHARS,
        splits=True,
        buttons=True,
        secret_addresses=True,
    )

    def __init__(self, settings: MattermostSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self._hooks = f"{settings.url.rstrip('/')}/hooks/" if settings.url else ""
        self.default_address = settings.default_hook.get_secret_value() if settings.default_hook else None
        self._timeout_seconds = timeout_seconds
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self.off_reason = self._why_off()

    def check_address(self, address: str) -> str:
        key = address.removeprefix(self._hooks) if self._hooks else address
        if not _ADDRESS.fullmatch(key):
            raise AddressError(f"is no webhook; {ADDRESS_HELP}")
        return key

    def pacing_key(self, address: str) -> str:
        return address.partition(":")[0]

    async def preview(self, message: Message) -> Sequence[str]:
        return [part.text for part in await composed(message, _parts)]

    async def send(self, message: Message) -> Outcome:
        parts = await composed(message, _parts)

        async def send(part: NumberedText, deadline: float) -> str:
            await self._call(message.address, part.text, deadline)
            return f"{message.delivery_id}-{part.number}"

        return await send_parts(parts, message.parts_done, send, timeout_seconds=self._timeout_seconds)

    async def close(self) -> None:
        await self._http.close()

    def _why_off(self) -> str | None:
        if not self._hooks:
            return "MATTERMOST_URL is not set"
        try:
            check_url(self._hooks)
        except ValueError:
            return "MATTERMOST_URL is malformed; accepted: https://host"
        if self.default_address is not None:
            try:
                self.default_address = self.check_address(self.default_address)
            except AddressError as error:
                return f"MATTERMOST_DEFAULT_HOOK {error}"
        return None

    async def _call(self, address: str, text: str, deadline: float) -> None:
        key, _, channel = address.partition(":")
        fields = {"text": text, "channel": channel} if channel else {"text": text}
        answer = await self._http.request(
            "POST",
            self._hooks + key,
            headers={"content-type": "application/json"},
            body=orjson.dumps(fields),
            deadline=deadline,
        )
        if answer.status != HTTPStatus.OK or answer.body.strip() != b"ok":
            raise NotSentError(_failure(answer))


def _parts(message: Message) -> list[NumberedText]:
    text = with_links(titled_text(message), (*message.buttons, *files_as_links(message)))
    return numbered(written_parts(text, TEXT_MAX_CHARS, mattermost_markdown))


def _failure(answer: Answer) -> Failure:
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        headers = answer.headers
        hint = seconds_of(headers.get("retry-after") or headers.get("x-ratelimit-reset"))
        return Throttled(reason="too many messages", code="429", retry_after=hint)
    match json_of(answer):
        case {"id": str(error), "message": str(text)} if answer.status >= HTTPStatus.BAD_REQUEST:
            return _judge(answer.status, shown(error), shown(text))
    return strange(answer, "Mattermost", "MATTERMOST_URL")


def _judge(status: int, error: str, text: str) -> Failure:
    """What an error of the server means, by its id."""
    if error == _DISABLED:
        return Halted(reason=f"the server has incoming webhooks switched off: {text}", code=error)
    if error == _UNKNOWN_HOOK or (status == HTTPStatus.NOT_FOUND and re.search("channel|user", error)):
        return Gone(reason=text, code=error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Retry(reason=text, code=error)
    return Refused(reason=text, code=error)
