"""A real SMTP server (aiosmtpd) with a mailbox for everybody, TLS by an authority of its own, and faults on demand.

In a test: `async with SmtpServer() as server`, then `server.port`, `server.mails`, `server.fault(...)`.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER = "notifications"
PASSWORD = "smtp-password-for-tests"
Stage = Literal["connect", "MAIL", "RCPT", "DATA"]


@dataclass(frozen=True)
class Fault:
    """What happens at a stage instead of the usual answer. `accept` is about DATA: whether the mail arrives."""

    stage: Stage
    reply: str = ""
    ending: Literal["answer", "reset", "hang", "close"] = "answer"
    accept: bool = False


@dataclass(frozen=True)
class Received:
    """A mail that was accepted, and how it came."""

    sender: str
    recipient: str
    content: bytes
    options: tuple[str, ...]
    encrypted: bool
    user: str | None
    connection: int

    @property
    def parsed(self) -> EmailMessage:
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def text(self) -> str:
        """The subject, and below it the text as a program that shows no HTML has it."""
        body = self.parsed.get_body(("plain",))
        assert body is not None
        return f"{self.parsed['Subject']}\n{body.get_content()}".replace("\r\n", "\n")

    @property
    def html(self) -> str:
        body = self.parsed.get_body(("html",))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def ca_file(folder: Path) -> Path:
    """The authority's certificate as a file."""
    path = folder / "ca.pem"
    authority().cert_pem.write_to_path(str(path))
    return path


class SmtpServer:
    """One server on 127.0.0.1. `tls`: from the start, by STARTTLS, or not at all."""

    def __init__(
        self,
        *,
        tls: Literal["tls", "starttls", "none"] = "starttls",
        login: bool = True,
        extensions: tuple[str, ...] = ("PIPELINING", "ENHANCEDSTATUSCODES"),
        utf8: bool = True,
        max_bytes: int = 64 * 1024 * 1024,
        hostname: str = "localhost",
    ) -> None:
        self.mails: list[Received] = []
        self.connections = 0
        self.commands: list[str] = []
        self.extensions = extensions
        self.port = 0
        self._tls = tls
        self._login = login
        self._utf8 = utf8
        self._max_bytes = max_bytes
        self._faults: deque[Fault] = deque()
        self._stopping = asyncio.Event()
        self._protocols: set[_Protocol] = set()
        self._server: asyncio.Server | None = None
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority().issue_cert(hostname).configure_cert(self._context)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def fault(self, fault: Fault, times: int = 1) -> None:
        """The next `times` arrivals at that stage end so."""
        self._faults.extend([fault] * times)

    async def start(self) -> None:
        """Listen, after a stop on the same port again."""
        self._stopping.clear()
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, "127.0.0.1", self.port, ssl=self._context if self._tls == "tls" else None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut what is connected. May be called twice."""
        self._stopping.set()
        if self._server is not None:
            self._server.close()
        protocols = list(self._protocols)
        for protocol in protocols:
            protocol.cut()
        await asyncio.gather(*(protocol.end() for protocol in protocols))

    def hang_up(self) -> None:
        """Close every connection, as a server does with idle ones."""
        for protocol in list(self._protocols):
            protocol.cut()

    def take(self, stage: Stage) -> Fault | None:
        wanted = next((fault for fault in self._faults if fault.stage == stage), None)
        if wanted is not None:
            self._faults.remove(wanted)
        return wanted

    async def end(self, fault: Fault, protocol: "_Protocol") -> str:
        """Let a fault happen; its reply."""
        match fault.ending:
            case "reset":
                protocol.cut()
                await self._stopping.wait()  # until the lost connection cancels this
            case "hang":
                await self._stopping.wait()
                protocol.cut()
            case "close":
                protocol.closing_after_reply = True
        return fault.reply or "250 OK"

    def _protocol(self) -> "_Protocol":
        self.connections += 1
        protocol = _Protocol(
            _Handler(self),
            number=self.connections,
            ended=self._protocols.discard,
            hostname="mx.example.com",
            enable_SMTPUTF8=self._utf8,
            data_size_limit=self._max_bytes,
            tls_context=self._context if self._tls == "starttls" else None,
            auth_required=self._login,
            authenticator=_authenticate,
            loop=asyncio.get_running_loop(),
        )
        self._protocols.add(protocol)
        return protocol


class _Protocol(SMTP):
    def __init__(
        self, handler: "_Handler", *, number: int, ended: Callable[["_Protocol"], None], **options: Any
    ) -> None:
        super().__init__(handler, **options)
        self.number = number
        self.closing_after_reply = False
        self._ended = ended
        self._raw: asyncio.BaseTransport | None = None
        handler.protocol = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = self._raw or transport
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._ended(self)

    def cut(self) -> None:
        if isinstance(self._raw, asyncio.WriteTransport):
            self._raw.abort()

    async def end(self) -> None:
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
            await asyncio.gather(self._handler_coroutine, return_exceptions=True)

    async def push(self, status: Any) -> None:
        await super().push(status)
        if self.closing_after_reply and self.transport is not None:
            self.transport.close()

    async def _handle_client(self) -> None:
        fault = self.event_handler.server.take("connect")
        if fault is None:
            await super()._handle_client()
            return
        await self.push(await self.event_handler.server.end(fault, self))
        if self.transport is not None:
            self.transport.close()


class _Handler:
    """One connection's side of the server."""

    protocol: _Protocol

    def __init__(self, server: SmtpServer) -> None:
        self.server = server

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, smtp: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.server.commands.append("EHLO")
        return [*responses[:-1], *(f"250-{extension}" for extension in self.server.extensions), responses[-1]]

    async def handle_RSET(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.server.commands.append("RSET")
        return "250 OK"

    async def handle_QUIT(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.server.commands.append("QUIT")
        return "221 Bye"

    async def handle_MAIL(  # noqa: N802
        self, smtp: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.server.commands.append("MAIL")
        fault = self.server.take("MAIL")
        if fault is not None:
            return await self.server.end(fault, self.protocol)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, smtp: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.server.commands.append("RCPT")
        fault = self.server.take("RCPT")
        if fault is not None:
            return await self.server.end(fault, self.protocol)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.server.commands.append("DATA")
        fault = self.server.take("DATA")
        if fault is None or fault.accept:
            self._accept(session, envelope)
        if fault is None:
            return f"250 2.0.0 queued as {len(self.server.mails)}"
        return await self.server.end(fault, self.protocol)

    def _accept(self, session: Session, envelope: Envelope) -> None:
        content, (recipient,) = envelope.content, envelope.rcpt_tos
        assert isinstance(content, bytes)
        assert envelope.mail_from is not None
        self.server.mails.append(
            Received(
                sender=envelope.mail_from,
                recipient=recipient,
                content=content,
                options=tuple(envelope.mail_options),
                encrypted=session.ssl is not None or self.server._tls == "tls",
                user=session.auth_data.login.decode() if session.auth_data else None,
                connection=self.protocol.number,
            )
        )


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=known, handled=False, auth_data=data)
