"""What is particular to `SMS`: what a text costs, and how each provider is called."""

from dataclasses import replace
from typing import Any

import pytest

from service.senders.base import Attachment, Button, Message, Outcome, Refused, Sent
from service.senders.sms import sms_parts
from tests.contract.rigs.sms import NUMBER, SmscRig, SmsRig, SmsRuRig
from tests.contract.sender_suite import message
from tests.fakes.sms import API_ID, LOGIN, PASSWORD


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("ñ" * 160, 1),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("[]\n" * 32, 1),
        ("[]\n" * 33, 2),
        ("ы" * 70, 1),
        ("ы" * 71, 2),
        ("ы" * 134, 2),
        ("ы" * 135, 3),
        ("a" * 69 + "`", 1),
        ("a" * 70 + "`", 2),
        ("👍" * 35, 1),
        ("👍" * 36, 2),
    ],
)
def test_what_a_text_costs(text: str, parts: int) -> None:
    assert sms_parts(text) == parts


async def send(rig: SmsRig, msg: Message, **settings: Any) -> Outcome:
    sender = rig.make(**settings)
    assert sender.off_reason is None
    try:
        return await sender.send(msg)
    finally:
        await sender.close()


async def test_how_smsc_is_called() -> None:
    async with SmscRig() as rig:
        msg = message(NUMBER, title="Заказ", body="17 & 18")
        await send(rig, msg, sender="Shop")
        await send(rig, replace(msg, attempt=2))
        await send(rig, replace(msg, delivery_id=msg.delivery_id + 1))
        first, again, other = rig.server.journal
    assert first == {
        "login": LOGIN, "psw": PASSWORD, "phones": "79991234567", "mes": "Заказ\n17 & 18", "sender": "Shop", "fmt": "3",
        "charset": "utf-8", "id": first["id"],
    }  # fmt: skip
    assert first["id"] == again["id"] != other["id"]
    assert 1 <= int(first["id"]) < 2**31


async def test_smsc_takes_a_key_too() -> None:
    async with SmscRig() as rig:
        assert isinstance(await send(rig, message(NUMBER), login=None, password=None, api_key=PASSWORD), Sent)
        assert "psw" not in rig.server.journal[0]


async def test_how_sms_ru_is_called() -> None:
    async with SmsRuRig() as rig:
        outcome = await send(rig, message(NUMBER, title="t", body="b"), sender="Shop")
        assert rig.server.journal == [{"api_id": API_ID, "to": "79991234567", "msg": "t\nb", "from": "Shop"}]
        assert outcome == Sent(("000000-1",))


async def test_a_message_of_too_many_parts_is_not_paid_for() -> None:
    async with SmscRig() as rig:
        outcome = await send(rig, message(NUMBER, title="", body="ы" * 135), max_parts=2)
        assert isinstance(outcome, Refused)
        assert outcome.code == "too_long"
        assert "3 text messages" in outcome.reason
        assert rig.server.journal == []
        assert isinstance(await send(rig, message(NUMBER, title="", body="ы" * 134), max_parts=2), Sent)


async def test_formats_and_links_are_plain_text() -> None:
    async with SmscRig() as rig:
        msg = message(
            NUMBER,
            title="",
            body="**Paid**",
            format="markdown",
            buttons=[Button("Open", "https://example.com/1")],
            attachments=[Attachment("document", "https://example.com/bill.pdf")],
        )
        await send(rig, msg)
        assert rig.accepted() == [
            "Paid\n\nOpen (https://example.com/1)\nbill.pdf (https://example.com/bill.pdf)"
        ]


async def test_a_number_is_the_same_for_every_account() -> None:
    async with SmsRuRig() as rig:
        account = rig.make()
        account.name = "SMS:ru"
        assert account.contacts_name == "SMS"


async def test_nothing_visible_is_not_sent() -> None:
    async with SmscRig() as rig:
        outcome = await send(rig, message(NUMBER, title="", body="<script>x</script>", format="html"))
        assert isinstance(outcome, Refused)
        assert outcome.code == "empty"
