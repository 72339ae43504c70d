"""Forms with files, read back by the standard library's parser of messages."""

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from service.senders.files import File
from service.senders.multipart import multipart

NAMES = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=20)


def _read(content_type: str, body: bytes) -> list[EmailMessage]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    return [cast("EmailMessage", part) for part in form.iter_parts()]


@given(st.dictionaries(NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1))
def test_texts_arrive_under_their_names(fields: dict[str, str]) -> None:
    parts = _read(*multipart(fields))
    assert {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts
    } == {name: value.encode() for name, value in fields.items()}


@given(st.binary(min_size=1, max_size=300))
def test_a_file_arrives_byte_for_byte(content: bytes) -> None:
    content_type, body = multipart({"text": "x", "photo": File(content, "image/png", "a.png")})
    boundary = content_type.partition("boundary=")[2].encode()
    *_, file, end = body.split(b"--" + boundary)
    head, _, value = file.partition(b"\r\n\r\n")
    assert value == content + b"\r\n"
    assert end == b"--\r\n"
    assert b'filename="a.png"' in head
    assert b"content-type: image/png" in head


def test_a_name_ends_no_header() -> None:
    _, body = multipart({"photo": File(b"x", "image/png", 'a"\r\nx: y')})
    head = body.partition(b"\r\n\r\n")[0]
    assert head.count(b"\r\n") == 2
    assert b'filename="a%22%0D%0Ax: y"' in head
