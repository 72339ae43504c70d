"""Addresses that are secrets: what deliveries, events and reports show of them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from service.api.views import DeliveryView
from service.delivery.events import Subject, event_json
from service.mailings.results import csv_of
from service.senders import build_senders
from service.senders.shown_address import shown_address
from service.settings import Settings

SECRET = "s3cretOfTheWebhook"
ADDRESSES = {
    "DISCORD": (f"123/{SECRET}:456", "123/…:456"),
    "MATTERMOST": (f"{SECRET}:town-square", "…:town-square"),
    "SLACK": (f"https://hooks.slack.com/services/T1/B1/{SECRET}", "https://hooks.slack.com/services/T1/B1/…"),
}
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("sender", "address", "shown"),
    [
        *((name, *pair) for name, pair in ADDRESSES.items()),
        ("SLACK:alerts", *ADDRESSES["SLACK"]),
        ("DISCORD", f"123/{SECRET}", "123/…"),
        ("MATTERMOST", SECRET, "…"),
        ("SLACK", "C0123ABCD", "C0123ABCD"),
        ("TG", "-100123:4", "-100123:4"),
        ("WEBHOOK", "https://example.com/a/b", "https://example.com/a/b"),
    ],
)
def test_what_is_shown(sender: str, address: str, shown: str) -> None:
    assert shown_address(sender, address) == shown


def test_every_sender_with_secret_addresses_has_its_secrets_hidden() -> None:
    secret = {
        name for name, sender in build_senders(Settings()).items() if sender.capabilities.secret_addresses
    }
    assert secret == {*ADDRESSES, "APPRISE"}, "APPRISE seals its addresses itself"


@pytest.mark.parametrize("sender", ADDRESSES)
def test_an_event_does_not_tell(sender: str) -> None:
    address, shown = ADDRESSES[sender]
    about = Subject(UUID(int=1), None, sender, address, None, {})
    assert orjson.loads(event_json("accepted", about, at=NOW))["address"] == shown


@pytest.mark.parametrize("sender", ADDRESSES)
def test_a_delivery_does_not_tell(sender: str) -> None:
    address, shown = ADDRESSES[sender]
    row: dict[str, Any] = defaultdict(
        lambda: None, id=1, notification_id=UUID(int=1), position=0, sender=sender, address=address,
        priority=2, status="sent", attempt=1, provider_ids=[], send_at=NOW, due_at=NOW, created_at=NOW,
    )  # fmt: skip
    assert DeliveryView.of(row).address == shown


@pytest.mark.parametrize("sender", ADDRESSES)
async def test_a_report_does_not_tell(sender: str) -> None:
    address, shown = ADDRESSES[sender]

    async def pieces() -> AsyncIterator[Sequence[Any]]:
        yield [defaultdict(lambda: None, sender=sender, address=address)]

    report = b"".join([piece async for piece in csv_of(pieces())]).decode()
    assert shown in report
    assert SECRET not in report
