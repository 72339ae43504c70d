"""Kept SMTP connections: aiosmtplib makes them and logs in, then one transaction follows the other.

Whether a break means "certainly not accepted" or "perhaps accepted" depends on whether the whole mail had been
handed over, so transactions are spoken here, pipelined where the server offers it (RFC 2920).
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import aiosmtplib

from service.senders.http import NoAnswerError, NotReachedError
from service.senders.parts import shown

GOODBYE_SECONDS = 1.0
REPLY_MAX_BYTES = 64 * 1024
SERVICE_NOT_AVAILABLE = 421
START_INPUT = 354
# RFC 1870 and RFC 6531: what a server would answer if it were asked.
TOO_BIG = (552, "5.3.4 the server takes mails of at most {} bytes")
NO_UTF8 = (550, "5.6.7 the server cannot deliver to addresses outside ASCII (it has no SMTPUTF8)")
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")


class Stage(StrEnum):
    """What a reply was about."""

    CONNECT = "connect"
    LOGIN = "login"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer. `text` is printable and bounded."""

    code: int
    text: str

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463), as 5.1.1; empty when the server gave none."""
        found = _ENHANCED.match(self.text)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Mail:
    """What is handed over: the envelope and the content, which begins with a header and has CRLF line ends."""

    sender: str
    recipient: str
    content: bytes

    @property
    def needs_utf8(self) -> bool:
        return not (self.sender.isascii() and self.recipient.isascii())


class SmtpRefusedError(Exception):
    """The server said no."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(f"{stage}: {reply.code} {reply.text}")
        self.stage = stage
        self.reply = reply


class MisconfiguredError(Exception):
    """The server is not what the settings say: it has no TLS, no login, or another's certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect and how. `start_tls`: True requires it, None takes it where offered, False never asks."""

    host: str
    port: int
    use_tls: bool
    start_tls: bool | None
    user: str | None
    password: str | None
    helo_name: str
    connect_seconds: float
    idle_seconds: float


class SmtpPool:
    """Connections to one server. The caller bounds how many mails are under way."""

    def __init__(self, server: Server, tls: ssl.SSLContext) -> None:
        self._server = server
        self._tls = tls
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def deliver(self, mail: Mail, deadline: float) -> None:
        """Hand a mail over until `deadline` on the event loop's clock. Returns when the server has accepted it.

        Raises `SmtpRefusedError`, `MisconfiguredError`, `NotReachedError`, and `NoAnswerError` when it may have
        been accepted. A kept connection that turns out to be closed is replaced.
        """
        while (kept := self._take()) is not None:
            try:
                return await self._transact(kept, mail, deadline)
            except (NotReachedError, SmtpRefusedError) as error:
                if not _is_stale(error) or asyncio.get_running_loop().time() >= deadline:
                    raise
        return await self._transact(await self._connect(deadline), mail, deadline)

    async def close(self) -> None:
        """Say goodbye; mails under way have no answer."""
        connections = list(self._open)
        for connection in connections:
            connection.quit()
        if connections:
            await asyncio.wait([connection.lost for connection in connections])

    def _take(self) -> "_Connection | None":
        oldest = asyncio.get_running_loop().time() - self._server.idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and not connection.closing:
                return connection
            connection.quit()
        return None

    async def _transact(self, connection: "_Connection", mail: Mail, deadline: float) -> None:
        try:
            await connection.deliver(mail, deadline)
        finally:
            if not connection.closing:
                connection.idle_since = asyncio.get_running_loop().time()
                self._idle.append(connection)

    async def _connect(self, deadline: float) -> "_Connection":
        server = self._server
        until = min(deadline, asyncio.get_running_loop().time() + server.connect_seconds)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            local_hostname=server.helo_name,
            timeout=server.connect_seconds,
            use_tls=server.use_tls,
            start_tls=server.start_tls,
            tls_context=self._tls,
        )
        try:
            async with asyncio.timeout_at(until):
                await client.connect()
                if client.is_ehlo_or_helo_needed:
                    await client.ehlo()
        except (aiosmtplib.SMTPException, OSError) as error:
            client.close()
            raise _unconnected(error) from error
        connection = _Connection(client, self._open.discard)
        self._open.add(connection)
        return connection


class _Connection(asyncio.Protocol):
    """One connection, after its login."""

    def __init__(self, client: aiosmtplib.SMTP, forget: "Callable[[_Connection], None]") -> None:
        self.idle_since = 0.0
        self._leaving = False
        self._extensions: Mapping[str, str] = dict(client.esmtp_extensions)
        self._transport = cast("asyncio.Transport", client.transport)
        self._transport.set_protocol(self)
        self._forget = forget
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._broken: NoAnswerError | None = None
        self._unclean = False

    @property
    def closing(self) -> bool:
        return self._leaving or self._broken is not None or self._transport.is_closing()

    async def deliver(self, mail: Mail, deadline: float) -> None:
        """One transaction. A connection on which it did not come to its end is closed."""
        handed_over = False
        try:
            async with asyncio.timeout_at(deadline):
                await self._offer(mail)
                handed_over = True
                self._transport.write(mail.content.replace(b"\n.", b"\n..") + b".\r\n")
                reply = await self._reply()
        except SmtpRefusedError:
            raise
        except (NoAnswerError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and self._transport.get_write_buffer_size():
                handed_over = False  # its end has not left this machine
            self._transport.abort()
            told = (
                error if isinstance(error, NoAnswerError) else NoAnswerError("no answer in time", "timeout")
            )
            raise (
                told if handed_over else NotReachedError(f"before the mail was handed over, {told}")
            ) from error
        except BaseException:
            self._transport.abort()
            raise
        if reply.code // 100 != 2:  # noqa: PLR2004
            raise self._refused(Stage.DATA, reply)

    def quit(self) -> None:
        """Leave politely; what is under way has no answer."""
        if not self.closing:
            self._leaving = True
            self._transport.write(b"QUIT\r\n")
            asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self._transport.abort)

    async def _offer(self, mail: Mail) -> None:
        """Everything up to the server's word that it awaits the content."""
        steps = list(self._steps(mail))
        pipelined = "pipelining" in self._extensions
        if pipelined:
            self._transport.write(b"".join(command for _, command in steps))
        refused: SmtpRefusedError | None = None
        for stage, command in steps:
            if not pipelined:
                self._transport.write(command)
            reply = await self._reply()
            if stage is None or reply.code // 100 == (3 if stage is Stage.DATA else 2):
                continue
            refused = refused or self._refused(stage, reply)
            if not pipelined:
                break
        if refused is not None:
            if reply.code == START_INPUT:
                self._transport.abort()  # it awaits the content of a mail to nobody
            raise refused
        self._unclean = False

    def _steps(self, mail: Mail) -> Iterator[tuple[Stage | None, bytes]]:
        """Commands, and what their replies are about; None: the reply does not matter."""
        if self._unclean:
            yield None, b"RSET\r\n"
        options = ""
        if "size" in self._extensions:
            limit = self._extensions["size"]
            if limit.isdecimal() and 0 < int(limit) < len(mail.content):
                raise SmtpRefusedError(Stage.MAIL, Reply(TOO_BIG[0], TOO_BIG[1].format(limit)))
            options += f" SIZE={len(mail.content)}"
        if mail.needs_utf8:
            if "smtputf8" not in self._extensions:
                raise SmtpRefusedError(Stage.MAIL, Reply(*NO_UTF8))
            options += " SMTPUTF8"
        yield Stage.MAIL, f"MAIL FROM:<{mail.sender}>{options}\r\n".encode()
        yield Stage.RCPT, f"RCPT TO:<{mail.recipient}>\r\n".encode()
        yield Stage.DATA, b"DATA\r\n"

    def _refused(self, stage: Stage, reply: Reply) -> SmtpRefusedError:
        self._unclean = True
        if reply.code == SERVICE_NOT_AVAILABLE:
            self._transport.abort()
        return SmtpRefusedError(stage, reply)

    async def _reply(self) -> Reply:
        while not self._replies:
            if self._broken is not None:
                raise self._broken
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._replies.popleft()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).decode("utf-8", "replace").rstrip("\r")
            del self._buffer[: end + 1]
            self._take_line(line)
        if len(self._buffer) > REPLY_MAX_BYTES or len(self._lines) > REPLY_MAX_BYTES // 100:
            self._break("the answer is too long", "answer")
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._forget(self)
        self.lost.set_result(None)
        self._break("the connection broke before an answer", "broken")

    def _take_line(self, line: str) -> None:
        if not re.fullmatch(r"[2-5][0-9]{2}(?:[ -].*)?", line):
            self._break("the answer is not SMTP", "answer")
            return
        self._lines.append(line[4:])
        if line[3:4] != "-":
            self._replies.append(_reply(int(line[:3]), " ".join(self._lines)))
            self._lines.clear()

    def _break(self, reason: str, code: str) -> None:
        self._broken = self._broken or NoAnswerError(reason, code)
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        elif self._waiter is None and self._replies and not self._transport.is_closing():
            self._transport.close()  # the server says goodbye


def _reply(code: int, text: str) -> Reply:
    return Reply(code, shown(text))


def _is_stale(error: Exception) -> bool:
    """Whether a kept connection had been closed by the server meanwhile."""
    return isinstance(error, NotReachedError) or (
        isinstance(error, SmtpRefusedError) and error.reply.code == SERVICE_NOT_AVAILABLE
    )


def _unconnected(error: Exception) -> Exception:
    """What it means that there is no connection."""
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return MisconfiguredError(f"its certificate is not trusted: {cause.verify_message}")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _unwelcome(error)
    if isinstance(error, TimeoutError):
        return NotReachedError("cannot connect in time")
    if isinstance(error, OSError):
        why = (cause.strerror or type(cause).__name__) if isinstance(cause, OSError) else "it was closed"
        return NotReachedError(f"cannot connect: {why}")
    return MisconfiguredError(str(error))


def _unwelcome(error: aiosmtplib.SMTPResponseException) -> Exception:
    if error.code < 0:
        return NotReachedError("the server does not speak SMTP")
    stage = Stage.LOGIN if isinstance(error, aiosmtplib.SMTPAuthenticationError) else Stage.CONNECT
    return SmtpRefusedError(stage, _reply(error.code, error.message))
