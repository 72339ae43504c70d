"""One queue of RabbitMQ, consumed on a channel of its own: what arrives together is taken in together."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from service.transports.acks import AckGroup
from service.transports.amqp_bulk import consume
from service.transports.arrivals import Arrival

log = logging.getLogger(__name__)


class Consumer:
    """`take` returns when every arrival is safe. `source` names the way in, as rabbit:QUEUE."""

    def __init__(
        self, queue: str, source: str, prefetch: int, take: Callable[[Sequence[Arrival]], Awaitable[None]]
    ) -> None:
        self.queue = queue
        self._source = source
        self._prefetch = prefetch
        self._take_in = take
        self._channel: Channel | None = None
        self._acks: AckGroup | None = None
        self._tag = ""
        self._arrived: list[tuple[int, Arrival]] = []
        self._taking: set[asyncio.Task[None]] = set()

    def arrival(self, body: bytes, message_id: str | None) -> Arrival:
        # AMQP allows characters that a column cannot hold; nobody means those as an identity.
        known = message_id and message_id.isprintable()
        return Arrival(body, self._source, f"amqp:{self.queue}:{message_id}" if known else None)

    async def start(self, channel: Channel, on_lost: Callable[..., None]) -> None:
        """Consume. Raises what the client raises."""
        self._acks = AckGroup(channel)
        self._channel = channel
        channel.on_consumer_cancel_callbacks.add(on_lost)
        await channel.basic_qos(prefetch_count=self._prefetch)
        self._tag = await consume(channel, self.queue, self._deliver)

    async def stop(self, *, connected: bool) -> None:
        """End the subscription; return when what is under way is acknowledged."""
        if self._channel is not None and connected:
            await self._channel.basic_cancel(self._tag)
        while self._arrived or self._taking:
            await asyncio.wait(self._taking or {asyncio.create_task(asyncio.sleep(0))})
        if self._acks is not None:
            await self._acks.flushed()

    def drop(self) -> None:
        """The channel is gone."""
        self._channel = self._acks = None

    def _deliver(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag
        if self._acks is None or tag is None or message.channel is not self._channel:
            return
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._start_taking, self._acks)
        self._arrived.append((tag, self.arrival(message.body, message.header.properties.message_id)))

    def _start_taking(self, acks: AckGroup) -> None:
        arrived, self._arrived = self._arrived, []
        taking = asyncio.create_task(self._take(acks, arrived), name=f"intake of a batch from {self.queue}")
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)

    async def _take(self, acks: AckGroup, arrived: Sequence[tuple[int, Arrival]]) -> None:
        try:
            await self._take_in([arrival for _, arrival in arrived])
        except Exception as error:  # noqa: BLE001 - whatever it was, the messages must not be lost
            log.error("rabbit: %d messages go back to the queue: %r", len(arrived), error)  # noqa: TRY400 - one line
            for tag, _ in arrived:
                await acks.give_back(tag)
        else:
            acks.finish(tag for tag, _ in arrived)
