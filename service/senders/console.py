"""The `CONSOLE` sender: prints each message as a person would read it, for trying things out."""

from collections.abc import Sequence
from typing import TextIO

from service.sender_settings import ConsoleSettings
from service.senders.base import BaseSender, Capabilities, Message, Outcome, Retry, Sent
from service.senders.markup import plain_text, read

# What moves the cursor, recolours or retitles a terminal is shown as \x1b and the like instead of obeyed.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_IN_TEXT = {code: shown for code, shown in _CONTROLS.items() if code not in (ord("\n"), ord("\t"))}


class ConsoleSender(BaseSender):
    """Writes to `out` at once. The address is any text; it is shown with the message."""

    name = "CONSOLE"
    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        buttons=True,
        attachments=frozenset({"photo", "document"}),
        shared_addresses=True,
    )
    default_address = "console"

    def __init__(self, settings: ConsoleSettings, out: TextIO) -> None:
        self._out = out
        if not settings.enabled:
            self.off_reason = "CONSOLE_ENABLED is false; accepted: true"

    async def preview(self, message: Message) -> Sequence[str]:
        return [block(message)]

    async def send(self, message: Message) -> Outcome:
        encoding = self._out.encoding or "utf-8"
        try:
            self._out.write(block(message).encode(encoding, "backslashreplace").decode(encoding))
            self._out.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed on our side
            return Retry(reason=f"cannot write to standard output: {error}", code="output")
        return Sent((str(message.delivery_id),))


def block(message: Message) -> str:
    """The message in a frame of its own. Its texts cannot leave the frame or steer the terminal."""
    sections = [
        message.title,
        plain_text(read(message.body, message.format)) if message.format != "plain" else message.body,
        "\n".join(f"[{button.text}] {button.url}" for button in message.buttons),
        "\n".join(f"{file.name or file.kind}: {file.url}" for file in message.attachments),
    ]
    text = "\n\n".join(section for section in sections if section).replace("\r\n", "\n").translate(_IN_TEXT)
    framed = "".join(f"│ {line}\n" for line in text.split("\n"))
    return f"┌─ to {message.address.translate(_CONTROLS)} · {message.notification_id}\n{framed}└─\n"
