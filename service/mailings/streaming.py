"""Server-sent events of a mailing's progress."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

Look = Callable[[], Awaitable[tuple[bytes, bool]]]
"""The progress as JSON, and whether it goes on."""


async def progress_events(look: Look, *, every: float, heartbeat: float) -> AsyncIterator[bytes]:
    """An event for each change, seen within `every` seconds; a comment where nothing changes for `heartbeat`."""
    loop = asyncio.get_running_loop()
    shown, said_at = b"", loop.time()
    while True:
        progress, goes_on = await look()
        if progress != shown:
            yield b"event: progress\ndata: " + progress + b"\n\n"
            shown, said_at = progress, loop.time()
        elif loop.time() - said_at >= heartbeat:
            yield b": still there\n\n"
            said_at = loop.time()
        if not goes_on:
            return
        await asyncio.sleep(every)
