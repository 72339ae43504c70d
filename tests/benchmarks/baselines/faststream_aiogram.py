"""Baseline C1: FastStream and aiogram as their documentation shows them."""

import os

import uvloop
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from pydantic import BaseModel

broker = RabbitBroker(os.environ["AMQP_URL"])
app = FastStream(broker)
queue = RabbitQueue(os.environ["QUEUE"], queue_type=QueueType.QUORUM, declare=False)
server = TelegramAPIServer.from_base(os.environ["TG_API_URL"])


class Notification(BaseModel):
    title: str
    body: str
    sender: str
    to: str


@broker.subscriber(queue, channel=Channel(prefetch_count=int(os.environ["PREFETCH"])))
async def send(notification: Notification) -> None:
    await bot.send_message(notification.to, f"{notification.title}\n{notification.body}")


async def main() -> None:
    global bot  # noqa: PLW0603 - as in the examples
    bot = Bot(os.environ["TG_BOT_TOKEN"], session=AiohttpSession(api=server))
    async with bot.session:
        await app.run()


if __name__ == "__main__":
    uvloop.run(main())
