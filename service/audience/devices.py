"""Devices: contacts that apps register themselves, each by its push token."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from service.audience import queries
from service.db.database import Connection, Database
from service.db.pages import Row

T = TypeVar("T")
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Device:
    """What an app says of itself. `token` is an address of its sender, in that sender's own way of writing."""

    token: str
    platform: str | None = None
    app: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A device as it is stored now. `created`: it was not this recipient's before."""

    row: Row
    created: bool


@dataclass(frozen=True, slots=True)
class Rotated:
    """A device with its new token, and what it replaces."""

    row: Row
    recipient_id: int
    old_token: str


class Devices:
    """Everything by external id. Each method is one transaction and raises one of `OUTAGE` without a database.

    `most`: devices of one recipient. One more takes the place of a dead one, or of that seen longest ago.
    """

    def __init__(self, database: Database, *, most: int) -> None:
        self._database = database
        self._most = most

    async def of(self, external_id: str) -> list[Row]:
        """A recipient's devices, the last seen first."""
        async with self._database.connection() as connection:
            rows: list[Row] = await connection.fetch(queries.DEVICES, external_id)
            return rows

    async def seen(self, external_id: str, sender: str, device: Device) -> Row | None:
        """Take note that a device is alive. None: it is not registered like this."""
        async with self._database.connection() as connection:
            return await connection.fetchrow(queries.SEEN, external_id, sender, *_columns(device))

    async def register(self, external_id: str, sender: str, device: Device) -> Registered | None:
        """Add a device, or bring it up to date and back to life. None: nobody has that id.

        A token that leads to somebody else's contact is theirs no longer.
        """
        return await undisturbed(lambda: self._register(external_id, sender, device))

    async def _register(self, external_id: str, sender: str, device: Device) -> Registered | None:
        async with self._database.transaction() as connection:
            await connection.execute(queries.LOCK_ADDRESS, sender, device.token)
            recipient_id = await connection.fetchval(queries.LOCK, [external_id])
            if recipient_id is None:
                return None
            await connection.execute(queries.TAKE_ADDRESS, sender, device.token, recipient_id, None)
            row = await connection.fetchrow(queries.REGISTER, recipient_id, sender, *_columns(device))
            await connection.execute(queries.MAKE_ROOM, recipient_id, self._most)
        return Registered(row, row["created"])

    async def sender_of(self, external_id: str, device_id: int) -> str | None:
        """None: this person has no such device."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(queries.FIND_DEVICE, external_id, device_id)
        return None if row is None else row["sender"]

    async def remove(self, external_id: str, device_id: int) -> bool:
        """False: this person has no such device."""
        async with self._database.transaction() as connection:
            return await connection.fetchval(queries.REMOVE_DEVICE, external_id, device_id) is not None


async def rotate(
    connection: Connection, external_id: str, device_id: int, sender: str, device: Device
) -> Rotated | None:
    """Give a device a new token, in the transaction of the connection. None: this person has no such device."""
    await connection.execute(queries.LOCK_ADDRESS, sender, device.token)
    await connection.execute(queries.LOCK, [external_id])
    before = await connection.fetchrow(queries.FIND_DEVICE, external_id, device_id)
    if before is None:
        return None
    await connection.execute(queries.TAKE_ADDRESS, sender, device.token, before["recipient_id"], device_id)
    row = await connection.fetchrow(queries.ROTATE, device_id, *_columns(device))
    return Rotated(row, before["recipient_id"], before["address"])


async def undisturbed(write: Callable[[], Awaitable[T]]) -> T:
    """Do it again where the engine or an import, which mark the same contacts, stood in the way."""
    for _ in range(_TRIES - 1):
        try:
            return await write()
        except asyncpg.DeadlockDetectedError:
            continue
    return await write()


def _columns(device: Device) -> tuple[str | None, ...]:
    return device.token, device.platform, device.app, device.name
