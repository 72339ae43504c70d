"""Many messages on one channel of the client, at less than its own cost for each.

The client's `basic_publish` builds four frames, takes a lock, makes two futures and a task for each
message; for events, of which each delivery has two, that costs more than the delivery itself. Here
the frames of a whole batch are joined from prepared pieces (AMQP 0-9-1, sections 2.3.5 and 4.2), and
one future stands for all their confirms. Consuming leaves out the task that the client makes for
each message that arrives.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

from aio_pika import DeliveryMode
from aiormq import spec
from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Channel
from pamqp import frame
from pamqp.header import ContentHeader

from service.delivery.events import OutgoingEvent

_BODY_FRAME = b"\x03"
_FRAME_END = b"\xce"
# Frame type 1, channel 2, length 4; then class 2 and weight 2: the body's size stands behind them.
_SIZE_AT = slice(11, 19)


async def publish_all(channel: Channel, exchange: str, events: Sequence[OutgoingEvent]) -> None:
    """Publish in order; returns when the broker has confirmed all. Raises what the client raises."""
    async with channel.lock:
        confirmed = channel.create_future()
        tally = cast("Any", _Tally(len(events), confirmed))
        for _ in events:
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = tally
        written = channel.create_future()
        await channel.write_queue.put(
            ChannelFrame(payload=_frames(channel, exchange, events), should_close=False, drain_future=written)
        )
    await written
    await confirmed


async def consume(channel: Channel, queue: str, callback: Callable[[DeliveredMessage], None]) -> str:
    """Subscribe; `callback` gets each message while the channel is read. Returns the consumer's tag."""
    client = cast("Any", channel)

    async def deliver(frame: spec.Basic.Deliver) -> None:
        header = await client._get_frame()  # noqa: SLF001
        callback(await client._read_content(frame, header))  # noqa: SLF001

    async def unused(_message: DeliveredMessage) -> None:
        raise AssertionError("the channel delivers to the callback")

    client._on_deliver_frame = deliver  # noqa: SLF001
    return (await channel.basic_consume(queue, unused)).consumer_tag or ""


class _Tally:
    """What the client takes for the future of one confirm, shared by all of a batch."""

    def __init__(self, count: int, all_done: "asyncio.Future[None]") -> None:
        self._left = count
        self._all_done = all_done

    def done(self) -> bool:
        return False

    def set_result(self, _confirm: object) -> None:
        self._left -= 1
        if not self._left and not self._all_done.done():
            self._all_done.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        if not self._all_done.done():
            self._all_done.set_exception(error)

    def cancel(self) -> bool:
        return self._all_done.cancel()


def _frames(channel: Channel, exchange: str, events: Sequence[OutgoingEvent]) -> bytes:
    number = channel.number
    room = channel.max_content_size
    pieces: list[bytes] = []
    for event in events:
        method, before_size, after_size = _prepared(number, exchange, event.type)
        pieces += (method, before_size, len(event.body).to_bytes(8), after_size)
        for start in range(0, len(event.body), room):
            chunk = event.body[start : start + room]
            pieces += (_BODY_FRAME, number.to_bytes(2), len(chunk).to_bytes(4), chunk, _FRAME_END)
    return b"".join(pieces)


@cache
def _prepared(number: int, exchange: str, event_type: str) -> tuple[bytes, bytes, bytes]:
    """The method frame, and the header frame up to the body's size and behind it."""
    method = frame.marshal(spec.Basic.Publish(exchange=exchange, routing_key=event_type), number)
    properties = spec.Basic.Properties(
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT.value,
        message_type=event_type,
    )
    header = frame.marshal(ContentHeader(body_size=0, properties=properties), number)
    return method, header[: _SIZE_AT.start], header[_SIZE_AT.stop :]
