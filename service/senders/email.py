"""The `EMAIL` sender: mails through one SMTP server, over kept connections.

An address is a mailbox, as `anna@example.com`; the part before the @ may be outside ASCII where the server has
SMTPUTF8. SMTP drops no repeats, but every attempt of a delivery has the same Message-ID, by which receivers may.
The meanings of reply codes are those of RFC 5321, 3463 and 6531.
"""

import asyncio
import re
import socket
import ssl
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

import idna

from service.sender_settings import EmailSettings
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
    Unknown,
)
from service.senders.files import CODE as ATTACHMENT
from service.senders.files import File, FileError, Files
from service.senders.http import NoAnswerError, NotReachedError
from service.senders.markup import RichText, clean, email_html, plain_text, read
from service.senders.mime import Content, mail, mailbox, one_line, shown, words
from service.senders.parts import composed, with_links
from service.senders.smtp import Mail, MisconfiguredError, Server, SmtpPool, SmtpRefusedError, Stage
from service.settings import AttachmentSettings

# Below DELIVERY_SEND_TIMEOUT_SECONDS, so that it is known how far the mail had got.
TIMEOUT_SECONDS = 15.0
SUBJECT_MAX_CHARS = 100
COMPOSED_IN_THREAD_CHARS = 50_000
ADDRESS_MAX_BYTES = 254
LOCAL_PART_MAX_BYTES = 64
PORTS = {"tls": 465, "starttls": 587, "opportunistic": 25, "none": 25}
START_TLS = {"tls": False, "starttls": True, "opportunistic": None, "none": False}

ADDRESS_HELP = "accepted: a mailbox, as name@example.com"
_LOCAL_PART = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_HELO_NAME = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Za-z:.]+\]")
_NO_LOGIN = frozenset({530, 534, 535, 538})
_DEAD_AT_RCPT = frozenset({550, 551, 553})
_DEAD = re.compile(r"5\.(?:1\.(?!7$|8$)\d+|2\.1)")
"""The mailbox is not there, has moved or is disabled; 5.1.7 and 5.1.8 are about the sender's."""
# Older servers give policy the codes of a missing mailbox, and have only words to tell them apart.
_POLICY = re.compile(r"relay|rcpthosts|authenti|denied|reject|block|blacklist|spam|policy", re.IGNORECASE)
_OF_THE_MESSAGE = re.compile(r"5\.(?:3\.4|6\.\d+|2\.3)")
_OF_THE_RECIPIENT = re.compile(r"4\.[127]\.\d+")


class EmailSender(BaseSender):
    """Sends text with HTML beside it. Attachments are fetched and put into the mail.

    A photo that the body shows, or links to, by its address is within the text; every other file is beside it.
    """

    name = "EMAIL"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        buttons=True,
        attachments=frozenset({"photo", "document"}),
        ordered=False,
        shared_addresses=True,
    )
    retry_delays = (5, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)

    def __init__(
        self,
        settings: EmailSettings,
        attachments: AttachmentSettings,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.connections)
        self.default_address = settings.default_address
        self.off_reason = next(_problems(settings), None)
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._pool: SmtpPool | None = None
        self._files = Files(attachments)
        if self.off_reason is None:
            self._from = check_mailbox(settings.from_address or "")
            self._domain = self._from.rpartition("@")[2]
            self._reply_to = check_mailbox(settings.reply_to or self._from)
            self._return_path = check_mailbox(settings.return_path or self._from)

    def check_address(self, address: str) -> str:
        return check_mailbox(address)

    def address_spacing(self, address: str) -> float:
        del address
        return 1 / self._settings.domain_rate if self._settings.domain_rate else 0.0

    def pacing_key(self, address: str) -> str:
        return address.rpartition("@")[2]

    async def preview(self, message: Message) -> Sequence[str]:
        (rich,) = await composed(message, _rich)
        return [f"{_subject(message, rich)}\n\n{plain_text(rich)}"]

    async def open(self) -> None:
        if self._pool is None:
            self._pool = await asyncio.to_thread(self._make_pool)

    async def send(self, message: Message) -> Outcome:
        if self._pool is None:
            raise RuntimeError("open() was not called")
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        (rich,) = await composed(message, _rich)
        if not (rich.visible or message.title.strip() or message.attachments):
            return Refused(reason="nothing visible remains of the text", code="empty")
        try:
            async with asyncio.timeout_at(deadline):
                files = await self._files.fetch(message.attachments)
            await self._pool.deliver(await self._compose(message, rich, files), deadline)
        except (
            FileError,
            SmtpRefusedError,
            MisconfiguredError,
            NotReachedError,
            NoAnswerError,
            TimeoutError,
        ) as error:
            return self._not_sent(error, message.attempt)
        return Sent((self._message_id(message),))

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        await self._files.close()
        if pool is not None:
            await pool.close()

    def _make_pool(self) -> SmtpPool:
        settings = self._settings
        tls = ssl.create_default_context()
        if settings.ca_file is not None:
            tls.load_verify_locations(settings.ca_file)
        if settings.security == "opportunistic":
            # Whoever is content with no encryption gains nothing from refusing a certificate.
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        server = Server(
            host=settings.host or "",
            port=settings.port or PORTS[settings.security],
            use_tls=settings.security == "tls",
            start_tls=START_TLS[settings.security],
            user=settings.user,
            password=settings.password.get_secret_value() if settings.password else None,
            helo_name=settings.helo_name or _host_name() or self._domain,
            connect_seconds=self._timeout_seconds / 3,
            idle_seconds=settings.idle_seconds,
        )
        return SmtpPool(server, tls)

    async def _compose(self, message: Message, rich: RichText, files: Sequence[File]) -> Mail:
        if len(rich.text) > COMPOSED_IN_THREAD_CHARS or files:
            return await asyncio.to_thread(self._mail, message, rich, files)
        return self._mail(message, rich, files)

    def _mail(self, message: Message, rich: RichText, files: Sequence[File]) -> Mail:
        referred = {span.value for span in rich.spans if span.style == "link"}
        ids: dict[str, str] = {}
        images: dict[str, File] = {}
        beside = []
        for number, (attachment, file) in enumerate(zip(message.attachments, files, strict=True)):
            if attachment.kind == "photo" and attachment.url in referred - ids.keys():
                ids[attachment.url] = f"{number}.{message.delivery_id}@{self._domain}"
                images[ids[attachment.url]] = file
            else:
                beside.append(file)
        content = Content(shown(plain_text(rich)), shown(email_html(rich, ids)), images, beside)
        return_path = self._return_path.replace("{id}", str(message.delivery_id))
        return Mail(return_path, message.address, mail(dict(self._headers(message, rich)), content))

    def _headers(self, message: Message, rich: RichText) -> Iterator[tuple[str, str]]:
        settings = self._settings
        yield "Date", format_datetime(datetime.now(UTC))
        yield "From", mailbox(one_line(settings.from_name or ""), self._from)
        yield "To", message.address
        if settings.reply_to:
            yield "Reply-To", self._reply_to
        yield "Subject", words(_subject(message, rich))
        yield "Message-ID", self._message_id(message)
        yield "Auto-Submitted", "auto-generated"
        if message.priority == "bulk":
            yield "Precedence", "bulk"
        if message.unsubscribe_url is not None:
            yield from unsubscribe_headers(message.unsubscribe_url)

    def _message_id(self, message: Message) -> str:
        return f"<{message.notification_id}.{message.delivery_id}@{self._domain}>"

    def _not_sent(self, error: Exception, attempt: int) -> Outcome:
        match error:
            case FileError():
                return error.outcome
            case MisconfiguredError():
                return Halted(reason=f"the server of EMAIL_HOST cannot be used: {error}", code="server")
            case NotReachedError():
                return Retry(reason=str(error), code="connect")
            case NoAnswerError():
                return Unknown(reason=str(error), code=error.code)
            case SmtpRefusedError():
                return self._judge(error, attempt)
        reason = f"the attachments were not there within {self._timeout_seconds:g} s"
        return Retry(reason=reason, code=ATTACHMENT, scope=Scope.ADDRESS)

    def _judge(self, refused: SmtpRefusedError, attempt: int) -> Outcome:
        """What a reply means, by where it came, its code and its enhanced code."""
        stage, reply = refused.stage, refused.reply
        reason, code = str(refused), reply.enhanced or str(reply.code)
        if reply.code // 100 == 4 and reply.code not in _NO_LOGIN:  # noqa: PLR2004
            of_the_recipient = stage is Stage.RCPT or _OF_THE_RECIPIENT.fullmatch(reply.enhanced)
            delays = self.retry_delays
            wait = max(self._settings.greylist_seconds, delays[min(attempt, len(delays)) - 1])
            scope = Scope.ADDRESS if of_the_recipient else Scope.ACCOUNT
            return Retry(reason=reason, code=code, retry_after=wait, scope=scope)
        if _is_of_the_account(refused):
            return Halted(reason=f"the mail server refuses this account: {reason}", code=code)
        dead = _DEAD.fullmatch(reply.enhanced) or (
            not reply.enhanced
            and stage is Stage.RCPT
            and reply.code in _DEAD_AT_RCPT
            and not _POLICY.search(reply.text)
        )
        return Gone(reason=reason, code=code) if dead else Refused(reason=reason, code=code)


def check_mailbox(address: str) -> str:
    """A mailbox in its canonical form: the domain in lower case and ASCII. Raises `AddressError`."""
    local, at, domain = unicodedata.normalize("NFC", address).rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local):
        raise AddressError(f"is not a mailbox; {ADDRESS_HELP}")
    try:
        ascii_domain = idna.encode(domain, uts46=True, std3_rules=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        raise AddressError(f"has no valid domain; {ADDRESS_HELP}") from None
    if "." not in ascii_domain.rstrip(".") or ascii_domain.endswith(".") or ascii_domain[-1].isdecimal():
        raise AddressError(f"has no valid domain; {ADDRESS_HELP}")
    canonical = f"{local}@{ascii_domain}"
    if len(local.encode()) > LOCAL_PART_MAX_BYTES or len(canonical.encode()) > ADDRESS_MAX_BYTES:
        raise AddressError(
            f"is too long; accepted: {LOCAL_PART_MAX_BYTES} bytes before the @, {ADDRESS_MAX_BYTES} in all"
        )
    return canonical


def unsubscribe_headers(url: str) -> Iterator[tuple[str, str]]:
    """The headers of which the reader's program makes a button; one click only with https (RFC 8058)."""
    yield "List-Unsubscribe", f"<{url}>"
    if url.startswith("https://"):
        yield "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"


def _problems(settings: EmailSettings) -> Iterator[str]:
    """What is wrong with the settings, by their names."""
    if not settings.host:
        yield "EMAIL_HOST is not set"
    if not settings.from_address:
        yield "EMAIL_FROM_ADDRESS is not set"
    yield from _bad_mailboxes(settings)
    if settings.user and settings.password is None:
        yield "EMAIL_PASSWORD is not set, and EMAIL_USER is"
    if settings.user and settings.security == "opportunistic":
        yield "EMAIL_SECURITY is opportunistic, which may show the password to others; accepted: tls, starttls"
    if settings.helo_name and not _HELO_NAME.fullmatch(settings.helo_name):
        yield "EMAIL_HELO_NAME is not a host name; accepted: as mail.example.com"
    if settings.ca_file is not None and not settings.ca_file.is_file():
        yield "EMAIL_CA_FILE is not a file"


def _bad_mailboxes(settings: EmailSettings) -> Iterator[str]:
    for name in ("from_address", "reply_to", "return_path", "default_address"):
        try:
            ours = check_mailbox(getattr(settings, name) or "name@example.com")
        except AddressError as error:
            yield f"EMAIL_{name.upper()} {error}"
        else:
            if not ours.isascii() and name != "default_address":
                yield f"EMAIL_{name.upper()} is outside ASCII before the @; {ADDRESS_HELP}"


def _host_name() -> str | None:
    name = socket.getfqdn()
    return name if "." in name and _HELO_NAME.fullmatch(name) else None


def _rich(message: Message) -> list[RichText]:
    return [with_links(read(message.body, message.format), message.buttons)]


def _subject(message: Message, rich: RichText) -> str:
    """The title; without one, the beginning of the text."""
    title = one_line(clean(message.title))
    if title:
        return title
    first = rich.text.strip().partition("\n")[0]
    return one_line(first if len(first) <= SUBJECT_MAX_CHARS else f"{first[: SUBJECT_MAX_CHARS - 1]}…")


def _is_of_the_account(refused: SmtpRefusedError) -> bool:
    """Whether no mail would be taken: no login, or a return path that is not ours to use."""
    stage, reply = refused.stage, refused.reply
    if reply.code in _NO_LOGIN or stage in (Stage.CONNECT, Stage.LOGIN):
        return True
    return stage is Stage.MAIL and not _OF_THE_MESSAGE.fullmatch(reply.enhanced) and reply.code != 552  # noqa: PLR2004
