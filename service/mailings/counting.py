"""Counting what has become of a mailing's deliveries, each of them once."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from service.db.database import Connection
from service.mailings import queries
from service.mailings.tally import Tally

WINDOW_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a mailing stands.

    `open` are the deliveries that have not ended, by the first of each chain; of these `later` are not due
    within a minute, and `sending` are in a process's hands. `ready`: held deliveries whose own time has come.
    """

    tally: Tally
    counted_to: int
    open: Sequence[int]
    later: int
    sending: int
    ready: Sequence[int]

    @property
    def soon(self) -> int:
        """Deliveries that the senders have before them."""
        return len(self.open) - self.later


async def stand(connection: Connection, row: asyncpg.Record, horizon_seconds: float) -> Standing:
    """Count what has ended since `row` of the mailing was written. Costs as much as was open or made since."""
    tally = Tally.load(row["tally"])
    groups = await connection.fetch(
        queries.COUNT, row["notification_id"], row["counted_to"], row["open"], WINDOW_ROWS, horizon_seconds
    )
    opened: list[int] = []
    ready: list[int] = []
    later = sending = known = 0
    counted_to = row["counted_to"]
    for group in groups:
        counted_to = max(counted_to, group["last_id"])
        if group["status"] == "open":
            opened = group["ids"]
            later, sending, ready = group["later"], group["sending"], group["ready"] or []
        else:
            tally.add(group["status"], group["kind"], group["code"], group["count"])
        known += group["known"]
    tally.erased += len(row["open"]) - known
    return Standing(tally, counted_to, opened, later, sending, ready)
