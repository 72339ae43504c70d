"""What FCM does beyond what every sender does: its fields, its targets, and the life of access tokens."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.sender_settings import FcmSettings
from service.senders.base import AddressError, Attachment, Button, Halted, Refused, Retry, Sent
from service.senders.fcm import FcmSender
from tests.contract.sender_suite import message
from tests.fakes.fcm import DEVICE, FakeFcm
from tests.fakes.provider import Fault
from tests.support.waiting import wait_until


@pytest.fixture
async def fcm() -> AsyncIterator[FakeFcm]:
    async with FakeFcm() as running:
        yield running


@pytest.fixture
async def sender(fcm: FakeFcm, tmp_path: Path) -> AsyncIterator[FcmSender]:
    made = _sender(fcm, tmp_path)
    yield made
    await made.close()


def _sender(fcm: FakeFcm, folder: Path, **values: Any) -> FcmSender:
    settings = {"key_file": fcm.key_file(folder), "url": fcm.base_url, **values}
    return FcmSender(FcmSettings.model_validate(settings))


async def test_a_push_has_the_fields_of_every_platform(fcm: FakeFcm, sender: FcmSender) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    told = message(
        DEVICE,
        priority="urgent",
        expires_at=expires_at,
        buttons=(Button("Open", "https://shop.example/1"),),
        attachments=(Attachment("photo", "https://cdn.example/1.png"),),
        metadata={"from": "google.com"},
    )
    outcome = await sender.send(told)
    assert outcome == Sent(("projects/fake-project/messages/1",))
    (push,) = fcm.pushes
    assert push.message["token"] == DEVICE
    assert push.message["data"]["metadata"] == '{"from":"google.com"}'
    assert push.message["notification"]["image"] == "https://cdn.example/1.png"
    assert push.message["android"]["priority"] == "HIGH"
    assert 3_590 <= int(push.message["android"]["ttl"].removesuffix("s")) <= 3_600
    assert push.message["apns"]["headers"] == {
        "apns-priority": "10", "apns-expiration": str(int(expires_at.timestamp())),
    }  # fmt: skip
    assert push.message["apns"]["fcm_options"]["image"] == "https://cdn.example/1.png"
    assert push.message["webpush"]["headers"]["Urgency"] == "high"
    assert push.message["webpush"]["fcm_options"] == {"link": "https://shop.example/1"}


async def test_what_is_not_urgent_leaves_the_device_asleep(fcm: FakeFcm, sender: FcmSender) -> None:
    assert isinstance(await sender.send(message(DEVICE, priority="bulk")), Sent)
    (push,) = fcm.pushes
    assert push.message["android"] == {"ttl": "2419200s", "priority": "NORMAL"}
    assert push.message["apns"]["headers"] == {"apns-priority": "5"}
    assert push.message["webpush"]["headers"] == {"TTL": "2419200", "Urgency": "low"}


@pytest.mark.parametrize(
    "address", ["fid:cAbcDefGhiJklMnoPqrStu", "topic:news", "condition:'a' in topics", DEVICE]
)
async def test_every_kind_of_target(fcm: FakeFcm, sender: FcmSender, address: str) -> None:
    assert isinstance(await sender.send(message(address)), Sent)
    assert [push.to for push in fcm.pushes] == [address]


@pytest.mark.parametrize("address", ["topic:news", "condition:'a' in topics"])
async def test_what_leads_to_many_is_no_device(sender: FcmSender, address: str) -> None:
    assert sender.check_address(address) == address
    with pytest.raises(AddressError):
        sender.check_device(address)
    assert [sender.check_device(token) for token in (DEVICE, "fid:cAbcDefGhiJklMnoPqrStu")]


async def test_topics_take_half_as_much(sender: FcmSender) -> None:
    body = "x" * 3_000
    assert isinstance(await sender.send(message(DEVICE, body=body)), Sent)
    refused = await sender.send(message("topic:news", body=body))
    assert isinstance(refused, Refused) and refused.code == "too_long"


async def test_however_many_calls_begin_at_once_one_token_is_fetched(fcm: FakeFcm, sender: FcmSender) -> None:
    fcm.grant_fault(Fault(delay_seconds=0.2))
    outcomes = await asyncio.gather(*(sender.send(message(DEVICE)) for _ in range(20)))
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert fcm.grants == 1


async def test_a_token_is_renewed_ahead_while_the_old_one_still_works(fcm: FakeFcm, tmp_path: Path) -> None:
    fcm.life_seconds = 200
    sender = _sender(fcm, tmp_path)
    assert isinstance(await sender.send(message(DEVICE)), Sent)
    fcm.grant_fault(Fault(ending="hang"))
    async with asyncio.timeout(5):
        assert isinstance(await sender.send(message(DEVICE)), Sent)
    await sender.close()


async def test_a_renewal_that_failed_ahead_of_time_harms_nobody(fcm: FakeFcm, tmp_path: Path) -> None:
    fcm.life_seconds = 200
    sender = _sender(fcm, tmp_path)
    assert isinstance(await sender.send(message(DEVICE)), Sent)
    fcm.grant_fault(Fault(status=500), times=1)
    assert isinstance(await sender.send(message(DEVICE)), Sent)
    await wait_until(lambda: len(fcm.journal) >= 4)
    fcm.life_seconds = 3_600
    assert isinstance(await sender.send(message(DEVICE)), Sent)
    await wait_until(lambda: fcm.grants >= 2)
    await sender.close()


async def test_a_token_that_ends_before_its_time_is_replaced_in_the_same_attempt(
    fcm: FakeFcm, sender: FcmSender
) -> None:
    assert isinstance(await sender.send(message(DEVICE)), Sent)
    fcm.revoke()
    assert isinstance(await sender.send(message(DEVICE)), Sent)
    assert fcm.grants == 2


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others(
    fcm: FakeFcm, sender: FcmSender
) -> None:
    fcm.grant_fault(Fault(delay_seconds=0.3))
    first = asyncio.create_task(sender.send(message(DEVICE)))
    second = asyncio.create_task(sender.send(message(DEVICE)))
    await wait_until(lambda: len(fcm.journal) == 1)
    first.cancel()
    assert isinstance(await second, Sent)
    assert fcm.grants == 1


async def test_every_caller_hears_why_there_is_no_token(fcm: FakeFcm, sender: FcmSender) -> None:
    fcm.grant_fault(Fault(status=503, headers={"retry-after": "9"}, delay_seconds=0.2))
    outcomes = await asyncio.gather(*(sender.send(message(DEVICE)) for _ in range(3)))
    assert all(isinstance(outcome, Retry) and outcome.retry_after == 9 for outcome in outcomes)
    fcm.grant_fault(Fault(status=401, body='{"error": "invalid_client"}'))
    assert isinstance(await sender.send(message(DEVICE)), Halted)
    assert isinstance(await sender.send(message(DEVICE)), Sent)
