"""The whole service in this process, over HTTP, with the fake Bot API server: for tests of the bot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from aiohttp import ClientSession
from pydantic import SecretStr

from service.app import App, build
from service.settings import (
    AudienceSettings,
    AuthSettings,
    BotSettings,
    ConsoleSettings,
    DatabaseSettings,
    DeliverySettings,
    LinkSettings,
    ServerSettings,
    Settings,
    SupportSettings,
    TelegramSettings,
)
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.support.net import free_port
from tests.support.waiting import wait_until

KEY = "tests-api-key-0123456789abcdef"
DESK = -1001234567890


class BotBench:
    """One running service, and calls to it."""

    def __init__(self, app: App, tg: FakeTelegram, http: ClientSession, url: str) -> None:
        self.app, self.tg, self.url = app, tg, url
        self._http = http

    async def call(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """A call of REST that has to be answered so; its JSON."""
        headers = {"X-API-Key": KEY}
        async with self._http.request(method, self.url + path, json=body, headers=headers) as response:
            answer = await response.json() if response.content_type.endswith("json") else None
            assert response.status == status, answer
            return answer

    async def link(self, external_id: str, **body: object) -> str:
        """What follows /start in a link for that recipient, who is made if need be."""
        await self.call("PUT", f"/v1/recipients/{external_id}", {}, status=201)
        made = await self.call("POST", f"/v1/recipients/{external_id}/links", body or None, status=201)
        address, _, token = made["url"].partition("?start=")
        assert address == "https://t.me/fake_bot"
        return str(token)

    async def contacts(self, external_id: str) -> list[tuple[str, bool]]:
        """Addresses, and whether they are active."""
        person = await self.call("GET", f"/v1/recipients/{external_id}")
        return [(contact["address"], contact["active"]) for contact in person["contacts"]]

    async def sees(self, chat: int, count: int) -> str:
        """The last of so many messages of the bot in a chat."""
        person = self.tg.person(chat)
        texts = await wait_until(
            lambda: len(person.reads()) >= count and person.reads(), message=f"{count} messages in {chat}"
        )
        assert len(texts) == count, texts
        return str(texts[-1])

    async def settled(self) -> None:
        """Every update that the fake has is handled."""
        last = self.tg.updates.last_id

        async def handled() -> bool:
            async with self.app.database.connection() as connection:
                newest, waiting = await connection.fetchrow(  # type: ignore[misc]
                    "SELECT max(id), count(*) FILTER (WHERE state = 'waiting') FROM bot_update"
                )
            return newest == last and not waiting

        await wait_until(handled, message="the updates are handled")

    async def health(self) -> str:
        """What the bot says of itself."""
        part = (await self.call("GET", "/health/ready"))["parts"]["bot"]
        return f"{part['status']}: {part['detail']}"

    async def is_ready(self) -> bool:
        return (await self.health()).startswith("ok")

    async def sql(self, statement: str, *values: object) -> Any:
        async with self.app.database.connection() as connection:
            return await connection.fetch(statement, *values)


@asynccontextmanager
async def running_bot(
    database_url: str,
    tg: FakeTelegram,
    *,
    desk: bool = False,
    support: dict[str, Any] | None = None,
    audience: dict[str, Any] | None = None,
    port: int = 0,
    ready: bool = True,
    **bot: Any,
) -> AsyncIterator[BotBench]:
    """`desk`: with a forum; `ready`: wait until updates come in; `support`, `audience` and `bot` are settings of those groups."""
    port = port or free_port()
    if desk and tg.chat(DESK).topics is None:
        tg.chat(DESK).topics = {}
    settings = Settings(
        server=ServerSettings(
            host="127.0.0.1", port=port, docs_enabled=False, public_url=f"http://127.0.0.1:{port}"
        ),
        database=DatabaseSettings(url=SecretStr(database_url)),
        auth=AuthSettings(admin_api_key=SecretStr(KEY)),
        telegram=TelegramSettings(
            bot_token=SecretStr(TOKEN),
            api_url=tg.url,
            chat_rate=0,
            group_rate=0,
            support_chat_id=str(DESK) if desk else None,
        ),
        delivery=DeliverySettings(poll_seconds=0.2, housekeeping_seconds=0.2, retry_delays_seconds=(0.05,)),
        bot=BotSettings(**bot),
        support=SupportSettings(**{"topic_rate": 0, **(support or {})}),
        audience=AudienceSettings(**(audience or {})),
        links=LinkSettings(secret=SecretStr("a secret of the tests, long enough")),
        console=ConsoleSettings(enabled=False),
    )
    app = build(settings)
    config = uvicorn.Config(
        app.api, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await wait_until(lambda: server.started or serving.done(), message="the service is up")
        async with ClientSession() as http:
            bench = BotBench(app, tg, http, f"http://127.0.0.1:{port}")
            if ready:
                await wait_until(bench.is_ready, deadline=30, message="the bot is ready")
            yield bench
    finally:
        server.should_exit = True
        await serving
