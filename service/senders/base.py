"""What every sender is: `BaseSender`, and the outcomes it may answer with.

A sender turns one message into calls of one provider and says what came of it. It returns an
`Outcome` for everything a provider can answer; it raises only for its own bugs. It never retries,
waits for limits or touches the database: the engine does, from the outcome and the capabilities.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal
from uuid import UUID

from service.contract.fields import channel_of
from service.senders.relay import Action, Relay

TextFormat = Literal["plain", "markdown", "html"]
Priority = Literal["urgent", "high", "normal", "bulk"]
LengthUnit = Literal["characters", "utf-16 units", "bytes"]

PROBLEM = "problem"
"""The action under a notification by which its reader reports a problem with it."""


@dataclass(frozen=True, slots=True)
class Button:
    """A link under the message."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file the provider fetches from `url` (https). `name` is shown where the provider shows names."""

    kind: Literal["photo", "document"]
    url: str
    name: str | None = None


@dataclass(slots=True)
class Message:
    """One delivery as its sender sees it.

    `parts_done` holds the provider's ids of the parts an earlier attempt got through: a message
    that takes several calls resumes after them and never repeats one. `unsubscribe_url` takes a POST
    of RFC 8058, for channels whose programs offer that themselves; a link for people is in the text.
    """

    notification_id: UUID
    delivery_id: int
    address: str
    title: str
    body: str
    format: TextFormat = "plain"
    buttons: Sequence[Button] = ()
    attachments: Sequence[Attachment] = ()
    metadata: dict[str, object] = field(default_factory=dict)
    created_at: datetime | None = None
    attempt: int = 1
    parts_done: tuple[str, ...] = ()
    priority: Priority = "normal"
    expires_at: datetime | None = None
    unsubscribe_url: str | None = None
    relay: Relay | None = None
    """A step of a conversation, in the place of the text; only for senders that have the capability."""
    actions: Sequence[Action] = ()
    """Rows below the buttons; only for senders that have the capability."""


class Scope(StrEnum):
    """What a provider's throttling or temporary refusal is about."""

    ACCOUNT = "account"
    ADDRESS = "address"


@dataclass(slots=True)
class Sent:
    """The provider accepted it. `address` is set when the provider moved the recipient there."""

    parts: tuple[str, ...] = ()
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """Common to every other outcome: a text for people, the provider's code, the parts already accepted."""

    reason: str
    code: str | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled(NotSent):
    """Too fast. The bucket pauses for `retry_after` seconds (None: the engine chooses); no attempt is used."""

    retry_after: float | None = None
    scope: Scope = Scope.ACCOUNT


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(NotSent):
    """It was certainly not accepted and may succeed later (a 5xx, a refused connection).

    With the scope of an address the trouble is the recipient's or the message's own, and the provider
    is as well as before.
    """

    retry_after: float | None = None
    scope: Scope = Scope.ACCOUNT


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(NotSent):
    """The provider will never take this message: wrong content, missing permission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone(NotSent):
    """The address is dead: blocked, deleted, unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted(NotSent):
    """The account itself does not work (a wrong token): the whole sender stops, its rows wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(NotSent):
    """It may have been accepted: a timeout or a reset after the request had left."""


Outcome = Sent | Throttled | Retry | Refused | Gone | Halted | Unknown


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do, as data. Lengths are in the provider's own units, named in `length_unit`."""

    formats: frozenset[TextFormat] = frozenset({"plain"})
    max_length: int | None = None
    length_unit: LengthUnit = "characters"
    splits: bool = False
    buttons: bool = False
    actions: bool = False
    """It shows buttons whose action comes back to the service."""
    relays: bool = False
    """It can take the steps of a relayed conversation."""
    attachments: frozenset[Literal["photo", "document"]] = frozenset()
    ordered: bool = True
    """Messages to one address are sent one after the other, in the order of acceptance."""
    one_provider: bool = True
    """All addresses are served by the same machine: when it is sick, the whole sender is left alone for a
    while. False: each address is somebody else's, and judged for itself."""
    shared_addresses: bool = False
    """An address means the same to every account, as a mailbox does: they share the contacts of the plain name."""
    secret_addresses: bool = False
    """Whoever knows an address can send there, as with an incoming webhook's: errors and settings do not show it,
    and elsewhere `shown_address` hides its secret part."""
    devices: bool = False
    """An address is one of a person's devices, registered by an app: what is for the person goes to each that is
    active. Not for a channel that is `ordered`."""
    deduplicates: bool = False
    """The provider itself drops a repeat of the same delivery, so an unknown outcome is safe to resend."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the provider allows the account. None: no limit."""

    rate: float | None = None
    """Messages a second over the whole account."""
    concurrency: int | None = None
    """Calls under way at once; None: the engine's default."""
    address_concurrency: int = 10
    """Calls under way at once to one address, where messages are not `ordered`."""


class AddressError(ValueError):
    """An address this sender can never use; the text says what is accepted."""


class BaseSender(ABC):
    """One channel and its account.

    Subclass it in a file of its own and add one row to `service.senders.SENDERS`.
    """

    name: str
    """How requests call it: upper case, `TG`; a further account gets its own when it is built, `TG:alerts`."""
    capabilities: ClassVar[Capabilities] = Capabilities()
    retry_delays: ClassVar[tuple[float, ...] | None] = None
    """Seconds before each retry, instead of the engine's default."""

    limits: Limits = Limits()
    default_address: str | None = None
    off_reason: str | None = None
    """Why this sender cannot be used (a missing credential, by the setting's name); None: it is on."""

    @property
    def contacts_name(self) -> str:
        """Under which name people's contacts for it are kept."""
        return channel_of(self.name) if self.capabilities.shared_addresses else self.name

    def check_address(self, address: str) -> str:
        """The address in its canonical form. Raises `AddressError`."""
        return address

    def check_device(self, token: str) -> str:
        """The token of a device in its canonical form: an address that leads nowhere else. Raises `AddressError`."""
        return self.check_address(token)

    def address_spacing(self, address: str) -> float:
        """Least seconds between two messages to this address; 0: no limit of its own."""
        del address
        return 0.0

    def start_url(self, token: str) -> str | None:
        """Where a person goes to be linked by this token; None: the channel has no such place, or its name is not set."""
        del token
        return None

    async def preview(self, message: Message) -> Sequence[str]:
        """The texts `send` would send, one for each call of the provider. Nothing is sent."""
        return ["\n\n".join(text for text in (message.title, message.body) if text)]

    def pacing_key(self, address: str) -> str:
        """Addresses with one key share the spacing and the pauses: the topics of one group, say."""
        return address

    async def open(self) -> None:
        """Make the connections. Called once before the first `send`; must not fail because a provider is down."""

    @abstractmethod
    async def send(self, message: Message) -> Outcome:
        """Send one message. The engine cancels it after `DELIVERY_SEND_TIMEOUT_SECONDS` (outcome: unknown)."""

    async def close(self) -> None:
        """Close what `open` made."""
