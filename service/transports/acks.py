"""Acknowledging AMQP deliveries in groups: one frame for a run of them, instead of one each."""

import asyncio
import logging

from aio_pika.abc import AbstractIncomingMessage

log = logging.getLogger(__name__)


class AckGroup:
    """The deliveries of one channel, whose tags count up from 1 without a gap.

    A run of finished deliveries is acknowledged by its last one; a delivery that finished before
    an earlier one is acknowledged by itself, so that a slow message never holds the others up.
    """

    def __init__(self) -> None:
        self._next = 1
        self._finished: dict[int, AbstractIncomingMessage] = {}
        self._passed: set[int] = set()
        self._flushing: asyncio.Task[None] | None = None

    def finish(self, message: AbstractIncomingMessage) -> None:
        """The message is safe: acknowledge it with the next group."""
        if message.delivery_tag is None:
            return
        self._finished[message.delivery_tag] = message
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(), name="rabbit acks")

    def give_back(self, message: AbstractIncomingMessage) -> None:
        """The message was returned to the broker: nothing to acknowledge, the run goes on after it."""
        if message.delivery_tag is not None:
            self._passed.add(message.delivery_tag)

    async def flushed(self) -> None:
        """Return when everything finished so far is acknowledged, or the channel is gone."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing})

    async def _flush(self) -> None:
        try:
            while self._finished:
                if (last := self._run_end()) is not None:
                    await last.ack(multiple=True)
                for tag in sorted(self._finished):
                    self._passed.add(tag)
                    await self._finished.pop(tag).ack()
        except Exception as error:  # noqa: BLE001 - the channel is gone in one of many ways
            # The broker delivers them again; the engine knows those that have an identity.
            log.warning("rabbit: %d messages could not be acknowledged: %s", len(self._finished) + 1, error)
            self._finished.clear()

    def _run_end(self) -> AbstractIncomingMessage | None:
        last = None
        while True:
            if (message := self._finished.pop(self._next, None)) is not None:
                last = message
            elif self._next in self._passed:
                self._passed.remove(self._next)
            else:
                return last
            self._next += 1
