"""Message properties that the AMQP client cannot read.

A producer may put any bytes there, and the broker passes them on. The client closes the connection
over a text that is not UTF-8 or a time out of range; the message then comes again and closes the next
one. Nothing here needs those values, so they are read as nothing instead.
"""

from collections.abc import Callable
from typing import Any

from pamqp import decode

Reader = Callable[[bytes], tuple[int, Any]]


def read_odd_properties_as_nothing() -> None:
    """Change the client's table of readers, for this process. Values that can be read are read as before."""
    decode.METHODS.update(
        shortstr=_lenient(decode.short_str, lambda value: 1 + value[0], ""),
        timestamp=_lenient(decode.timestamp, lambda _: 8, None),
        table=_lenient(decode.field_table, lambda value: 4 + int.from_bytes(value[:4]), {}),
    )


def _lenient(read: Reader, size: Callable[[bytes], int], nothing: object) -> Reader:
    def reader(value: bytes) -> tuple[int, Any]:
        try:
            return read(value)
        except (ValueError, OverflowError, OSError, IndexError, RecursionError):
            return size(value), nothing

    return reader
