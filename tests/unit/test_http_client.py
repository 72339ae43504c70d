"""The client that senders call providers with, against servers that answer with given bytes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from service.senders.base import AddressError
from service.senders.http import ANSWER_MAX_BYTES, Answer, HttpClient, NoAnswerError, NotReachedError
from tests.support.net import free_port

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Two-Words: a b\r\n\r\nok"


class Server:
    """Counts connections and keeps what was asked; `talk` is one connection's whole life."""

    def __init__(self, talk: Talk) -> None:
        self.connections = 0
        self.asked: list[bytes] = []
        self.ended = asyncio.Event()
        self.url = ""
        self._talk = talk

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.ended.set()

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """One request whose length is told."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
        )
        request = head + await reader.readexactly(length)
        self.asked.append(request)
        return request


@asynccontextmanager
async def serving(
    *answers: bytes, talk: Talk | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server that gives these answers in turn on each connection, and then closes it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await server.read(reader)
            writer.write(answer)

    server = Server(talk or script)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    host, port = listening.sockets[0].getsockname()[:2]
    server.url = f"http{'s' if tls else ''}://{'localhost' if tls else host}:{port}"
    try:
        yield server
    finally:
        listening.close()


async def call(server: Server, client: HttpClient | None = None) -> Answer:
    client = client or HttpClient(timeout_seconds=5)
    try:
        return await client.request("POST", f"{server.url}/path?q=1", headers={"x-token": "t"}, body=b"body")
    finally:
        await client.close()


async def test_a_call_and_its_answer() -> None:
    async with serving(OK) as server:
        answer = await call(server)
    assert answer == Answer(200, {"content-length": "2", "x-two-words": "a b"}, b"ok")
    first, *lines = server.asked[0].split(b"\r\n")
    assert first == b"POST /path?q=1 HTTP/1.1"
    assert set(lines) == {
        b"host: " + server.url[7:].encode(),
        b"content-length: 4",
        b"x-token: t",
        b"",
        b"body",
    }


@pytest.mark.parametrize(
    ("tail", "target"),
    [("", b"/"), ("?a=b", b"/?a=b"), ("/a%20b?c=d/e#f", b"/a%20b?c=d/e"), ("#f", b"/")],
)
async def test_what_is_asked_for(tail: str, target: bytes) -> None:
    async with serving(OK) as server:
        client = HttpClient(timeout_seconds=5)
        await client.request("GET", server.url + tail)
        await client.close()
    assert server.asked[0].split(b" ")[1] == target


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 200, b"abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (
            b"HTTP/1.0 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>to the end",
            502,
            b"<html>to the end",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", 302, b""),
    ],
    ids=["chunked", "continue", "empty", "to the end of the connection", "a redirect is not followed"],
)
async def test_ways_to_answer(raw: bytes, status: int, body: bytes) -> None:
    async with serving(raw) as server:
        answer = await call(server)
    assert (answer.status, answer.body) == (status, body)


async def test_an_answer_in_single_bytes() -> None:
    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()

    async with serving(talk=dribble) as server:
        assert (await call(server)).body == b"ok"


async def test_a_connection_serves_call_after_call_and_never_two_at_once() -> None:
    client = HttpClient(timeout_seconds=5)
    async with serving(*[OK] * 10) as server:
        for _ in range(3):
            await client.request("GET", server.url)
        assert server.connections == 1
        await asyncio.gather(*(client.request("GET", server.url) for _ in range(3)))
        assert server.connections == 3
        await client.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
    ],
    ids=["said so", "HTTP/1.0", "more than was asked for"],
)
async def test_a_connection_that_must_not_be_used_again(raw: bytes) -> None:
    client = HttpClient(timeout_seconds=5)
    async with serving(raw, raw) as server:
        for _ in range(2):
            assert (await client.request("GET", server.url)).body == b"ok"
        assert server.connections == 2
        await client.close()


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    client = HttpClient(timeout_seconds=5)
    async with serving(OK) as server:
        for _ in range(20):
            server.ended.clear()
            await client.request("GET", server.url)
            await server.ended.wait()
            await asyncio.sleep(0)
        assert server.connections == 20
        await client.close()


async def test_nobody_listens() -> None:
    with pytest.raises(NotReachedError, match="cannot connect"):
        await HttpClient(timeout_seconds=5).request("GET", f"http://127.0.0.1:{free_port()}/secret")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "broken"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "broken"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * ANSWER_MAX_BYTES)
            + bytes(2 * ANSWER_MAX_BYTES),
            "answer",
        ),
        (
            b"HTTP/1.1 200 OK\r\nX-One: %s\r\nContent-Length: 0\r\n\r\n" % (b"x" * 2 * ANSWER_MAX_BYTES),
            "answer",
        ),
    ],
    ids=["closed at once", "half an answer", "another protocol", "not HTTP", "too long", "too long a head"],
)
async def test_whether_it_was_accepted_cannot_be_known(raw: bytes, code: str) -> None:
    async with serving(raw) as server:
        with pytest.raises(NoAnswerError) as caught:
            await call(server)
    assert caught.value.code == code


async def test_an_answer_is_never_taken_for_that_to_another_call() -> None:
    client = HttpClient(timeout_seconds=5)
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n", b"") as server:
        assert (await client.request("GET", server.url)).status == 204
        with pytest.raises(NoAnswerError):
            await client.request("GET", server.url)
        assert server.connections == 1


async def test_half_a_head_is_no_answer() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nX-One: 1\r\nX-Tw") as server:
        with pytest.raises(NoAnswerError):
            await call(server)


async def test_no_answer_in_time() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        await reader.read()

    async with serving(talk=silence) as server:
        client = HttpClient(timeout_seconds=0.05)
        with pytest.raises(NoAnswerError) as caught:
            await client.request("GET", server.url)
        assert caught.value.code == "timeout"
        await server.ended.wait()  # the call's connection is closed, so that no answer meets another call


async def test_what_has_no_time_left_is_not_sent() -> None:
    async with serving(OK) as server:
        client = HttpClient(timeout_seconds=5)
        with pytest.raises(NotReachedError):
            await client.request("GET", server.url, deadline=asyncio.get_running_loop().time())
        assert server.connections == 0


async def test_connecting_takes_no_longer_than_the_call_may() -> None:
    accepted = asyncio.Event()

    async def no_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()

    async with serving(talk=no_handshake) as server:
        client = HttpClient(timeout_seconds=60)
        url = server.url.replace("http:", "https:")
        async with asyncio.timeout(10):
            with pytest.raises(NotReachedError):
                await client.request("GET", url, deadline=asyncio.get_running_loop().time() + 0.2)
        assert accepted.is_set()


async def test_an_idle_connection_is_closed_without_another_call() -> None:
    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(OK)
        await reader.read()

    async with serving(talk=patient) as server:
        client = HttpClient(timeout_seconds=5, idle_seconds=0.05)
        assert (await client.request("GET", server.url)).status == 200
        async with asyncio.timeout(10):
            await server.ended.wait()


async def test_a_cancelled_call_closes_its_connection() -> None:
    asked = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        asked.set()
        await reader.read()

    async with serving(talk=silence) as server:
        calling = asyncio.create_task(call(server, HttpClient(timeout_seconds=60)))
        await asked.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await server.ended.wait()


async def test_closing_ends_calls_under_way() -> None:
    asked = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        asked.set()
        await reader.read()

    async with serving(talk=silence) as server:
        client = HttpClient(timeout_seconds=60)
        calling = asyncio.create_task(client.request("GET", server.url))
        await asked.wait()
        await client.close()
        with pytest.raises(NoAnswerError):
            await calling


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "http:///path", "http://пример.рф/", "http://a b/", "//x"]
)
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        await HttpClient(timeout_seconds=1).request("GET", url)


@pytest.mark.parametrize("value", ["a\r\nx-other: b", "a\nb", "a\x00b"])
async def test_a_header_cannot_become_two(value: str) -> None:
    async with serving(OK) as server:
        with pytest.raises(ValueError, match="x-token"):
            await HttpClient(timeout_seconds=1).request("GET", server.url, headers={"x-token": value})
        assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"])
async def test_a_guarded_client_does_not_call_the_inside(host: str) -> None:
    async with serving(OK) as server:
        port = server.url.rpartition(":")[2]
        with pytest.raises(AddressError):
            await HttpClient(timeout_seconds=5, guarded=True).request("GET", f"http://{host}:{port}/")
        assert server.connections == 0


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    async with serving(OK, tls=context) as server:
        with pytest.raises(NotReachedError):
            await call(server)
        assert (await call(server, HttpClient(timeout_seconds=5, ca_file=str(trusted)))).body == b"ok"
        wrong_name = server.url.replace("localhost", "127.0.0.1")
        with pytest.raises(NotReachedError):
            await HttpClient(timeout_seconds=5, ca_file=str(trusted)).request("GET", wrong_name)
