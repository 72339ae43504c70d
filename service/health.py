"""Which parts of the process work. Whoever owns a part registers a probe for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "degraded", "down"]
_PROBE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class PartHealth:
    """The state of one part; `detail` says what is wrong, without secrets."""

    status: Status
    detail: str = ""


Probe = Callable[[], Awaitable[PartHealth]]


@dataclass(frozen=True, slots=True)
class _Part:
    probe: Probe
    required: bool


class Health:
    """All parts. A required part that is down makes the process down; anything else only degrades it."""

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}

    def register(self, name: str, probe: Probe, *, required: bool) -> None:
        """Add a part. A probe that raises, or takes longer than 4 s, counts as down."""
        self._parts[name] = _Part(probe, required)

    async def check(self) -> dict[str, PartHealth]:
        """Ask every part now."""
        answers = await asyncio.gather(*(_ask(part.probe) for part in self._parts.values()))
        return dict(zip(self._parts, answers, strict=True))

    async def part(self, name: str) -> PartHealth | None:
        """Ask one part now. None: this process has no such part."""
        part = self._parts.get(name)
        return None if part is None else await _ask(part.probe)

    def overall(self, parts: dict[str, PartHealth]) -> Status:
        """One word for the answers of `check`."""
        if any(health.status == "down" for name, health in parts.items() if self._parts[name].required):
            return "down"
        return "ok" if _all_ok(parts.values()) else "degraded"


def _all_ok(answers: Iterable[PartHealth]) -> bool:
    return all(health.status == "ok" for health in answers)


async def _ask(probe: Probe) -> PartHealth:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await probe()
    except TimeoutError:
        return PartHealth("down", "does not answer")
    except Exception as error:  # noqa: BLE001 - whatever a probe raises means that its part does not work
        return PartHealth("down", type(error).__name__)
