"""Rows one after the other: one that fails holds up no other."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from service.db.database import TRANSIENT

log = logging.getLogger(__name__)


async def each(rows: Iterable[Any], work: Callable[[Any], Awaitable[None]], what: str) -> None:
    """`what` is being done to each of the rows, for the log. Raises one of `TRANSIENT`."""
    for row in rows:
        try:
            await work(row)
        except TRANSIENT:
            raise
        except Exception:
            log.exception("%s failed for %s, and is tried again", what, dict(row))
