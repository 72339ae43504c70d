"""Forms as providers read them: multipart and urlencoded."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Part:
    """One field of a form; `filename` is None where it is no file."""

    value: bytes
    filename: str | None = None
    content_type: str = "text/plain"

    @property
    def text(self) -> str:
        return self.value.decode()


def read_form(body: bytes, content_type: str) -> dict[str, Part]:
    """The fields of a form by name; empty when it is none."""
    if content_type.startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(body.decode(), keep_blank_values=True)
        return {name: Part(value.encode()) for name, value in pairs}
    boundary = re.fullmatch(r'multipart/form-data;\s*boundary="?([^";]+)"?', content_type)
    if boundary is None:
        return {}
    fields = {}
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(r'\bname="([^"]*)"', head.decode())
        filename = re.search(r'filename="([^"]*)"', head.decode())
        kind = re.search(r"content-type:\s*(\S+)", head.decode(), re.IGNORECASE)
        assert name is not None, head
        fields[name[1]] = Part(
            value.removesuffix(b"\r\n"), filename[1] if filename else None, kind[1] if kind else "text/plain"
        )
    return fields
