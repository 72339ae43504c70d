"""Acknowledging AMQP deliveries in groups: one frame for a run of them, instead of one each."""

import asyncio
import logging
from collections.abc import Iterable

from aiormq.abc import AbstractChannel

log = logging.getLogger(__name__)


class AckGroup:
    """The deliveries of one channel, whose tags count up from 1 without a gap.

    A run of finished deliveries is acknowledged by its last tag; a delivery that finished before
    an earlier one is acknowledged by itself, so that a slow message never holds the others up.
    """

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._next = 1
        self._finished: set[int] = set()
        self._passed: set[int] = set()
        self._flushing: asyncio.Task[None] | None = None

    def finish(self, tags: Iterable[int]) -> None:
        """These messages are safe: acknowledge them with the next group."""
        self._finished.update(tags)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="rabbit acks")

    async def give_back(self, tag: int) -> None:
        """The message goes back to the queue."""
        self._passed.add(tag)
        await self._channel.basic_nack(tag)

    async def flushed(self) -> None:
        """Return when everything finished so far is acknowledged, or the channel is gone."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing})

    async def _flush(self) -> None:
        try:
            while self._finished:
                if last := self._take_run():
                    await self._channel.basic_ack(last, multiple=True)
                early, self._finished = sorted(self._finished), set()
                self._passed.update(early)
                for tag in early:
                    await self._channel.basic_ack(tag)
        except Exception as error:  # noqa: BLE001 - the channel is gone in one of many ways
            # The broker delivers them again; the engine knows those that have an identity.
            log.warning("rabbit: finished messages could not be acknowledged and will come again: %s", error)

    def _take_run(self) -> int:
        """The last tag of the run that begins with the next one; 0: there is none."""
        last = 0
        while True:
            if self._next in self._finished:
                self._finished.remove(self._next)
                last = self._next
            elif self._next in self._passed:
                self._passed.remove(self._next)
            else:
                return last
            self._next += 1
