"""Work on tables that is done in batches, again and again, for as long as a process runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from service.db.database import TRANSIENT

log = logging.getLogger(__name__)

BREATH_SECONDS = 0.05

Batch = tuple[Callable[[], Awaitable[int]], int]
"""Does a batch and says how much that was; and how much a full one is, after which there may be more."""


async def keep_up(what: str, *batches: Batch, every_seconds: float) -> NoReturn:
    """Empty each, then wait. `what` is being kept up, for the log; an outage or an error puts it off."""
    while True:
        try:
            for work, full in batches:
                while await work() >= full:  # noqa: ASYNC110 - a breath between batches, nothing to wait for
                    await asyncio.sleep(BREATH_SECONDS)
        except TRANSIENT as error:
            log.debug("%s waits for the database: %s", what, error)
        except Exception:
            log.exception("%s failed, trying again", what)
        await asyncio.sleep(every_seconds)
