"""What has become of a mailing's recipients so far. Pure values, kept as JSON with the mailing."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

BLOCKED = "gone"
"""The class of error of an address that is dead, or whose owner blocked us."""


@dataclass(slots=True)
class Tally:
    """Recipients by how their delivery ended; `failed` by class of error, `suppressed` by reason.

    `erased`: their person was removed meanwhile. `unknown`: nobody knows whether the provider took it.
    """

    sent: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    suppressed: Counter[str] = field(default_factory=Counter)
    expired: int = 0
    cancelled: int = 0
    unknown: int = 0
    erased: int = 0

    @classmethod
    def load(cls, stored: str) -> "Tally":
        raw = orjson.loads(stored)
        plain = {name: raw.get(name, 0) for name in _PLAIN}
        return cls(
            **plain, failed=Counter(raw.get("failed", {})), suppressed=Counter(raw.get("suppressed", {}))
        )

    def dump(self) -> str:
        counters: dict[str, Any] = {"failed": dict(self.failed), "suppressed": dict(self.suppressed)}
        plain = {name: getattr(self, name) for name in _PLAIN}
        return orjson.dumps(plain | counters).decode()

    def add(self, status: str, kind: str | None, code: str | None, count: int) -> None:
        """So many more deliveries that have ended like this."""
        if status == "failed":
            self.failed[kind or "unknown"] += count
        elif status == "suppressed":
            self.suppressed[code or "unknown"] += count
        else:
            setattr(self, status, getattr(self, status) + count)

    @property
    def attempted(self) -> int:
        """Those of which a provider, or the lack of an answer, has decided."""
        return self.sent + self.failed.total() + self.unknown

    @property
    def blocked(self) -> int:
        return self.failed[BLOCKED]

    @property
    def ended(self) -> int:
        """All of them."""
        return self.attempted + self.suppressed.total() + self.expired + self.cancelled + self.erased


_PLAIN = ("sent", "expired", "cancelled", "unknown", "erased")


@dataclass(slots=True)
class Pace:
    """What rates are told from.

    `marks`: two moments (seconds since 1970) with what had been attempted by then, the older first. `base`:
    attempted, failed and blocked when the limits began to watch anew. `senders`: deliveries made by sender.
    """

    marks: list[tuple[float, int]] = field(default_factory=list)
    base: tuple[int, int, int] = (0, 0, 0)
    senders: Counter[str] = field(default_factory=Counter)

    @classmethod
    def load(cls, stored: str) -> "Pace":
        raw = orjson.loads(stored)
        marks = [(at, count) for at, count in raw.get("marks", ())]
        attempted, failed, blocked = raw.get("base", (0, 0, 0))
        return cls(marks, (attempted, failed, blocked), Counter(raw.get("senders", {})))

    def dump(self) -> str:
        return orjson.dumps({"marks": self.marks, "base": self.base, "senders": dict(self.senders)}).decode()

    def mark(self, now: float, attempted: int, every: float = 20.0) -> None:
        """Move on: the rate is that of the last `every` to twice `every` seconds."""
        if not self.marks:
            self.marks = [(now, attempted), (now, attempted)]
        elif now - self.marks[1][0] >= every:
            self.marks = [self.marks[1], (now, attempted)]

    def rate(self, now: float, attempted: int, least: float = 1.0) -> float | None:
        """Attempted a second of late; None: it is less than `least` seconds that it goes on."""
        if not self.marks or now - self.marks[0][0] < least:
            return None
        at, before = self.marks[0]
        return max(0.0, (attempted - before) / (now - at))

    def made(self, senders: Iterable[str]) -> None:
        """So many more deliveries were made."""
        self.senders.update(senders)
