"""Baseline A: the least a consumer can be. Nothing is checked, stored, retried or reported."""

import asyncio
import json
import os

import aio_pika
import aiohttp
import uvloop
from aio_pika.abc import AbstractIncomingMessage


async def main() -> None:
    url = f"{os.environ['TG_API_URL']}/bot{os.environ['TG_BOT_TOKEN']}/sendMessage"
    prefetch, concurrency = int(os.environ["PREFETCH"]), int(os.environ["CONCURRENCY"])
    connection = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with connection, aiohttp.ClientSession(connector=connector) as http:

        async def receive(message: AbstractIncomingMessage) -> None:
            request = json.loads(message.body)
            call = {"chat_id": int(request["to"]), "text": f"{request['title']}\n{request['body']}"}
            async with http.post(url, json=call) as response:
                answer = await response.json()
            if answer["ok"]:
                await message.ack()

        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        queue = await channel.get_queue(os.environ["QUEUE"])
        await queue.consume(receive)
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main())
