"""Cutting a stream of bytes into records, as it arrives."""

from collections.abc import Iterator
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One record without its line end, and the line it begins on, from 1. `raw` is None when it was too long."""

    line: int
    raw: bytes | None


class Records:
    """Lines; where `quoted`, a line break within quotation marks belongs to the record.

    A record of more than `most` bytes is let go as it arrives, up to the next line break.
    """

    def __init__(self, *, quoted: bool, most: int) -> None:
        self._quoted = quoted
        self._most = most
        self._line = 0
        self._rest = b""
        self._rest_is_cut = False
        self._held: list[bytes] = []
        self._held_size = 0
        self._open = False

    def feed(self, chunk: bytes) -> Iterator[Record]:
        """The records that end in this chunk."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._take(line)
        if self._held_size + len(self._rest) > self._most:
            self._rest, self._rest_is_cut = b"", True

    def end(self) -> Iterator[Record]:
        """The record that no line break ends."""
        if self._rest or self._rest_is_cut or self._held:
            yield from self._take(self._rest)
        if self._held:
            yield self._record()

    def _take(self, line: bytes) -> Iterator[Record]:
        self._line += 1
        if self._line == 1:
            line = line.removeprefix(_BOM)
        self._held.append(line.removesuffix(b"\r"))
        self._held_size += len(line) + 1 + (self._most + 1 if self._rest_is_cut else 0)
        self._rest_is_cut = False
        if self._quoted and line.count(b'"') % 2:
            self._open = not self._open
        if not self._open or self._too_long:
            yield self._record()

    @property
    def _too_long(self) -> bool:
        return self._held_size > self._most + 1  # the last line's end is not of the record

    def _record(self) -> Record:
        first = self._line - len(self._held) + 1
        raw = None if self._too_long else b"\n".join(self._held)
        self._held, self._held_size, self._open = [], 0, False
        return Record(first, raw)
