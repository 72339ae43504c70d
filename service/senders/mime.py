"""Mails as bytes: headers nobody can break out of, a text with its HTML, images within it, files beside it.

Everything but short ASCII text is base64, so that lines stay short and no server on the way changes a byte.
"""

import re
import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from service.senders.files import UNKNOWN_TYPE, File

# An encoded word has at most 75 characters (RFC 2047), and the header's name stands before the first.
WORD_MAX_BYTES = 39
PLAIN_MAX_CHARS = 60
PLAIN_LINE_MAX_CHARS = 900
FILE_NAME_MAX_BYTES = 200
_BASE64_LINE_CHARS = 76
_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ATOMS = re.compile(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+)*")
# Parts of these kinds may not be base64 (RFC 2045).
_COMPOSITE = ("message/", "multipart/")


@dataclass(frozen=True, slots=True)
class Content:
    """What a mail says. `text` and `html` say the same; the HTML shows `images` by `cid:` and their key."""

    text: str
    html: str
    images: Mapping[str, File]
    files: Sequence[File]


def mail(headers: Mapping[str, str], content: Content) -> bytes:
    """The whole mail, with CRLF line ends. Header values are one line, or folded by `words` and `mailbox`.

    Raises ValueError for a value with any other line break or control character.
    """
    for name, value in headers.items():
        unfolded = value.replace("\r\n ", "")
        if _CONTROL.search(unfolded) or _LINE_BREAK.search(unfolded):
            raise ValueError(f"the header {name} holds a control character")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{head}MIME-Version: 1.0\r\n".encode() + _body(content)


def one_line(text: str) -> str:
    """Text for a header: line breaks are spaces, other control characters are left out."""
    return _CONTROL.sub("", _LINE_BREAK.sub(" ", text)).strip()


def shown(text: str) -> str:
    """Text for a body: without control characters other than newlines and tabs."""
    return _CONTROL.sub("", text)


def words(text: str) -> str:
    """One line of text as a header's value: in encoded words (RFC 2047), unless it is short ASCII."""
    if text.isascii() and len(text) <= PLAIN_MAX_CHARS and "=?" not in text:
        return text
    return _encoded_words(text)


def mailbox(name: str, address: str) -> str:
    """An address, with the name that is shown for it unless that is empty."""
    if not name:
        return address
    plain = _ATOMS.fullmatch(name) and len(name) <= PLAIN_MAX_CHARS
    return f"{name if plain else _encoded_words(name)} <{address}>"


def _encoded_words(text: str) -> str:
    return "\r\n ".join(f"=?utf-8?b?{b64encode(piece).decode()}?=" for piece in _pieces(text))


def _pieces(text: str) -> Iterator[bytes]:
    """UTF-8 of whole characters, as much of it as an encoded word holds."""
    piece = bytearray()
    for char in text:
        encoded = char.encode()
        if len(piece) + len(encoded) > WORD_MAX_BYTES:
            yield bytes(piece)
            piece.clear()
        piece += encoded
    yield bytes(piece)


def _body(content: Content) -> bytes:
    html = _text("html", content.html)
    if content.images:
        images = (_file(file, "inline", f"Content-ID: <{key}>\r\n") for key, file in content.images.items())
        html = _multipart("related", html, *images)
    body = _multipart("alternative", _text("plain", content.text), html)
    if content.files:
        body = _multipart("mixed", body, *(_file(file, "attachment") for file in content.files))
    return body


def _multipart(kind: str, *entities: bytes) -> bytes:
    boundary = f"=_{secrets.token_hex(16)}"
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    opening = f"--{boundary}\r\n".encode()
    return head + b"".join(opening + entity for entity in entities) + f"--{boundary}--\r\n".encode()


def _text(subtype: str, text: str) -> bytes:
    text = text.rstrip("\n") + "\n"
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\n"
    lines = text.replace("\n", "\r\n")
    if text.isascii() and all(len(line) <= PLAIN_LINE_MAX_CHARS for line in text.split("\n")):
        return f"{head}Content-Transfer-Encoding: 7bit\r\n\r\n{lines}".encode()
    return f"{head}Content-Transfer-Encoding: base64\r\n\r\n".encode() + _base64(lines.encode())


def _file(file: File, disposition: str, extra: str = "") -> bytes:
    media_type = UNKNOWN_TYPE if file.media_type.startswith(_COMPOSITE) else file.media_type
    return (
        f"Content-Type: {media_type}\r\n"
        f"Content-Disposition: {disposition};\r\n {_file_name(file.name)}\r\n{extra}"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    ).encode() + _base64(file.content)


def _file_name(name: str) -> str:
    """The parameter with the name (RFC 2231). `File` keeps quotes and control characters out of it."""
    if name.isascii() and len(name) <= PLAIN_MAX_CHARS:
        return f'filename="{name}"'
    cut = name.encode()[:FILE_NAME_MAX_BYTES].decode(errors="ignore")
    return f"filename*=utf-8''{quote(cut, safe='')}"


def _base64(content: bytes) -> bytes:
    encoded = b64encode(content)
    starts = range(0, len(encoded), _BASE64_LINE_CHARS)
    return b"".join(encoded[start : start + _BASE64_LINE_CHARS] + b"\r\n" for start in starts)
