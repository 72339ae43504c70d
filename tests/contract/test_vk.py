"""What VK does beyond what every sender does: repeats that it drops itself, uploads, keyboards, mentions."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sender_settings import VkSettings
from service.senders.base import (
    Attachment,
    Button,
    Halted,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from service.senders.vk import VkSender, random_id
from service.settings import AttachmentSettings
from tests.contract.rigs.vk import error_fault
from tests.contract.sender_suite import message
from tests.fakes.files import FakeFiles
from tests.fakes.provider import Fault
from tests.fakes.vk import GROUP_ID, TOKEN, FakeVk

PEER = "123456"
PHOTO, REPORT = b"\x89PNG photo", b"%PDF-1.7 report"


@pytest.fixture
async def vk() -> AsyncIterator[FakeVk]:
    async with FakeVk() as fake:
        yield fake


@pytest.fixture
async def files() -> AsyncIterator[FakeFiles]:
    shelf = {
        "a.png": ("image/png", PHOTO),
        "r.pdf": ("application/pdf", REPORT),
        "big": ("image/png", b"x" * 5_000),
    }
    async with FakeFiles(shelf) as server:
        yield server


@pytest.fixture
async def sender(vk: FakeVk) -> AsyncIterator[VkSender]:
    settings = VkSettings.model_validate({"token": TOKEN, "api_url": vk.base_url})
    made = VkSender(settings, AttachmentSettings(allow_private=True, max_bytes=4_096), timeout_seconds=5)
    yield made
    await made.close()


async def test_vk_drops_the_repeat_of_a_delivery(vk: FakeVk, sender: VkSender) -> None:
    msg = message(PEER)
    vk.fault(Fault(ending="reset"))
    assert isinstance(await sender.send(msg), Unknown)
    again = await sender.send(replace(msg, attempt=2))
    assert again == Sent((str(vk.messages[0].id),))
    assert len(vk.messages) == 1
    other = await sender.send(message(PEER))
    assert isinstance(other, Sent)
    assert len(vk.messages) == 2


@given(st.uuids(), st.integers(0, 2**63 - 1), st.integers(0, 100))
def test_a_random_id_is_stable_and_not_zero_and_has_32_bits(
    notification: UUID, delivery: int, part: int
) -> None:
    made = random_id(notification, delivery, part)
    assert made == random_id(notification, delivery, part) != random_id(notification, delivery, part + 1)
    assert made
    assert -(2**31) <= made < 2**31


async def test_the_token_is_in_no_form(vk: FakeVk, sender: VkSender) -> None:
    await sender.send(message(PEER))
    assert TOKEN not in str(vk.journal)


async def test_styles_become_readable_text(vk: FakeVk, sender: VkSender) -> None:
    body = "**bold** and [the site](https://example.com/a)"
    assert isinstance(await sender.send(message(PEER, body=body, format="markdown")), Sent)
    assert vk.messages[0].text == "Backup failed\nbold and the site (https://example.com/a)"


@pytest.mark.parametrize("text", ["@all", "[id1|Anna]", "*id1 (Anna)", "@id1(Anna)"])
async def test_a_text_mentions_nobody(vk: FakeVk, sender: VkSender, text: str) -> None:
    assert isinstance(await sender.send(message(PEER, title=text, body=text)), Sent)
    assert vk.journal[0]["form"]["disable_mentions"] == "1"
    assert text not in vk.messages[0].text
    assert text in vk.messages[0].text.replace("\u200b", "")


async def test_buttons_are_an_inline_keyboard(vk: FakeVk, sender: VkSender) -> None:
    buttons = [Button(f"Open {number}" + "!" * 50, f"https://example.com/{number}") for number in range(12)]
    assert isinstance(await sender.send(message(PEER, buttons=buttons)), Sent)
    shown = vk.messages[0].buttons
    assert [link for _, link in shown] == [f"https://example.com/{number}" for number in range(10)]
    assert {len(label) for label, _ in shown} == {40}
    for number in (10, 11):
        assert f"Open {number}{'!' * 50} (https://example.com/{number})" in vk.messages[0].text


async def test_files_are_uploaded_and_come_with_the_text(
    vk: FakeVk, sender: VkSender, files: FakeFiles
) -> None:
    attachments = (
        Attachment("photo", files.url("a.png")),
        Attachment("document", files.url("r.pdf"), "Отчёт.pdf"),
    )
    assert isinstance(await sender.send(message(PEER, attachments=attachments)), Sent)
    (sent,) = vk.messages
    assert sent.text == "Backup failed\ndisk full"
    photo, document = sent.attachments
    assert photo.startswith(f"photo-{GROUP_ID}_")
    assert vk.files[photo] == PHOTO
    assert document.startswith(f"doc-{GROUP_ID}_")
    assert (vk.files[document], vk.file_names[document]) == (REPORT, "Отчёт.pdf")
    assert all("authorization" not in str(call["form"]).lower() for call in vk.journal)


async def test_files_need_no_text_and_ten_go_into_one_message(
    vk: FakeVk, sender: VkSender, files: FakeFiles
) -> None:
    attachments = [Attachment("photo", files.url("a.png"))] * 11
    outcome = await sender.send(message(PEER, title="", body="", attachments=attachments))
    assert isinstance(outcome, Sent)
    assert len(outcome.parts) == 2
    assert [len(sent.attachments) for sent in vk.messages] == [10, 1]


@pytest.mark.parametrize(
    ("path", "outcome"), [("missing", Refused), ("big", Refused)], ids=["not there", "too large"]
)
async def test_a_file_that_cannot_be_had_stops_its_message(
    vk: FakeVk, sender: VkSender, files: FakeFiles, path: str, outcome: type
) -> None:
    result = await sender.send(message(PEER, attachments=(Attachment("photo", files.url(path)),)))
    assert isinstance(result, outcome)
    assert cast("Refused", result).code == "attachment"
    assert vk.messages == []


async def test_a_file_that_never_comes_is_certainly_no_message(vk: FakeVk, files: FakeFiles) -> None:
    settings = VkSettings.model_validate({"token": TOKEN, "api_url": vk.base_url})
    hasty = VkSender(settings, AttachmentSettings(allow_private=True), timeout_seconds=0.5)
    files.fault(Fault(ending="hang"))
    outcome = await hasty.send(message(PEER, attachments=(Attachment("photo", files.url("a.png")),)))
    await hasty.close()
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.scope) == ("attachment", Scope.ADDRESS)
    assert vk.journal == []


async def test_a_private_address_is_not_fetched(vk: FakeVk, files: FakeFiles) -> None:
    settings = VkSettings.model_validate({"token": TOKEN, "api_url": vk.base_url})
    guarded = VkSender(settings, AttachmentSettings())
    for url in (files.url("a.png"), "https://127.0.0.1/a.png"):
        assert isinstance(await guarded.send(message(PEER, attachments=(Attachment("photo", url),))), Refused)
    await guarded.close()
    assert files.journal == []


@pytest.mark.parametrize(("code", "outcome"), [(7, Refused), (15, Refused), (5, Halted)])
@pytest.mark.parametrize("call", [1, 3], ids=["asking where", "saving"])
async def test_no_right_to_files_does_not_stop_the_others(
    vk: FakeVk, files: FakeFiles, sender: VkSender, call: int, code: int, outcome: type[Outcome]
) -> None:
    vk.fault(Fault(), times=call - 1)
    vk.fault(error_fault(code, "Access denied"))
    msg = message(PEER, attachments=(Attachment("photo", files.url("a.png")),))
    assert type(await sender.send(msg)) is outcome


@pytest.mark.parametrize("call", [1, 2, 3], ids=["asking where", "uploading", "saving"])
@pytest.mark.parametrize(
    "trouble",
    [
        Fault(ending="reset"),
        Fault(ending="garbage"),
        Fault(status=502, body="<html>"),
        Fault(status=200, body='{"error": {"error_code": 10}}'),
        Fault(status=200, body="[]"),
        Fault(status=200, body='{"response": {"upload_url": "адрес"}}'),
    ],
    ids=["reset", "no HTTP", "a page", "an error", "nonsense", "no address"],
)
async def test_trouble_with_an_upload_is_certainly_no_message(
    vk: FakeVk, sender: VkSender, files: FakeFiles, call: int, trouble: Fault
) -> None:
    vk.fault(Fault(), times=call - 1)
    vk.fault(trouble)
    msg = message(PEER, attachments=(Attachment("photo", files.url("a.png")),))
    assert isinstance(await sender.send(msg), Retry)
    assert vk.messages == []
    assert isinstance(await sender.send(msg), Sent)


async def test_more_than_the_limit_is_throttled_by_the_real_code(vk: FakeVk, sender: VkSender) -> None:
    vk.calls_a_second = 2
    outcomes = [await sender.send(message(PEER)) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [Sent, Sent, Throttled]


async def test_flood_control_is_about_one_peer(vk: FakeVk, sender: VkSender) -> None:
    vk.fault(error_fault(9, "Flood control"))
    outcome = await sender.send(message(PEER))
    assert isinstance(outcome, Throttled)
    assert outcome.scope is Scope.ADDRESS
