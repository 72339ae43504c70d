"""A Bot API server that costs next to nothing: `python -m tests.benchmarks.fake_bot_api PORT`.

It reads of a call only where it ends and the number its text carries, answers with a message, and
remembers when which number came. `GET /begin?DELAY_MS` forgets everything, `GET /count` says how many
calls came since, `GET /arrivals` gives all: their times (float64, seconds of the monotonic clock, which
all processes share), then their numbers (int64; -1 for a call without one).
"""

import asyncio
import sys
import time
from array import array
from typing import cast

import uvloop

from tests.benchmarks.messages import DIGITS, MARK

_MARK = MARK.encode()
_FIRST_ID = 100_000_000
_RESULT = b'{"ok":true,"result":{"message_id":%d,"date":1767225600,"chat":{"id":1,"type":"private"}}}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(_RESULT % _FIRST_ID)
) + _RESULT


class Journal:
    """What came since the last `begin`."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, delay_ms: int) -> None:
        self.delay_seconds = delay_ms / 1_000
        self.times = array("d")
        self.numbers = array("q")

    def answer(self, order: bytes) -> bytes:
        name, _, value = order.partition(b"?")
        if name == b"/begin":
            self.begin(int(value))
        if name == b"/arrivals":
            return self.times.tobytes() + self.numbers.tobytes()
        return b"%d" % len(self.times)


class Connection(asyncio.Protocol):
    """One kept-alive connection; a client has one call under way on it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        while (end := _end_of_call(data)) is not None:
            if data.startswith(b"GET "):
                body = self._journal.answer(data.split(b" ", 2)[1])
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            else:
                self._take(data)
            data = data[end:]
        self._rest = data

    def _take(self, data: bytes) -> None:
        journal = self._journal
        at = data.find(_MARK) + len(_MARK)
        journal.times.append(time.monotonic())
        journal.numbers.append(int(data[at : at + DIGITS]) if at >= len(_MARK) else -1)
        answer = _ANSWER % (_FIRST_ID + len(journal.times))
        if journal.delay_seconds:
            asyncio.get_running_loop().call_later(journal.delay_seconds, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _end_of_call(data: bytes) -> int | None:
    """Where the first call ends, if it is here as a whole."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    at = data.find(b"ength: ", 0, head)  # of Content-Length, in whatever case
    end = head + 4 + (int(data[at + 7 : data.find(b"\r", at)]) if at >= 0 else 0)
    return end if len(data) >= end else None


async def _serve(port: int) -> None:
    journal = Journal()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(journal), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
