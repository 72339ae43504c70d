"""Tasks that run beside the others until they are ended."""

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel it, and wait until it has ended, however. None: it never began."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
