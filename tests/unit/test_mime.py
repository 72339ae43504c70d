"""Mails, read back by the standard library's parser: nothing is lost, and nothing breaks out of its place."""

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.senders.files import File
from service.senders.mime import Content, mail, mailbox, one_line, shown, words

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def parsed(headers: dict[str, str], content: Content | None = None) -> EmailMessage:
    raw = mail(headers, content or Content("text", "<p>html</p>", {}, ()))
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not list(message.defects)
    return message


@given(TEXT)
def test_any_title_is_one_header(title: str) -> None:
    line = one_line(title)
    message = parsed({"Subject": words(line), "X-After": "here"})
    assert message["Subject"] == line.strip()
    assert message.keys() == ["Subject", "X-After", "MIME-Version", "Content-Type"]


@given(TEXT)
def test_any_name_stays_a_name(name: str) -> None:
    line = one_line(name)
    message = parsed({"From": mailbox(line, "a@example.com")})
    (sender,) = message["From"].addresses
    assert sender.addr_spec == "a@example.com"
    shown_as, _, address = mailbox(line, "a@example.com").rpartition(" ")
    assert address.strip("<>") == "a@example.com"
    # Not the newer parser, which puts spaces between the encoded words of a name.
    assert str(make_header(decode_header(shown_as))) == line


@given(TEXT, TEXT)
def test_any_text_and_html_arrive(text: str, html: str) -> None:
    message = parsed({"Subject": "x"}, Content(shown(text), shown(html), {}, ()))
    for kind, given_text in (("plain", text), ("html", html)):
        body = message.get_body((kind,))
        assert body is not None
        assert body.get_content().replace("\r\n", "\n").rstrip("\n") == shown(given_text).rstrip("\n")


@pytest.mark.parametrize("value", ["a\r\nBcc: b@c.d", "a\nb", "a\rb", "a\0b", "a\r\n b\r\nc"])
def test_a_header_cannot_be_broken_out_of(value: str) -> None:
    with pytest.raises(ValueError, match="X-Value"):
        mail({"X-Value": value}, Content("", "", {}, ()))


@given(
    st.binary(max_size=5_000),
    st.sampled_from(["image/png", "text/html", "message/rfc822", "multipart/mixed"]),
)
def test_files_arrive_byte_for_byte(content: bytes, media_type: str) -> None:
    image, note = File(content, "image/png", "план.png"), File(content, media_type, "note; x=1.bin")
    message = parsed({"Subject": "x"}, Content("t", '<img src="cid:1@x">', {"1@x": image}, (note,)))
    related, attached = message.get_body(("related",)), list(message.iter_attachments())
    assert related is not None
    (inline,) = list(related.iter_attachments())
    assert (inline["Content-ID"], inline.get_content_disposition()) == ("<1@x>", "inline")
    assert (inline.get_filename(), inline.get_payload(decode=True)) == ("план.png", content)
    (file,) = attached
    assert (file.get_filename(), file.get_payload(decode=True)) == ("note; x=1.bin", content)
    assert file.get_content_type() in {media_type, "application/octet-stream"}


def test_a_long_name_is_cut_between_characters() -> None:
    file = File(b"x", "text/plain", "\U0001f41f" * 128)
    message = parsed({"Subject": "x"}, Content("t", "h", {}, (file,)))
    (attached,) = list(message.iter_attachments())
    assert attached.get_filename() == "\U0001f41f" * 50
