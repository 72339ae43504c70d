"""An app registers two devices of a person; a message reaches both, and the one whose app is gone is left out."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.conftest import StartService
from tests.fakes.rustore import PROJECT, TOKEN, FakeRuStore
from tests.support.service import Answer
from tests.support.waiting import wait_until


@pytest.fixture
async def store() -> AsyncIterator[FakeRuStore]:
    async with FakeRuStore() as running:
        yield running


@pytest.mark.parametrize("api", ["native", "universal"])
async def test_devices_get_a_message_and_a_dead_one_becomes_inactive(
    start_service: StartService, store: FakeRuStore, api: str
) -> None:
    service = await asyncio.to_thread(
        start_service,
        {
            "RUSTORE_PROJECT_ID": PROJECT,
            "RUSTORE_SERVICE_TOKEN": TOKEN,
            "RUSTORE_API": api,
            "RUSTORE_URL": store.base_url,
            "RUSTORE_UNIVERSAL_URL": store.base_url,
        },
    )

    async def call(method: str, path: str, body: Any = None, **options: Any) -> Answer:
        # In a thread: the provider is served by this loop.
        return await asyncio.to_thread(partial(service.call, method, path, body, **options))

    person = f"user {uuid4()}"
    path = f"/v1/recipients/{quote(person)}"
    await call("PUT", path, {"contacts": [{"sender": "CONSOLE", "address": "anna"}]})
    key = (await call("POST", "/v1/keys", {"name": "app", "scopes": ["devices"]})).json()["key"]
    for token in ("phone-token-1", "tablet-token-2"):
        body = {"sender": "RUSTORE", "token": token, "platform": "android"}
        assert (await call("POST", f"{path}/devices", body, key=key)).status == 201

    async def send(text: str) -> dict[str, str]:
        request = {"body": text, "sender": ["RUSTORE", "CONSOLE"], "to": {"recipient": person}}
        sent = (await call("POST", "/v1/notifications", request)).json()["id"]

        async def ended() -> dict[str, str] | None:
            shown = (await call("GET", f"/v1/notifications/{sent}")).json()
            found = {delivery["address"]: delivery["status"] for delivery in shown["deliveries"]}
            return None if {"queued", "sending"} & set(found.values()) else found

        outcome: dict[str, str] = await wait_until(ended, 20, "every delivery has ended")
        return outcome

    assert await send("one") == {"phone-token-1": "sent", "tablet-token-2": "sent"}
    store.expired.add("tablet-token-2")
    assert await send("two") == {"phone-token-1": "sent", "tablet-token-2": "failed"}
    devices = (await call("GET", f"{path}/devices")).json()["items"]
    assert {device["token"]: device["active"] for device in devices} == {
        "phone-token-1": True, "tablet-token-2": False,
    }  # fmt: skip
    assert await send("three") == {"phone-token-1": "sent"}
    store.expired.add("phone-token-1")
    assert await send("four") == {"phone-token-1": "failed", "anna": "sent"}
    assert sorted(push.to for push in store.pushes) == ["phone-token-1"] * 3 + ["tablet-token-2"]
    assert {push.api for push in store.pushes} == {api}
    log = service.log_file.read_text()
    assert not [secret for secret in (TOKEN, key, "phone-token-1") if secret in log]
