"""`CONSOLE` against a stream in memory that can break."""

import io
from collections.abc import Mapping
from typing import ClassVar, Self

from service.sender_settings import ConsoleSettings
from service.senders.base import BaseSender, Retry
from service.senders.console import ConsoleSender
from tests.contract.sender_suite import HOSTILE, Case, Rig, Situation

_NO_PROVIDER = "there is no provider: a stream takes the text or fails"


class Terminal(io.StringIO):
    """Keeps what is flushed; breaks like a pipe whose reader is gone."""

    broken = False

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError("Broken pipe")
        return super().write(text)


class ConsoleRig(Rig):
    name = "CONSOLE"
    address = "console"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.break_pipe(), Retry, "output", recovers=False),
        Case(
            Situation.UNREACHABLE, lambda rig: rig.out.close(), Retry, "output", recovers=False, note="closed"
        ),
    )
    cannot_happen: ClassVar = dict.fromkeys(set(Situation) - {Situation.UNREACHABLE}, _NO_PROVIDER)
    shown_as: ClassVar = {HOSTILE["terminal"]: r"\x1b[2J\x1b]0;title\x07 \x9b31m \x08"}

    async def __aenter__(self) -> Self:
        self.out = Terminal()
        return self

    def break_pipe(self) -> None:
        self.out.broken = True

    def sender(self) -> BaseSender:
        return ConsoleSender(ConsoleSettings(enabled=True), self.out)

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {"CONSOLE_ENABLED": ConsoleSender(ConsoleSettings(enabled=False), self.out)}

    def accepted(self) -> list[str]:
        if self.out.closed:
            return []
        texts: list[str] = []
        for line in self.out.getvalue().splitlines():
            if line.startswith("┌"):
                texts.append("")
            elif line.startswith("│ "):
                texts[-1] += line.removeprefix("│ ") + "\n"
        return texts
