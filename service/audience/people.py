"""A person as planning sees them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any

_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
QUIET_PATTERN = f"^({_CLOCK})-({_CLOCK})$"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` until before `end` by the clock on the person's wall, over midnight when `end` is earlier.

    The same time twice means never: it is how a person has none where the settings have some.
    """

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "QuietHours":
        """From `22:00-08:00`. Raises ValueError."""
        found = re.fullmatch(QUIET_PATTERN, text)
        if found is None:
            raise ValueError(f"{text!r} are no quiet hours; accepted: as 22:00-08:00")
        start, end = found.groups()
        return cls(time.fromisoformat(start), time.fromisoformat(end))

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def hold_at(self, clock: time) -> bool:
        """Whether a clock that shows this is within them."""
        if self.start <= self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


@dataclass(frozen=True, slots=True)
class Contact:
    """A person's address for one sender."""

    id: int
    sender: str
    address: str
    active: bool


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient with everything that planning asks for.

    `contacts` are in the order of preference, inactive ones too. `mutes` are pairs of category and sender,
    None meaning any. `locale` (BCP 47), `zone` and `quiet` are None where the settings decide.
    """

    id: int
    external_id: str
    locale: str | None
    zone: str | None
    attributes: Mapping[str, Any]
    contacts: tuple[Contact, ...]
    muted: bool
    mutes: frozenset[tuple[str | None, str | None]]
    quiet: QuietHours | None

    def is_reached_at(self, sender: str, address: str) -> bool:
        """Whether that is an active contact of theirs."""
        return any((c.sender, c.address, c.active) == (sender, address, True) for c in self.contacts)
