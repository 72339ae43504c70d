"""The least SMTP server that a fast fake needs: every mail is taken, nothing is encrypted, commands may be pipelined.

In a test: `async with TinySmtpServer() as server`, then `server.port`, `server.recipients`.
"""

import asyncio
from typing import cast

from tests.fakes.tiny import TinyConnection, TinyServer

_EHLO = b"250-tiny\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-SMTPUTF8\r\n250 SIZE 67108864\r\n"
_END = b"\r\n.\r\n"


class TinySmtpServer(TinyServer):
    """`async with` starts and stops it, on a free port. `recipients` are in the order of their mails."""

    def __init__(self) -> None:
        super().__init__(lambda: _Connection(self))
        self.recipients: list[str] = []


class _Connection(TinyConnection):
    def __init__(self, server: TinySmtpServer) -> None:
        super().__init__(server)
        self._server = server
        self._buffer = b""
        self._recipient = ""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).write(b"220 tiny ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        replies = b""
        while (reply := self._next()) is not None:
            replies += reply
        if self._transport is not None:
            self._transport.write(replies)
            if replies.endswith(b"221 2.0.0 bye\r\n"):
                self._transport.close()

    def _next(self) -> bytes | None:
        """Take one command or content from the buffer; its reply, None: there is no whole one."""
        if self._in_data:
            _, end, rest = self._buffer.partition(_END)
            if not end:
                return None
            self._buffer, self._in_data = rest, False
            self._server.recipients.append(self._recipient)
            return b"250 2.0.0 queued\r\n"
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        self._buffer = rest
        return self._obey(line)

    def _obey(self, line: bytes) -> bytes:
        match line[:4].upper():
            case b"EHLO":
                return _EHLO
            case b"RCPT":
                self._recipient = line.partition(b"<")[2].partition(b">")[0].decode()
                return b"250 2.1.5 ok\r\n"
            case b"DATA":
                self._in_data = True
                return b"354 go on\r\n"
            case b"QUIT":
                return b"221 2.0.0 bye\r\n"
            case b"MAIL" | b"RSET" | b"NOOP":
                return b"250 2.0.0 ok\r\n"
        return b"502 5.5.1 not known\r\n"
