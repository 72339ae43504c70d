"""The `APPRISE` sender: every service that the Apprise library knows, through that library.

An address is the name of a URL in `APPRISE_URLS`, or an Apprise URL of a schema in `APPRISE_SCHEMAS`
(https://github.com/caronc/apprise/wiki). Such URLs hold passwords: what is kept and shown of a request's own URL
is sealed with `APPRISE_ADDRESS_KEY`. Apprise says only whether it worked; where its log names an HTTP status, that
says more, else the outcome is unknown. It has no ids of messages and no idempotency key.
"""

import asyncio
import hashlib
import logging
import re
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from service.sender_settings import AppriseSettings
from service.senders.base import (
    AddressError,
    BaseSender,
    Capabilities,
    Limits,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Throttled,
    Unknown,
)
from service.senders.egress import PRIVATE_PROBLEM, is_public
from service.senders.http import NoAnswerError, NotReachedError
from service.senders.markup import RichText, clean, plain_text, read, split
from service.senders.parts import (
    Failure,
    NotSentError,
    NumberedText,
    before_the_message,
    composed,
    files_as_links,
    numbered,
    send_parts,
    titled_text,
    with_links,
)

if TYPE_CHECKING:
    from apprise import NotifyBase

TIMEOUT_SECONDS = 15.0
TEXT_MAX_CHARS = 32_768
TEXT_MIN_CHARS = 20
URL_MAX_CHARS = 1_400

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9]{0,31})://[!-~]+")
_SEALED = re.compile(r"([a-z][a-z0-9]{0,31}):([A-Za-z0-9_-]{24,})")
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
_GATEWAY = frozenset({502, 504})
_LATER = frozenset({408, 425})
# They write addresses, headers and bodies into their logs.
_TALKATIVE = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")


class AppriseSender(BaseSender):
    """Sends plain text, in threads of its own: Apprise blocks."""

    name = "APPRISE"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        max_length=TEXT_MAX_CHARS,
        splits=True,
        one_provider=False,
        shared_addresses=True,
        secret_addresses=True,
    )
    retry_delays: ClassVar = (30.0, 300.0)

    def __init__(self, settings: AppriseSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_address
        self._settings = settings
        self._urls = {name: url.get_secret_value() for name, url in settings.urls.items()}
        self._seal = _Seal(settings.address_key.get_secret_value()) if settings.address_key else None
        self._timeout_seconds = timeout_seconds
        self._pool: ThreadPoolExecutor | None = None
        self.off_reason = self._why_off()

    def check_address(self, address: str) -> str:
        if _NAME.fullmatch(address):
            if address not in self._urls:
                raise AddressError(f"is no name in APPRISE_URLS; {self._accepted()}")
            return address
        url = self._url_of(address)
        if self._seal is None:
            return address
        return f"{url.partition(':')[0].lower()}:{self._seal.close(url)}"

    async def preview(self, message: Message) -> Sequence[str]:
        return [plain_text(titled_text(message))]

    async def open(self) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix=self.name)
            await asyncio.get_running_loop().run_in_executor(self._pool, _load)

    async def send(self, message: Message) -> Outcome:
        try:
            with before_the_message():
                service = await self._in_thread(self._timeout_seconds, self._service, message.address)
        except AddressError as error:
            return Refused(reason=f"the address {error}", code="address")
        except (NotSentError, NotReachedError) as error:
            return _not_begun(error, message.parts_done)
        title = clean(message.title).strip()
        if len(title) > service.title_maxlen:
            title = ""
        parts = await composed(message, lambda given: _texts(given, service, apart=bool(title)))

        async def send(part: NumberedText, deadline: float) -> str:
            left = deadline - asyncio.get_running_loop().time()
            await self._in_thread(left, _notify, service, "" if part.number else title, part.text)
            return f"{message.notification_id}-{message.delivery_id}-{part.number}"

        return await send_parts(parts, message.parts_done, send, timeout_seconds=self._timeout_seconds)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, seconds: float, work: Callable[..., T], *arguments: Any) -> T:
        """Raises `NotReachedError` when no thread was free in time, and `NoAnswerError` when it took longer."""
        if self._pool is None:
            raise RuntimeError("open() was not called")
        future = self._pool.submit(work, *arguments)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if future.cancel():
                raise NotReachedError("every thread of APPRISE_CONCURRENCY is busy") from None
            raise NoAnswerError(f"no answer within {seconds:.3g} s", "timeout") from None

    def _why_off(self) -> str | None:
        settings = self._settings
        if not settings.urls and not settings.schemas:
            return "APPRISE_URLS is not set; accepted: as ops=slack://… desk=gotify://…"
        if settings.schemas and self._seal is None:
            return "APPRISE_ADDRESS_KEY is not set, and URLs of APPRISE_SCHEMAS need it; accepted: 32 characters or more"
        if settings.default_address is not None and settings.default_address not in settings.urls:
            return "APPRISE_DEFAULT_ADDRESS is no name in APPRISE_URLS"
        return None

    def _url_of(self, address: str) -> str:
        """The URL in an address of a request, sealed or not. Raises `AddressError`."""
        sealed = _SEALED.fullmatch(address)
        url = address if sealed is None or self._seal is None else self._seal.open(sealed[2])
        found = _URL.fullmatch(url)
        if found is None or len(url) > URL_MAX_CHARS:
            raise AddressError(f"is no Apprise URL of at most {URL_MAX_CHARS} characters; {self._accepted()}")
        if found[1].lower() not in self._settings.schemas:
            raise AddressError(f"has a schema that is not in APPRISE_SCHEMAS; {self._accepted()}")
        return url

    def _accepted(self) -> str:
        named = f"a name of APPRISE_URLS ({', '.join(self._urls) or 'which has none'})"
        return f"accepted: {' or '.join((named, *(f'{schema}://…' for schema in self._settings.schemas)))}"

    def _service(self, address: str) -> "NotifyBase":
        """What Apprise makes of an address. Raises `AddressError`, and `NotSentError` where a name does not resolve."""
        from apprise import Apprise, AppriseAsset, OverflowMode  # noqa: PLC0415

        named = self._urls.get(address)
        # Else Apprise would hand the call on to threads of its own.
        asset = AppriseAsset(async_mode=False)
        service = Apprise.instantiate(named or self._url_of(address), asset=asset)
        if service is None:
            raise AddressError("is no URL that Apprise understands")
        if named is None:
            service.redirects = False
            if not self._settings.allow_private:
                _refuse_private(service)
        service.socket_connect_timeout = self._timeout_seconds / 3
        service.socket_read_timeout = self._timeout_seconds
        service.service_retry = 0
        service.overflow_mode = OverflowMode.SPLIT
        return service


class _Seal:
    """Makes the same sealed text of the same URL, so that contacts, order and limits know it again."""

    def __init__(self, key: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # noqa: PLC0415

        self._cipher = AESSIV(hashlib.sha512(b"APPRISE address" + key.encode()).digest())

    def close(self, url: str) -> str:
        return urlsafe_b64encode(self._cipher.encrypt(url.encode(), None)).decode().rstrip("=")

    def open(self, sealed: str) -> str:
        """Raises `AddressError` for what was not sealed with this key."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        try:
            return self._cipher.decrypt(urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)), None).decode()
        except (InvalidTag, ValueError):
            raise AddressError("was not sealed with APPRISE_ADDRESS_KEY") from None


def _load() -> None:
    """Import Apprise with all it brings, which takes long, and keep its logs to itself."""
    for name in _TALKATIVE:
        logging.getLogger(name).propagate = False
    from apprise import Apprise  # noqa: PLC0415

    Apprise.instantiate("json://localhost")  # reads the modules of every service


def _texts(message: Message, service: "NotifyBase", *, apart: bool) -> list[NumberedText]:
    """The texts of the calls; the title stands in the first one unless the service takes it apart."""
    text = read(message.body, message.format)
    if not apart or not text.visible:
        text = titled_text(message)
    text = with_links(text, (*message.buttons, *files_as_links(message)))
    most = max(TEXT_MIN_CHARS, min(TEXT_MAX_CHARS, service.body_maxlen))
    return numbered(part.text for part in split(RichText(plain_text(text)), most))


def _notify(service: "NotifyBase", title: str, text: str) -> None:
    """One call of Apprise. Raises `NotSentError`."""
    from apprise import Apprise, NotifyFormat  # noqa: PLC0415

    caller = Apprise(asset=service.asset)
    caller.add(service)
    result = caller.notify(body=text, title=title, body_format=NotifyFormat.TEXT)
    if not result:
        logged = [entry.message for one in result for entry in one.logs()]
        raise NotSentError(_failure(logged, targets=len(service)))


def _failure(logged: Sequence[str], *, targets: int) -> Failure:
    """What a failure means, from Apprise's log. With several targets some may have got the message."""
    statuses = [int(status) for line in logged for status in _STATUS.findall(line)]
    if not statuses or targets > 1 or statuses[-1] in _GATEWAY or statuses[-1] < HTTPStatus.MULTIPLE_CHOICES:
        return Unknown(reason="Apprise says only that it failed", code="failed")
    status = statuses[-1]
    reason, code = f"the service answered {status}", str(status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(reason=reason, code=code, scope=Scope.ADDRESS)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER:
        return Retry(reason=reason, code=code)
    return Refused(reason=reason, code=code)


def _not_begun(error: NotSentError | NotReachedError, done: tuple[str, ...]) -> Outcome:
    if isinstance(error, NotSentError):
        return replace(error.outcome, parts=done)
    return Retry(reason=str(error), code="busy", parts=done)


def _refuse_private(service: "NotifyBase") -> None:
    """Raises `AddressError` when the host that the URL names is inside the network.

    Apprise connects later and by the name: one that answers differently the second time gets through.
    """
    templates: Sequence[str] = service.templates
    hosts = [service.host] if any("{host}" in template for template in templates) else []
    hosts.append(getattr(service, "smtp_host", None))
    for host in filter(None, hosts):
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NotSentError(Retry(reason="the host's name does not resolve", code="connect")) from None
        if not all(is_public(ip_address(entry[4][0])) for entry in found):
            raise AddressError(PRIVATE_PROBLEM)
