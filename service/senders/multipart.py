"""Forms with files, `multipart/form-data` (RFC 7578)."""

from collections.abc import Mapping
from secrets import token_hex

from service.senders.files import File

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def multipart(fields: Mapping[str, str | File]) -> tuple[str, bytes]:
    """The Content-Type and the body of a form."""
    boundary = token_hex(16)
    pieces = [
        f"--{boundary}\r\n{_head(name, value)}\r\n\r\n".encode() + _content(value) + b"\r\n"
        for name, value in fields.items()
    ]
    return f"multipart/form-data; boundary={boundary}", b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _head(name: str, value: str | File) -> str:
    if isinstance(value, str):
        return f'content-disposition: form-data; name="{name}"'
    filename = value.name.translate(_ESCAPES)
    return (
        f'content-disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        f"content-type: {value.media_type}"
    )


def _content(value: str | File) -> bytes:
    return value.encode() if isinstance(value, str) else value.content
