"""The messages that are measured: every one carries its number, so that the fake can count it."""

import asyncio
import json
from collections.abc import Iterable, Sequence

from aio_pika.abc import AbstractConnection
from aiormq import spec

MARK = "seq"
DIGITS = 8
CHATS = 1_000
TITLE = "Backup finished"

_IN_FLIGHT = 500


def text(number: int) -> str:
    return f"{MARK}{number:0{DIGITS}} the nightly backup of db-7 took 41 minutes, 12.4 GB"


def chat(number: int) -> str:
    return str(100_000 + number % CHATS)


def request(number: int) -> dict[str, str]:
    """The message as a producer of the service writes it; about 150 bytes of JSON."""
    return {"title": TITLE, "body": text(number), "sender": "TG", "to": chat(number)}


def bodies(numbers: Iterable[int]) -> list[bytes]:
    return [json.dumps(request(number)).encode() for number in numbers]


def properties() -> spec.Basic.Properties:
    """For one message only: the client puts an id of the message's own into them."""
    return spec.Basic.Properties(content_type="application/json", delivery_mode=2)


async def publish(connection: AbstractConnection, queue: str, messages: Sequence[bytes]) -> None:
    """Persistent, in order, each confirmed; a queue that does not exist is an error."""
    async with connection.channel() as channel:
        amqp = await channel.get_underlay_channel()
        for start in range(0, len(messages), _IN_FLIGHT):
            await asyncio.gather(
                *(
                    amqp.basic_publish(body, routing_key=queue, properties=properties(), mandatory=True)
                    for body in messages[start : start + _IN_FLIGHT]
                )
            )
