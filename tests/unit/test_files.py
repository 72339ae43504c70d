"""Attachments are fetched within limits, and what cannot be had says whether to try again."""

from collections.abc import AsyncIterator

import pytest

from service.senders.base import Attachment, Refused, Retry, Scope
from service.senders.files import File, FileError, Files
from service.settings import AttachmentSettings
from tests.fakes.files import FakeFiles
from tests.fakes.provider import Fault

PNG = b"\x89PNG" + b"\0" * 96


@pytest.fixture
async def server() -> AsyncIterator[FakeFiles]:
    async with FakeFiles(
        {"logo.png": ("image/png", PNG), "notes": ("text/plain; charset=utf-8", b"hi")}
    ) as server:
        yield server


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    files = Files(AttachmentSettings.model_construct(max_bytes=250, timeout_seconds=1.0, allow_private=True))
    yield files
    await files.close()


def attachment(url: str, name: str | None = None) -> Attachment:
    return Attachment("document", url, name)


async def test_files_come_in_their_order_with_type_and_name(server: FakeFiles, files: Files) -> None:
    wanted = [attachment(server.url("logo.png")), attachment(server.url("notes"), "заметки.txt")]
    assert await files.fetch(wanted) == [
        File(PNG, "image/png", "logo.png"),
        File(b"hi", "text/plain", "заметки.txt"),
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [('a"; x="b', "a; x=b"), ("../../etc/passwd", "etcpasswd"), ("a\u2028b\\c", "abc"), ("...", "file")],
)
async def test_a_name_cannot_be_more_than_a_name(
    server: FakeFiles, files: Files, given: str, kept: str
) -> None:
    (file,) = await files.fetch([attachment(server.url("notes"), given)])
    assert file.name == kept


async def test_the_limit_is_for_all_files_together(server: FakeFiles, files: Files) -> None:
    assert len(await files.fetch([attachment(server.url("logo.png"))] * 2)) == 2
    with pytest.raises(FileError, match="250 bytes in all") as caught:
        await files.fetch([attachment(server.url("logo.png"))] * 3)
    assert isinstance(caught.value.outcome, Refused)


async def test_an_endless_file_is_not_read_to_its_end(server: FakeFiles, files: Files) -> None:
    server.fault(Fault(ending="huge"))
    with pytest.raises(FileError, match="too large"):
        await files.fetch([attachment(server.url("notes"))])
    assert server.bytes_sent < 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault(status=404), Refused),
        (Fault(status=302, headers={"location": "/logo.png"}), Refused),
        (Fault(status=204), Refused),
        (Fault(status=429), Retry),
        (Fault(status=503), Retry),
        (Fault(ending="hang"), Retry),
        (Fault(ending="reset"), Retry),
        (Fault(ending="garbage"), Retry),
    ],
    ids=str,
)
async def test_what_cannot_be_had(
    server: FakeFiles, files: Files, fault: Fault, outcome: type[Refused | Retry]
) -> None:
    server.fault(fault, times=2)  # the client may ask once more
    with pytest.raises(FileError) as caught:
        await files.fetch([attachment(server.url("notes"))])
    assert type(caught.value.outcome) is outcome
    assert caught.value.outcome.code == "attachment"
    assert isinstance(caught.value.outcome, Refused) or caught.value.outcome.scope is Scope.ADDRESS
    assert server.base_url not in caught.value.outcome.reason


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a", "https://127.0.0.1/a", "https://localhost/a", "https://[::1]/a", "file:///etc"],
)
async def test_what_leads_inside_is_refused(url: str) -> None:
    guarded = Files(
        AttachmentSettings.model_construct(max_bytes=10, timeout_seconds=1.0, allow_private=False)
    )
    with pytest.raises(FileError, match="address") as caught:
        await guarded.fetch([attachment(url)])
    assert isinstance(caught.value.outcome, Refused)
    await guarded.close()
