"""What RUSTORE does beyond what every sender does: the fields of both APIs, topics, lifetimes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from service.sender_settings import RuStoreSettings
from service.senders.base import AddressError, Attachment, Button, Refused, Sent
from service.senders.rustore import RuStoreSender
from tests.contract.sender_suite import message
from tests.fakes.rustore import DEVICE, PROJECT, TOKEN, FakeRuStore

LEAVE = "https://notifications.example/unsubscribe/1"


@pytest.fixture
async def store() -> AsyncIterator[FakeRuStore]:
    async with FakeRuStore() as running:
        yield running


@pytest.fixture(params=["native", "universal"])
async def sender(store: FakeRuStore, request: pytest.FixtureRequest) -> AsyncIterator[RuStoreSender]:
    made = _sender(store, api=request.param)
    yield made
    await made.close()


def _sender(store: FakeRuStore, **values: Any) -> RuStoreSender:
    settings = {
        "project_id": PROJECT, "service_token": TOKEN, "url": store.base_url, "universal_url": store.base_url,
    }  # fmt: skip
    return RuStoreSender(RuStoreSettings.model_validate({**settings, **values}))


async def test_a_push_has_notification_data_and_android_fields(
    store: FakeRuStore, sender: RuStoreSender
) -> None:
    told = message(
        DEVICE,
        title="Заказ",
        body="**Готов**, [забрать](https://shop.example/1)",
        format="markdown",
        buttons=(Button("Leave", LEAVE), Button("Open", "https://shop.example/o/1")),
        unsubscribe_url=LEAVE,
        attachments=(
            Attachment("photo", "https://cdn.example/1.png"),
            Attachment("document", "https://cdn.example/bill.pdf", "bill.pdf"),
        ),
        metadata={"order": 1},
    )
    assert isinstance(await sender.send(told), Sent)
    (push,) = store.pushes
    assert (push.to, push.title) == (DEVICE, "Заказ")
    assert push.body == "Готов, забрать (https://shop.example/1)\n\nbill.pdf (https://cdn.example/bill.pdf)"
    assert push.data["notification_id"] == str(told.notification_id)
    assert push.data["url"] == "https://shop.example/o/1"
    assert orjson.loads(push.data["metadata"]) == {"order": 1}
    assert [button["text"] for button in orjson.loads(push.data["buttons"])] == ["Leave", "Open"]
    assert push.message["notification"]["image"] == "https://cdn.example/1.png"
    android = push.message["android"]["notification"]
    assert (android["click_action"], android["click_action_type"]) == ("https://shop.example/o/1", 1)


async def test_the_lifetime_is_always_said(store: FakeRuStore, sender: RuStoreSender) -> None:
    now = datetime.now(UTC)
    for expires_at in (None, now + timedelta(seconds=90), now + timedelta(days=90), now - timedelta(1)):
        assert isinstance(await sender.send(message(DEVICE, expires_at=expires_at)), Sent)
    ttls = [int(push.ttl.removesuffix("s")) for push in store.pushes]
    assert (ttls[0], ttls[2], ttls[3]) == (2_419_200, 2_419_200, 1)
    assert 80 <= ttls[1] <= 90


async def test_settings_of_looks_and_lifetime_reach_the_app(store: FakeRuStore) -> None:
    sender = _sender(store, ttl_seconds=60, channel_id="orders", icon="bell", color="#2196f3")
    assert isinstance(await sender.send(message(DEVICE)), Sent)
    await sender.close()
    (push,) = store.pushes
    assert push.ttl == "60s"
    looks = push.message["android"]["notification"]
    assert {name: looks[name] for name in ("channel_id", "icon", "color")} == {
        "channel_id": "orders", "icon": "bell", "color": "#2196f3",
    }  # fmt: skip


async def test_a_topic_is_reached_by_the_universal_api(store: FakeRuStore) -> None:
    sender = _sender(store, api="universal")
    assert isinstance(await sender.send(message("topic:news")), Sent)
    await sender.close()
    assert [(push.to, push.api) for push in store.pushes] == [("topic:news", "universal")]


async def test_a_topic_is_no_device(store: FakeRuStore) -> None:
    sender = _sender(store, api="universal")
    with pytest.raises(AddressError):
        sender.check_device("topic:news")
    assert sender.check_device("a-token") == sender.check_address("a-token")


async def test_what_is_one_byte_too_long_is_refused_here_and_the_rest_is_taken_there(
    store: FakeRuStore, sender: RuStoreSender
) -> None:
    low, high = 0, 5_000
    while high - low > 1:  # the longest body that this service sends
        middle = (low + high) // 2
        outcome = await sender.send(message(DEVICE, title="", body="я" * middle, delivery_id=1))
        low, high = (middle, high) if isinstance(outcome, Sent) else (low, middle)
    refused = await sender.send(message(DEVICE, title="", body="я" * high, delivery_id=1))
    assert isinstance(refused, Refused) and refused.code == "too_long"
    assert low > 1_500


async def test_nothing_visible_is_refused(sender: RuStoreSender) -> None:
    outcome = await sender.send(message(DEVICE, title=" ", body="<b> </b>", format="html"))
    assert isinstance(outcome, Refused) and outcome.code == "empty"
