"""What WEBPUSH does beyond what every sender does: its cryptography, its headers, its guard."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from service.sender_settings import WebPushSettings
from service.senders.base import AddressError, Attachment, Button, Refused, Sent
from service.senders.webpush import WebPushSender
from service.senders.webpush_keys import TEXT_MAX_BYTES, ReaderKeys, Vapid, b64, encrypt, new_pair, unb64
from tests.contract.sender_suite import message
from tests.fakes.webpush import PRIVATE_KEY, PUBLIC_KEY, Browser, FakePushService

# RFC 8291, appendix A.
RFC = {
    "text": "When I grow up, I want to be a watermelon",
    "private": "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw",
    "reader": "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94",
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    "salt": "DGv6ra1nlYgDCS1FRnbzlw",
    "body": "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"
    "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
}


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(unb64(key), "big"), ec.SECP256R1())


@pytest.fixture
async def service() -> AsyncIterator[FakePushService]:
    async with FakePushService() as running:
        yield running


@pytest.fixture
async def sender() -> AsyncIterator[WebPushSender]:
    made = _sender()
    yield made
    await made.close()


def _sender(**values: Any) -> WebPushSender:
    settings = {"private_key": PRIVATE_KEY, "subject": "mailto:push@example.com", "allow_private": True}
    return WebPushSender(WebPushSettings.model_validate({**settings, **values}))


def test_the_example_of_the_rfc_is_encrypted_to_the_byte_and_read() -> None:
    private = _private(RFC["private"])
    reader = ReaderKeys.parse(RFC["p256dh"], RFC["auth"])
    assert b64(encrypt(RFC["text"].encode(), reader, salt=unb64(RFC["salt"]), private=private)) == RFC["body"]
    browser = Browser("https://push.example.com/a")
    browser.private, browser.auth = _private(RFC["reader"]), unb64(RFC["auth"])
    assert browser.decrypt(unb64(RFC["body"])).decode() == RFC["text"]


@given(st.binary(max_size=TEXT_MAX_BYTES))
def test_whatever_is_encrypted_an_independent_reader_reads(text: bytes) -> None:
    browser = Browser("https://push.example.com/a")
    body = encrypt(text, ReaderKeys.parse(**browser.keys))
    assert len(body) <= 4_096
    assert browser.decrypt(body) == text


def test_a_new_pair_signs_and_is_never_the_same() -> None:
    private, public = new_pair()
    assert Vapid(private, "mailto:a@example.com").public_key == public
    assert new_pair()[0] != private
    assert Vapid(PRIVATE_KEY, "mailto:a@example.com").public_key == PUBLIC_KEY


def test_a_push_service_is_signed_for_once() -> None:
    vapid = Vapid(PRIVATE_KEY, "mailto:a@example.com")
    first = vapid.authorization("https://a.example")
    assert vapid.authorization("https://a.example") == first
    assert vapid.authorization("https://b.example") != first


async def test_the_service_worker_gets_what_it_shows(service: FakePushService, sender: WebPushSender) -> None:
    browser = service.subscribe()
    told = message(
        browser.address,
        title="Заказ 👍🏽",
        body="*готов*",
        format="markdown",
        priority="bulk",
        expires_at=datetime.now(UTC) + timedelta(minutes=1),
        buttons=(Button("Open", "https://shop.example/1"),),
        attachments=(Attachment("photo", "https://cdn.example/1.png"),),
        metadata={"order": 1},
    )
    assert isinstance(await sender.send(told), Sent)
    (push,) = service.pushes
    assert push.data == {
        "title": "Заказ 👍🏽",
        "body": "готов",
        "image": "https://cdn.example/1.png",
        "data": {
            "notification_id": str(told.notification_id),
            "url": "https://shop.example/1",
            "buttons": '[{"text":"Open","url":"https://shop.example/1"}]',
            "metadata": '{"order":1}',
        },
    }
    assert push.urgency == "low"
    assert 50 <= push.ttl <= 60
    assert push.topic == b64(told.notification_id.bytes)


async def test_the_subscription_of_a_browser_is_an_address(
    service: FakePushService, sender: WebPushSender
) -> None:
    browser = service.subscribe()
    assert sender.check_address(browser.json) == browser.address
    assert isinstance(await sender.send(message(browser.json)), Sent)


async def test_each_browser_reads_its_own_only(service: FakePushService, sender: WebPushSender) -> None:
    browsers = [service.subscribe() for _ in range(20)]
    outcomes = await asyncio.gather(
        *(sender.send(message(browser.address, body=browser.endpoint)) for browser in browsers)
    )
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert all(push.data["body"].endswith(push.browser) for push in service.pushes)


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.1", "192.168.1.1"])
async def test_no_push_service_is_inside_the_network(host: str) -> None:
    browser = Browser(f"https://{host}/a")
    sender = _sender(allow_private=False)
    with pytest.raises(AddressError, match="private"):
        sender.check_address(browser.address)
    outcome = await sender.send(message(browser.address))
    assert isinstance(outcome, Refused) and outcome.code == "address"
    await sender.close()


async def test_a_name_that_leads_into_the_network_is_refused_when_it_is_called() -> None:
    sender = _sender(allow_private=False)
    address = sender.check_address(Browser("https://localhost:9/a").address)
    outcome = await sender.send(message(address))
    assert isinstance(outcome, Refused) and outcome.code == "address"
    await sender.close()


async def test_the_longest_push_fits_and_one_byte_more_is_refused(
    service: FakePushService, sender: WebPushSender
) -> None:
    browser = service.subscribe()
    told = message(browser.address, title="", body="x")
    assert isinstance(await sender.send(told), Sent)
    room = TEXT_MAX_BYTES - len(orjson.dumps(service.pushes[0].data)) + 1
    assert isinstance(await sender.send(message(browser.address, title="", body="x" * room)), Sent)
    assert service.journal[-1]["bytes"] == 4_096
    refused = await sender.send(message(browser.address, title="", body="x" * (room + 1)))
    assert isinstance(refused, Refused) and refused.code == "too_long"
