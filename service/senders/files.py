"""Attachments for providers that want the file itself: fetched from its address, within limits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from service.senders.base import AddressError, Attachment, Refused, Retry, Scope
from service.senders.egress import outward_session, web_address
from service.settings import AttachmentSettings

CODE = "attachment"
"""The code of every outcome for which an attachment is the reason."""
UNKNOWN_TYPE = "application/octet-stream"
NAME_MAX_CHARS = 128
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,63}")
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029"\\/]')
_TEMPORARY = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class File:
    """A fetched attachment. `name` has no path, quotes or control characters; it is never empty."""

    content: bytes
    media_type: str
    name: str


class FileError(Exception):
    """An attachment that cannot be had; `outcome` is what that means for its message."""

    def __init__(self, reason: str, *, temporary: bool = False) -> None:
        super().__init__(reason)
        self.outcome: Retry | Refused = (
            Retry(reason=reason, code=CODE, scope=Scope.ADDRESS)
            if temporary
            else Refused(reason=reason, code=CODE)
        )


class Files:
    """Fetches attachments. Private addresses and http are refused unless allowed. Redirects are not followed."""

    def __init__(self, settings: AttachmentSettings) -> None:
        self._max_bytes = settings.max_bytes
        self._timeout_seconds = settings.timeout_seconds
        self._allow_private = settings.allow_private
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, attachments: Sequence[Attachment]) -> list[File]:
        """The files, in that order. Raises `FileError`."""
        files: list[File] = []
        left = self._max_bytes
        for attachment in attachments:
            files.append(await self._fetch(attachment, left))
            left -= len(files[-1].content)
        return files

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fetch(self, attachment: Attachment, left: int) -> File:
        if self._session is None:
            self._session = outward_session(self._timeout_seconds, allow_private=self._allow_private)
        try:
            url = web_address(attachment.url, allow_private=self._allow_private)
            headers = {"accept-encoding": "identity"}
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                _judge(response.status)
                content = await self._read(response, left)
                return File(content, _media_type(response.content_type), _name(attachment.name or url.name))
        except (AddressError, aiohttp.InvalidURL) as error:
            raise FileError(f"the attachment's address {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            # Its text may hold the address, and that a secret of its own.
            raise FileError(
                f"the attachment could not be fetched: {type(error).__name__}", temporary=True
            ) from error

    async def _read(self, response: aiohttp.ClientResponse, left: int) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > left:
                raise FileError(f"the attachments are too large; accepted: {self._max_bytes} bytes in all")
        return bytes(content)


def _judge(status: int) -> None:
    if status != HTTPStatus.OK:
        temporary = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TEMPORARY
        raise FileError(f"the attachment's address answered {status}", temporary=temporary)


def _media_type(given: str) -> str:
    given = given.lower()
    return given if _MEDIA_TYPE.fullmatch(given) else UNKNOWN_TYPE


def _name(given: str) -> str:
    return _NOT_IN_NAMES.sub("", given).strip(". ")[:NAME_MAX_CHARS] or "file"
