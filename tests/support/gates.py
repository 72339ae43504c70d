"""Doors of TLS, and of Kafka's login, before brokers that have neither: on 127.0.0.1, in the test's own loop."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ssl
import struct
from pathlib import Path
from typing import Self

import trustme

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58
ITERATIONS = 4096


class TlsGate:
    """Speaks TLS and hands on what it hears to `port`. With `clients` it wants a certificate of that authority."""

    def __init__(
        self,
        port: int,
        authority: trustme.CA,
        *,
        name: str = "127.0.0.1",
        clients: trustme.CA | None = None,
    ) -> None:
        self.port = 0
        self.connections = 0
        self._behind = port
        self._context: ssl.SSLContext | None = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(self._context)
        if clients is not None:
            clients.configure_trust(self._context)
            self._context.verify_mode = ssl.CERT_REQUIRED

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._in(reader, writer, behind_writer))
                group.create_task(self._out(behind_reader, writer))
        except* (OSError, EOFError):
            pass  # one side has closed: so does the other
        finally:
            for end in (writer, behind_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _in(
        self, reader: asyncio.StreamReader, _answer: asyncio.StreamWriter, behind: asyncio.StreamWriter
    ) -> None:
        await _copy(reader, behind)

    async def _out(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _copy(behind, writer)


class KafkaGate(TlsGate):
    """The same for Kafka's protocol, whose brokers name their own address.

    With a `user` it asks for a login as a cluster does (KIP-43, KIP-152): PLAIN or SCRAM with this password.
    """

    def __init__(
        self,
        port: int,
        authority: trustme.CA | None,
        *,
        clients: trustme.CA | None = None,
        user: str | None = None,
        password: str = "",
    ) -> None:
        super().__init__(port, authority or trustme.CA(), clients=clients)
        if authority is None:
            self._context = None
        self.logins: list[str] = []
        self._user = user
        self._password = password

    async def _in(
        self, reader: asyncio.StreamReader, answer: asyncio.StreamWriter, behind: asyncio.StreamWriter
    ) -> None:
        login: _Login | None = None
        while True:
            frame = await _frame(reader)
            key, version, correlation, client = struct.unpack_from(">hhih", frame)
            body = frame[10 + max(client, 0) :]
            if key == SASL_HANDSHAKE:
                mechanism = body[2:].decode()
                login = _Login(mechanism, self._user or "", self._password)
                answer.write(_framed(struct.pack(">ihi", correlation, login.error, 1) + _text(mechanism)))
            elif key == SASL_AUTHENTICATE and login is not None:
                error, said = login.step(body[4:])
                lifetime = struct.pack(">q", 0) if version else b""
                told = struct.pack(">h", -1) if not error else _text("wrong user or password")
                answer.write(
                    _framed(
                        struct.pack(">ih", correlation, error)
                        + told
                        + struct.pack(">i", len(said))
                        + said
                        + lifetime
                    )
                )
                if login.done:
                    self.logins.append(login.mechanism)
            elif self._user is None or key == API_VERSIONS or (login is not None and login.done):
                behind.write(_framed(frame))
            else:
                raise EOFError("a request before the login")

    async def _out(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        true, shown = (b"127.0.0.1" + struct.pack(">i", port) for port in (self._behind, self.port))
        first = True
        while True:
            frame = (await _frame(behind)).replace(true, shown)
            if first:
                frame = _with_login(frame)
            first = False
            writer.write(_framed(frame))


class _Login:
    """One connection's login, the server's side: RFC 4616 (PLAIN), RFC 5802 (SCRAM)."""

    def __init__(self, mechanism: str, user: str, password: str) -> None:
        self.mechanism = mechanism
        self.done = False
        self.error = 0 if mechanism in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} else UNSUPPORTED_MECHANISM
        self._user = user
        self._password = password
        self._said: list[str] = []

    def step(self, token: bytes) -> tuple[int, bytes]:
        """The error's number, or 0, and what the server says."""
        if self.mechanism == "PLAIN":
            self.done = token.decode().split("\0")[1:] == [self._user, self._password]
            return (0 if self.done else AUTHENTICATION_FAILED), b""
        return self._proof(token.decode()) if self._said else self._salt(token.decode())

    def _salt(self, first: str) -> tuple[int, bytes]:
        bare = first.removeprefix("n,,")
        fields = dict(part.split("=", 1) for part in bare.split(","))
        if fields["n"] != self._user:
            return AUTHENTICATION_FAILED, b""
        answer = f"r={fields['r']}more,s={base64.b64encode(b'salt').decode()},i={ITERATIONS}"
        self._said = [bare, answer]
        return 0, answer.encode()

    def _proof(self, final: str) -> tuple[int, bytes]:
        name = self.mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        without, _, proof = final.rpartition(",p=")
        about = ",".join([*self._said, without]).encode()
        salted = hashlib.pbkdf2_hmac(name, self._password.encode(), b"salt", ITERATIONS)
        client = hmac.digest(salted, b"Client Key", name)
        signature = hmac.digest(hashlib.new(name, client).digest(), about, name)
        expected = bytes(a ^ b for a, b in zip(client, signature, strict=True))
        if base64.b64decode(proof) != expected:
            return AUTHENTICATION_FAILED, b""
        self.done = True
        server = hmac.digest(hmac.digest(salted, b"Server Key", name), about, name)
        return 0, b"v=" + base64.b64encode(server)


def write_authority(authority: trustme.CA, folder: Path) -> Path:
    """The authority's certificate as a file."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def write_client(authority: trustme.CA, folder: Path) -> tuple[Path, Path]:
    """A client's certificate and its key, as files."""
    client = authority.issue_cert("service.example")
    certificate, key = folder / "client.pem", folder / "client.key"
    client.cert_chain_pems[0].write_to_path(str(certificate))
    client.private_key_pem.write_to_path(str(key))
    return certificate, key


def _with_login(frame: bytes) -> bytes:
    """The answer to ApiVersions, with the two requests of a login, which the mock does not know."""
    correlation, error, count = struct.unpack_from(">ihi", frame)
    added = struct.pack(">hhh", SASL_HANDSHAKE, 0, 1) + struct.pack(">hhh", SASL_AUTHENTICATE, 0, 1)
    return struct.pack(">ihi", correlation, error, count + 2) + added + frame[10:]


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def _framed(frame: bytes) -> bytes:
    return struct.pack(">i", len(frame)) + frame


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        target.write(chunk)
        await target.drain()
    raise EOFError
