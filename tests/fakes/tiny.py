"""What the tiny servers share: they listen on 127.0.0.1, and cut whoever is connected when they stop."""

import asyncio
from collections.abc import Callable
from typing import Self, cast


class TinyConnection(asyncio.Protocol):
    """One client. `lost` is done when it has gone."""

    def __init__(self, server: "TinyServer") -> None:
        self._connections = server.connections
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)
        if not self.lost.done():
            self.lost.set_result(None)

    def abort(self) -> None:
        """Cut the connection, as a reset."""
        if self._transport is not None:
            self._transport.abort()


class TinyServer:
    """`async with` starts and stops it. Port 0 picks a free one. `connect` makes what serves a client."""

    def __init__(self, connect: "Callable[[], TinyConnection]", port: int = 0) -> None:
        self.port = port
        self._connect = connect
        self.connections: set[TinyConnection] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and cut what is connected. May be called twice."""
        if self._server is not None:
            self._server.close()
        connected = list(self.connections)
        for connection in connected:
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in connected))
