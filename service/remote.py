"""Calls of a running service, for the command line."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

CALL_SECONDS = 30.0
SILENCE_SECONDS = 60.0
"""Longer than the heartbeat of a stream: after this it is cut."""


class RemoteError(Exception):
    """The service refused a call, or does not answer; the text says what."""


def call(url: str, key: str, path: str, body: Mapping[str, Any] | None, method: str) -> Any:
    """The JSON that a call is answered with. Raises `RemoteError`."""
    with _answer(url, key, path, body, method, CALL_SECONDS) as answer:
        return json.load(answer)


def events(url: str, key: str, path: str) -> Iterator[dict[str, Any]]:
    """The data of each event of a server-sent stream, as they come. Raises `RemoteError`."""
    with _answer(url, key, path, None, "GET", SILENCE_SECONDS) as lines:
        yield from data_of(lines)


def data_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The data of the events in these lines."""
    for line in lines:
        if line.startswith(b"data: "):
            event: dict[str, Any] = json.loads(line[6:])
            yield event


@contextmanager
def _answer(
    url: str, key: str, path: str, body: Mapping[str, Any] | None, method: str, seconds: float
) -> Iterator[BinaryIO]:
    if not url.startswith(("http://", "https://")):
        raise RemoteError(f"{url!r} is no web address")
    if not key:
        raise RemoteError("no API key: give it with --key, or set NOTIFICATIONS_API_KEY")
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url.rstrip("/") + path, data, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            yield answer
    except urllib.error.HTTPError as error:
        raise RemoteError(_reason(error.read()) or str(error)) from None
    except OSError as error:
        raise RemoteError(f"{url} does not answer: {error}") from None


def _reason(problem: bytes) -> str | None:
    try:
        return str(json.loads(problem)["detail"])
    except (ValueError, KeyError, TypeError):
        return None
