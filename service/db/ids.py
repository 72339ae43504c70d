"""Time-ordered identifiers."""

import random
import time
from datetime import datetime
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7(at_ns: int | None = None) -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, 12 bits below them, 62 random bits."""
    nanoseconds = time.time_ns() if at_ns is None else at_ns
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    below = rest * 4096 // 1_000_000
    chance = random.getrandbits(62)
    return UUID(int=(milliseconds & (2**48 - 1)) << 80 | _VERSION_7 | below << 64 | _VARIANT | chance)


def uuid7_floor(at: datetime) -> UUID:
    """The least UUIDv7 of that moment: everything below it is older."""
    milliseconds = max(0, int(at.timestamp() * 1000))
    return UUID(int=(milliseconds & (2**48 - 1)) << 80 | _VERSION_7 | _VARIANT)
