"""HTTP load in a process of its own: `python -m tests.benchmarks.http_load PORT CONNECTIONS COUNT BATCH`.

Sends COUNT messages over kept-alive connections, one call under way on each; BATCH messages a call, 0
for a message as the body itself. Prints the seconds it took; any answer but 2xx is an error.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import uvloop

from tests.benchmarks.messages import request
from tests.support.service import API_KEY

PATH = "/v1/notifications"


def calls(count: int, batch: int) -> list[bytes]:
    """The calls as bytes, made before the clock runs."""
    path = f"{PATH}/batch" if batch else PATH
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n"
    bodies = (json.dumps(body).encode() for body in _bodies(count, batch))
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]


def _bodies(count: int, batch: int) -> Iterator[object]:
    if not batch:
        yield from map(request, range(count))
        return
    for start in range(0, count, batch):
        yield {"items": [request(number) for number in range(start, min(start + batch, count))]}


async def work(port: int, waiting: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=16 * 1024 * 1024)
    while waiting:
        writer.write(waiting.pop())
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.lower().index(b"content-length: ") + len(b"content-length: ")
        body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        assert head.startswith(b"HTTP/1.1 2"), (head + body).decode()
        assert b'"accepted":false' not in body, body[:1000].decode()
    writer.close()


async def main(port: int, connections: int, count: int, batch: int) -> None:
    waiting = calls(count, batch)
    began = time.monotonic()
    await asyncio.gather(*(work(port, waiting) for _ in range(connections)))
    print(time.monotonic() - began)


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
