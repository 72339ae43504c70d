"""Counting what has become of a mailing's recipients, each of them once."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from service.db.database import Connection
from service.mailings import queries
from service.mailings.tally import Tally


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a mailing stands.

    `open` are the first deliveries of those who are not done with. Of all their deliveries `active` have not
    ended; of these `later` are not due within a minute, and `sending` are in a process's hands. `ready`: held
    deliveries whose own time has come.
    """

    tally: Tally
    counted_to: int
    open: Sequence[int]
    active: int
    later: int
    sending: int
    ready: Sequence[int]

    @property
    def soon(self) -> int:
        """Deliveries that the senders have before them."""
        return self.active - self.later


async def stand(connection: Connection, row: asyncpg.Record, horizon_seconds: float) -> Standing:
    """Count what has ended since `row` of the mailing was written. Costs as much as was open or made since."""
    tally = Tally.load(row["tally"])
    groups = await connection.fetch(
        queries.COUNT, row["notification_id"], row["counted_to"], row["open"], horizon_seconds
    )
    opened: list[int] = []
    ready: list[int] = []
    people = active = later = sending = 0
    counted_to = row["counted_to"]
    for group in groups:
        counted_to = max(counted_to, group["last_id"])
        sending += group["sending"]
        if group["outcome"] == "open":
            opened, ready, people = group["ids"], group["ready"] or [], group["people"]
            active, later = group["active"], group["later"]
        else:
            tally.add(group["outcome"], group["kind"], group["code"], group["people"])
    tally.erased += max(row["made"] - tally.ended - people, 0)  # who is neither open nor has ended
    return Standing(tally, counted_to, opened, active, later, sending, ready)
