"""What MAX does beyond what every sender does: styles, keyboards, two-step uploads that take their time."""

from collections.abc import AsyncIterator

import pytest

from service.sender_settings import MaxSettings
from service.senders.base import Attachment, Button, Refused, Retry, Scope, Sent, Throttled
from service.senders.max import MaxSender
from service.settings import AttachmentSettings
from tests.contract.sender_suite import message, numbered_words, words_of
from tests.fakes.files import FakeFiles
from tests.fakes.max import TOKEN, FakeMax
from tests.fakes.provider import Fault

USER = "5000123"
PHOTO, REPORT = b"\x89PNG photo", b"%PDF-1.7 report"


@pytest.fixture
async def fake() -> AsyncIterator[FakeMax]:
    async with FakeMax() as running:
        yield running


@pytest.fixture
async def files() -> AsyncIterator[FakeFiles]:
    shelf = {"a.png": ("image/png", PHOTO), "r.pdf": ("application/pdf", REPORT)}
    async with FakeFiles(shelf) as server:
        yield server


@pytest.fixture
async def sender(fake: FakeMax) -> AsyncIterator[MaxSender]:
    made = _sender(fake)
    yield made
    await made.close()


def _sender(fake: FakeMax) -> MaxSender:
    settings = MaxSettings.model_validate({"token": TOKEN, "api_url": fake.base_url})
    attachments = AttachmentSettings(allow_private=True)
    return MaxSender(settings, attachments, timeout_seconds=5, not_ready_seconds=(0, 0, 0))


async def test_styles_are_kept(fake: FakeMax, sender: MaxSender) -> None:
    body = "**bold** _it_ ~~no~~ `code` [site](https://example.com/a)"
    assert isinstance(await sender.send(message(USER, body=body, format="markdown")), Sent)
    assert fake.messages[0].text == "Backup failed\nbold it no code site"
    assert fake.messages[0].styles == ("b", "b", "i", "s", "code", "a https://example.com/a")


async def test_a_user_and_a_chat(fake: FakeMax, sender: MaxSender) -> None:
    for address in (USER, "chat:-68500001"):
        assert isinstance(await sender.send(message(address)), Sent)
    assert [sent.recipient for sent in fake.messages] == [USER, "chat:-68500001"]


async def test_text_that_grows_by_escaping_still_fits(fake: FakeMax, sender: MaxSender) -> None:
    words = numbered_words(6_000)
    assert isinstance(await sender.send(message(USER, body=" & ".join(words))), Sent)
    assert words_of([sent.text for sent in fake.messages]) == words


@pytest.mark.parametrize("count", [1, 3, 31, 90, 95])
async def test_buttons(fake: FakeMax, sender: MaxSender, count: int) -> None:
    buttons = [
        Button(f"Open {number} " + "x" * 150, f"https://example.com/{number}") for number in range(count)
    ]
    assert isinstance(await sender.send(message(USER, buttons=buttons)), Sent)
    links = [link for sent in fake.messages for _, link in sent.buttons]
    links += [style.split()[1] for sent in fake.messages for style in sent.styles if style.startswith("a ")]
    assert sorted(links) == sorted(button.url for button in buttons)


async def test_files_are_uploaded_in_two_steps(fake: FakeMax, sender: MaxSender, files: FakeFiles) -> None:
    attachments = (
        Attachment("photo", files.url("a.png")),
        Attachment("document", files.url("r.pdf"), "Отчёт.pdf"),
    )
    outcome = await sender.send(
        message(USER, attachments=attachments, buttons=(Button("Open", "https://a.example"),))
    )
    assert isinstance(outcome, Sent)
    (sent,) = fake.messages
    assert sent.files == (f"image:a.png:{len(PHOTO)}", f"file:Отчёт.pdf:{len(REPORT)}")
    assert sent.buttons == (("Open", "https://a.example"),)
    assert [upload.content for upload in fake.uploads.values()] == [PHOTO, REPORT]


async def test_a_file_that_is_not_ready_is_asked_for_again(
    fake: FakeMax, sender: MaxSender, files: FakeFiles
) -> None:
    fake.not_ready = 3
    outcome = await sender.send(message(USER, attachments=(Attachment("photo", files.url("a.png")),)))
    assert isinstance(outcome, Sent)
    assert len(fake.uploads) == len(fake.messages) == 1


async def test_a_file_that_is_never_ready_is_tried_later(
    fake: FakeMax, sender: MaxSender, files: FakeFiles
) -> None:
    fake.not_ready = 4
    outcome = await sender.send(message(USER, attachments=(Attachment("photo", files.url("a.png")),)))
    assert isinstance(outcome, Retry)
    assert (outcome.code, outcome.scope) == ("attachment.not.ready", Scope.ADDRESS)
    assert fake.messages == []


async def test_a_private_address_is_not_fetched(fake: FakeMax, files: FakeFiles) -> None:
    settings = MaxSettings.model_validate({"token": TOKEN, "api_url": fake.base_url})
    guarded = MaxSender(settings, AttachmentSettings())
    outcome = await guarded.send(message(USER, attachments=(Attachment("photo", files.url("a.png")),)))
    await guarded.close()
    assert isinstance(outcome, Refused)
    assert files.journal == []


@pytest.mark.parametrize("call", [1, 2], ids=["asking where", "uploading"])
async def test_trouble_with_an_upload_is_certainly_no_message(
    fake: FakeMax, sender: MaxSender, files: FakeFiles, call: int
) -> None:
    fake.fault(Fault(), times=call - 1)
    fake.fault(Fault(ending="reset"))
    outcome = await sender.send(message(USER, attachments=(Attachment("photo", files.url("a.png")),)))
    assert isinstance(outcome, Retry)
    assert fake.messages == []


async def test_more_than_the_limit_is_throttled(fake: FakeMax, sender: MaxSender) -> None:
    fake.calls_a_second = 1
    outcomes = [await sender.send(message(USER)) for _ in range(2)]
    assert [type(outcome) for outcome in outcomes] == [Sent, Throttled]
