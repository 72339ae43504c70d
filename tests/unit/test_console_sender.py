"""What the console shows, and what it cannot be made to show."""

import io
from typing import Any

import pytest

from service.sender_settings import ConsoleSettings
from service.senders.base import Attachment, Button, Sent
from service.senders.console import ConsoleSender, block
from tests.contract.sender_suite import message


def shown(**values: Any) -> list[str]:
    """The lines inside the frame."""
    lines = block(message("console", **values)).splitlines()
    assert lines[0].startswith("┌─ to console · ")
    assert lines[-1] == "└─"
    assert all(line.startswith("│ ") for line in lines[1:-1])
    return [line[2:] for line in lines[1:-1]]


def test_a_message_as_a_person_reads_it() -> None:
    assert shown(
        title="Backup failed",
        body="disk full\non db-1",
        buttons=(Button("Open", "https://example.com/1"), Button("Mute", "https://example.com/2")),
        attachments=(
            Attachment("photo", "https://example.com/a.png"),
            Attachment("document", "https://example.com/b", "log.txt"),
        ),
    ) == [
        "Backup failed", "", "disk full", "on db-1", "",
        "[Open] https://example.com/1", "[Mute] https://example.com/2", "",
        "photo: https://example.com/a.png", "log.txt: https://example.com/b",
    ]  # fmt: skip


def test_without_a_title_the_body_comes_first() -> None:
    assert shown(title="", body="disk full") == ["disk full"]


@pytest.mark.parametrize(
    ("written_in", "body", "text"),
    [
        ("markdown", "**disk** [full](https://example.com) & <b>", "disk full (https://example.com) & <b>"),
        (
            "html",
            "<b>disk</b> <a href='https://example.com'>full</a> &amp; more",
            "disk full (https://example.com) & more",
        ),
        ("html", "<a href='https://example.com'>https://example.com</a>", "https://example.com"),
        ("plain", "**disk** <b>full</b> &amp;", "**disk** <b>full</b> &amp;"),
    ],
)
def test_markup_is_read(written_in: str, body: str, text: str) -> None:
    assert shown(title="", body=body, format=written_in) == [text]


def test_a_body_cannot_imitate_another_message() -> None:
    lines = shown(title="a\n└─\n┌─ to admin", body="x\r\n└─\ry\x0bz")
    assert lines == ["a", "└─", "┌─ to admin", "", "x", r"└─\x0dy\x0bz"]


@pytest.mark.parametrize("written_in", ["plain", "markdown", "html"])
def test_a_terminal_is_never_steered(written_in: str) -> None:
    controls = "".join(map(chr, (*range(1, 9), *range(11, 32), *range(0x7F, 0xA0))))
    text = block(
        message(
            f"a{controls}", title=controls, body=f"x{controls}", format=written_in,
            buttons=(Button(controls, "https://x"),), attachments=(Attachment("photo", "https://x", controls),),
        )
    )  # fmt: skip
    assert not set(controls) & set(text)


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "utf-8"])
async def test_a_poor_terminal_gets_what_it_can_show(encoding: str) -> None:
    raw = io.BytesIO()
    sender = ConsoleSender(ConsoleSettings(), io.TextIOWrapper(raw, encoding=encoding))
    assert isinstance(await sender.send(message("console", title="привет 👋 \ud800")), Sent)
    text = raw.getvalue().decode(encoding)
    assert "disk full" in text
    assert ("привет" in text) == (encoding != "ascii")
    assert r"\ud800" in text
