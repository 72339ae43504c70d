"""What producers send in: one notification, as JSON.

The seed's three fields, `title`, `body` and `sender`, are a valid request for ever. Unknown fields
are refused by name, so that a typo is never silently dropped.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, to_json

from service.contract.fields import (
    LINE,
    NOT_BLANK,
    Address,
    Category,
    Link,
    LocaleTag,
    RecipientId,
    RequestId,
    SenderName,
    TemplateKey,
    TopicName,
    UtcDatetime,
)

CHAIN_MAX_SENDERS = 8
ESCALATE_MIN_SECONDS = 10
ESCALATE_MAX_SECONDS = 30 * 24 * 3600
BUTTON_TEXT_MAX_CHARS = 64
NAME_MAX_CHARS = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits that are settings. Passed to validation as its context."""

    title_chars: int = 1_000
    body_chars: int = 100_000
    metadata_bytes: int = 4_096
    params_bytes: int = 65_536
    buttons: int = 20
    attachments: int = 10


DEFAULT_BOUNDS = Bounds()


def _bounds(info: ValidationInfo) -> Bounds:
    return info.context if isinstance(info.context, Bounds) else DEFAULT_BOUNDS


class Priority(StrEnum):
    """Lanes: an urgent message overtakes everything that waits in the lanes below it."""

    URGENT = "urgent"
    HIGH = "high"
    NORMAL = "normal"
    BULK = "bulk"

    @property
    def lane(self) -> int:
        """0 for the first lane to be served, 3 for the last."""
        return _LANES[self]

    @classmethod
    def of_lane(cls, lane: int) -> "Priority":
        return _PRIORITIES[lane]


_PRIORITIES = tuple(Priority)
_LANES = {priority: lane for lane, priority in enumerate(_PRIORITIES)}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Button(_Strict):
    """A link under the message."""

    text: Annotated[str, Field(min_length=1, max_length=BUTTON_TEXT_MAX_CHARS, pattern=NOT_BLANK)]
    url: Link


class Attachment(_Strict):
    """A file the provider fetches by its address."""

    kind: Literal["photo", "document"]
    url: Link
    name: Annotated[str, Field(min_length=1, max_length=NAME_MAX_CHARS, pattern=LINE)] | None = None


class Target(_Strict):
    """To whom, where it is not one address: exactly one of these."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"minProperties": 1, "maxProperties": 1}
    )

    addresses: Annotated[
        dict[SenderName, Address],
        Field(
            min_length=1,
            max_length=CHAIN_MAX_SENDERS,
            json_schema_extra={"additionalProperties": False},
            description="An address for each sender of a chain; one left out uses its default address",
        ),
    ] = Field(default_factory=dict)
    recipient: RecipientId = Field("", description="A person, by the id they were stored with")
    topic: TopicName = Field("", description="Everybody who subscribed to it")

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError(
                "not_one_target",
                "names {count} targets; accepted: exactly one of addresses, recipient, topic",
                {"field": "to", "count": len(self.model_fields_set)},
            )
        return self


_SOMEBODY = {"type": "object", "anyOf": [{"required": ["recipient"]}, {"required": ["topic"]}]}


def _required(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema: the field is there, and is of that kind."""
    return {"required": [field], "properties": {field: schema}}


class NotificationRequest(_Strict):
    """One message to one person or chat."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "allOf": [
                {"anyOf": [{"required": ["body"]}, _required("template", {"type": "string"})]},
                {"anyOf": [{"required": ["sender"]}, _required("to", _SOMEBODY)]},
            ],
            "examples": [
                {"title": "Backup failed", "body": "disk full", "sender": "TG"},
                {
                    "id": "order-17-paid",
                    "title": "Order 17",
                    "body": "Your order **17** was paid.",
                    "format": "markdown",
                    "sender": ["TG", "WEBHOOK"],
                    "to": {"addresses": {"TG": "123456789", "WEBHOOK": "https://example.com/hooks/17"}},
                    "priority": "high",
                    "expires_at": "2030-01-01T12:00:00Z",
                    "buttons": [{"text": "Open", "url": "https://example.com/orders/17"}],
                    "metadata": {"order": 17},
                },
                {
                    "template": "order-paid",
                    "params": {"order": 17},
                    "to": {"recipient": "42"},
                    "category": "orders",
                },
            ],
        },
    )

    title: str = Field("", description="First line of the message; may be empty")
    body: Annotated[str, Field(min_length=1, pattern=NOT_BLANK)] = Field(
        "", description="The text, written in `format`; not blank. Required without `template`"
    )
    sender: (
        SenderName | Annotated[tuple[SenderName, ...], Field(min_length=1, max_length=CHAIN_MAX_SENDERS)]
    ) = Field(
        (),
        description='Channel, as "TG"; a list is a fallback chain: the next when one fails for good. To a recipient'
        " or topic it may be omitted: each person's own contacts in their order",
    )
    id: RequestId | None = Field(
        None,
        description="Idempotency key: a repeat with the same content is answered with the first result",
    )
    to: Address | Target | None = Field(
        None,
        description="Address for the sender, as a chat id, or a recipient or topic; omitted: the sender's default",
    )
    template: TemplateKey | None = Field(
        None, description="Key of a template, in the place of title and body"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="What the template asks for")
    locale: LocaleTag | None = Field(
        None, description="Language of the text, as ru; omitted: the recipient's, or the settings'"
    )
    format: Literal["plain", "markdown", "html"] = "plain"
    priority: Priority = Priority.NORMAL
    send_at: UtcDatetime | None = Field(None, description="Not before this time (RFC 3339 with offset)")
    expires_at: UtcDatetime | None = Field(
        None, description="Not after this time: what was not sent by then is `expired`"
    )
    buttons: tuple[Button, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    category: Category | None = Field(None, description="What kind of message it is; echoed in every event")
    escalate_after: Annotated[float, Field(ge=ESCALATE_MIN_SECONDS, le=ESCALATE_MAX_SECONDS)] | None = Field(
        None,
        description="Seconds after which the next sender is tried too, unless the message was acknowledged",
    )
    on_unknown: Literal["resend", "hold"] = Field(
        "resend",
        description="When it cannot be known whether the provider took it: send again, or hold it for a decision",
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Anything of the producer's; echoed in every event"
    )

    @property
    def chain(self) -> tuple[str, ...]:
        """The senders in the order in which they are tried; empty: each person's own."""
        return (self.sender,) if isinstance(self.sender, str) else self.sender

    @property
    def recipient(self) -> str | None:
        """The person it is for."""
        return (self.to.recipient or None) if isinstance(self.to, Target) else None

    @property
    def topic(self) -> str | None:
        """The topic it is for."""
        return (self.to.topic or None) if isinstance(self.to, Target) else None

    @model_validator(mode="after")
    def _judge(self, info: ValidationInfo) -> Self:
        bounds = _bounds(info)
        self._judge_presence()
        if len(self.title) > bounds.title_chars:
            raise _too_long("title", len(self.title), bounds.title_chars)
        if len(self.body) > bounds.body_chars:
            raise _too_long("body", len(self.body), bounds.body_chars)
        if self.buttons or self.attachments:
            self._judge_counts(bounds)
        if self.metadata:
            self._judge_size("metadata", bounds.metadata_bytes)
        if self.params:
            self._judge_size("params", bounds.params_bytes)
        if self.sender and (self.to is not None or not isinstance(self.sender, str)):
            self._judge_addresses()
        return self

    def _judge_presence(self) -> None:
        missing = []
        if self.template is None:
            if not self.body:
                missing.append("body")
            if self.params:
                raise _conflict("params", "are for a template; accepted: none without `template`")
        elif self.body or self.title or self.format != "plain":
            raise _conflict(
                "template", "brings title, body and format itself; accepted: it alone, or they alone"
            )
        if not self.sender and self.recipient is None and self.topic is None:
            missing.append("sender")
        if missing:
            raise PydanticCustomError(INCOMPLETE, "is incomplete", {"fields": missing})
        if self.escalate_after is not None and len(self.chain) == 1:
            raise _conflict("escalate_after", "needs a sender to escalate to; accepted: a chain in `sender`")

    def _judge_counts(self, bounds: Bounds) -> None:
        for field, most in (("buttons", bounds.buttons), ("attachments", bounds.attachments)):
            count = len(getattr(self, field))
            if count > most:
                raise PydanticCustomError(
                    "too_many",
                    "has {count} items; accepted: at most {most}",
                    {"field": field, "count": count, "most": most},
                )

    @field_validator("metadata", "params")
    @classmethod
    def _has_portable_numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return portable(value)

    def _judge_size(self, field: str, most: int) -> None:
        if (size := len(to_json(getattr(self, field)))) > most:
            raise PydanticCustomError(
                "too_large",
                "is {size} bytes as JSON; accepted: at most {most}",
                {"field": field, "size": size, "most": most},
            )

    def _judge_addresses(self) -> None:
        chain = self.chain
        if len(set(chain)) != len(chain):
            raise PydanticCustomError(
                "repeated_sender", "names a sender twice; accepted: each sender once", {"field": "sender"}
            )
        if isinstance(self.to, str) and len(chain) > 1:
            raise PydanticCustomError(
                "ambiguous_to",
                "one address cannot serve {count} senders; accepted: {accepted}",
                {"field": "to", "count": len(chain), "accepted": f'{{"addresses": {{"{chain[0]}": "…"}}}}'},
            )
        if (
            isinstance(self.to, Target)
            and self.to.addresses
            and (strangers := self.to.addresses.keys() - set(chain))
        ):
            raise PydanticCustomError(
                "stranger_in_to",
                "has an address for {names}, which `sender` does not name; accepted: {accepted}",
                {"field": "to", "names": ", ".join(sorted(strangers)), "accepted": ", ".join(chain)},
            )


INCOMPLETE = "incomplete"
"""Fields are missing that other fields would make unnecessary; `fields` names them."""
CROSS_FIELD_CODES = frozenset({"repeated_sender", "ambiguous_to", "stranger_in_to", "conflict"})
"""Problems between fields that are each fine alone, which no JSON schema can tell."""


def _conflict(field: str, problem: str) -> PydanticCustomError:
    return PydanticCustomError("conflict", "{problem}", {"field": field, "problem": problem})


def _too_long(field: str, length: int, most: int) -> PydanticCustomError:
    return PydanticCustomError(
        "too_long",
        "has {length} characters; accepted: at most {most}",
        {"field": field, "length": length, "most": most},
    )


def portable(value: dict[str, Any]) -> dict[str, Any]:
    """An object with numbers as every reader of JSON takes them."""
    try:
        return {key: _portable(item) for key, item in value.items()}
    except OverflowError:
        raise PydanticCustomError(
            "number_range", "has a number that no double can hold; accepted: up to ±1.7e308, no NaN"
        ) from None


def _portable(value: Any) -> Any:
    """The value with numbers as every reader of JSON takes them: integers of 64 bits, or else doubles."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    if isinstance(value, float) and not isfinite(value):
        raise OverflowError
    return value
