"""The wire messages: what producers send in and what the service reports back.

These models are the AsyncAPI contract. The seed's three fields, `title`, `body` and `sender`, are a
valid request for ever. Unknown fields are refused by name, so that a typo is never silently dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, to_json

ID_MAX_CHARS = 128
ADDRESS_MAX_CHARS = 2_048
SENDER_MAX_CHARS = 64
CATEGORY_MAX_CHARS = 64
CHAIN_MAX_SENDERS = 8
BUTTON_TEXT_MAX_CHARS = 64
URL_MAX_CHARS = 2_048
NAME_MAX_CHARS = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits that are settings. Passed to validation as its context."""

    title_chars: int = 1_000
    body_chars: int = 100_000
    metadata_bytes: int = 4_096
    buttons: int = 20
    attachments: int = 10


DEFAULT_BOUNDS = Bounds()


def _bounds(info: ValidationInfo) -> Bounds:
    return info.context if isinstance(info.context, Bounds) else DEFAULT_BOUNDS


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError(
            "datetime_range", "lies outside the years 1 to 9999 in UTC; accepted: a date within them"
        ) from None


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
# PostgreSQL's text cannot hold NUL, and nobody means it: refused where a value becomes a column.
_LINE = r"^[^\x00-\x1f\x7f]+$"
_HTTPS = r"^https?://[^\s\x00-\x1f\x7f]+$"
_NOT_BLANK = r"\S"

SenderName = Annotated[str, Field(min_length=1, max_length=SENDER_MAX_CHARS, pattern=_LINE)]
Address = Annotated[str, Field(min_length=1, max_length=ADDRESS_MAX_CHARS, pattern=_LINE)]
Link = Annotated[str, Field(max_length=URL_MAX_CHARS, pattern=_HTTPS)]


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

    text: Annotated[str, Field(min_length=1, max_length=BUTTON_TEXT_MAX_CHARS, pattern=_NOT_BLANK)]
    url: Link


class Attachment(_Strict):
    """A file the provider fetches by its address."""

    kind: Literal["photo", "document"]
    url: Link
    name: Annotated[str, Field(min_length=1, max_length=NAME_MAX_CHARS, pattern=_LINE)] | None = None


class Addresses(_Strict):
    """One address for each sender of a fallback chain; a sender left out uses its default address."""

    addresses: Annotated[
        dict[SenderName, Address], Field(min_length=1, max_length=CHAIN_MAX_SENDERS)
    ]


class NotificationRequest(_Strict):
    """One message to one person or chat."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"title": "Backup failed", "body": "disk full", "sender": "TG"},
                {
                    "id": "order-17-paid",
                    "title": "Order 17",
                    "body": "Your order **17** was paid.",
                    "format": "markdown",
                    "sender": ["TG", "WEBHOOK"],
                    "to": {
                        "addresses": {"TG": "123456789", "WEBHOOK": "https://example.com/hooks/17"}
                    },
                    "priority": "high",
                    "expires_at": "2030-01-01T12:00:00Z",
                    "buttons": [{"text": "Open", "url": "https://example.com/orders/17"}],
                    "metadata": {"order": 17},
                },
            ]
        },
    )

    title: str = Field("", description="First line of the message; may be empty")
    body: Annotated[str, Field(min_length=1, pattern=_NOT_BLANK)] = Field(
        description="The text, written in `format`; not blank"
    )
    sender: SenderName | Annotated[
        tuple[SenderName, ...], Field(min_length=1, max_length=CHAIN_MAX_SENDERS)
    ] = Field(description='Channel, as "TG"; a list is a fallback chain: the next when one fails for good')
    id: Annotated[str, Field(min_length=1, max_length=ID_MAX_CHARS, pattern=_LINE)] | None = Field(
        None,
        description="Idempotency key: a repeat with the same content is answered with the first result",
    )
    to: Address | Addresses | None = Field(
        None, description="Address for the sender, as a chat id; omitted: the sender's default address"
    )
    format: Literal["plain", "markdown", "html"] = "plain"
    priority: Priority = Priority.NORMAL
    send_at: UtcDatetime | None = Field(None, description="Not before this time (RFC 3339 with offset)")
    expires_at: UtcDatetime | None = Field(
        None, description="Not after this time: what was not sent by then is `expired`"
    )
    buttons: tuple[Button, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    category: Annotated[
        str, Field(min_length=1, max_length=CATEGORY_MAX_CHARS, pattern=_LINE)
    ] | None = Field(None, description="What kind of message it is; echoed in every event")
    on_unknown: Literal["resend", "hold"] = Field(
        "resend",
        description="When it cannot be known whether the provider took it: send again, or hold it for a decision",
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Anything of the producer's; echoed in every event"
    )

    @property
    def chain(self) -> tuple[str, ...]:
        """The senders in the order in which they are tried."""
        return (self.sender,) if isinstance(self.sender, str) else self.sender

    @field_validator("title", "body")
    @classmethod
    def _length(cls, value: str, info: ValidationInfo) -> str:
        bounds = _bounds(info)
        most = bounds.title_chars if info.field_name == "title" else bounds.body_chars
        if len(value) > most:
            raise PydanticCustomError(
                "too_long",
                "has {length} characters; accepted: at most {most}",
                {"length": len(value), "most": most},
            )
        return value

    @field_validator("buttons", "attachments")
    @classmethod
    def _count(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        bounds = _bounds(info)
        most = bounds.buttons if info.field_name == "buttons" else bounds.attachments
        if len(value) > most:
            raise PydanticCustomError(
                "too_many", "has {count} items; accepted: at most {most}", {"count": len(value), "most": most}
            )
        return value

    @field_validator("metadata")
    @classmethod
    def _size(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        most = _bounds(info).metadata_bytes
        if value and (size := len(to_json(value))) > most:
            raise PydanticCustomError(
                "too_large", "is {size} bytes as JSON; accepted: at most {most}", {"size": size, "most": most}
            )
        return value

    @model_validator(mode="after")
    def _one_address_one_sender(self) -> Self:
        if isinstance(self.to, str) and len(self.chain) > 1:
            raise PydanticCustomError(
                "ambiguous_to",
                'one address cannot serve {count} senders; accepted: {{"addresses": {{"{first}": "…"}}}}',
                {"count": len(self.chain), "first": self.chain[0]},
            )
        if isinstance(self.to, Addresses) and (
            strangers := self.to.addresses.keys() - set(self.chain)
        ):
            raise PydanticCustomError(
                "stranger_in_to",
                "has an address for {names}, which `sender` does not name",
                {"names": ", ".join(sorted(strangers))},
            )
        if len(set(self.chain)) != len(self.chain):
            raise PydanticCustomError("repeated_sender", "names a sender twice in `sender`")
        return self


class FieldProblem(BaseModel):
    """What is wrong with one field, and what is accepted in its place."""

    field: str = Field(description="Path of the field, as `buttons.0.url`; empty: the message as a whole")
    problem: str
    code: str = Field(description="Stable word for the kind of problem")


class ContractError(ValueError):
    """A message that does not follow the contract; `problems` says where and how."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.field or 'message'}: {p.problem}" for p in self.problems))


_PROBLEM_TEXTS = {
    "extra_forbidden": "is not a field of this message; accepted: {fields}",
    "missing": "is required",
}
_SHOWN_PROBLEMS = 20
_SHOWN_VALUE_CHARS = 80


def problems_of(error: ValidationError) -> tuple[FieldProblem, ...]:
    """A pydantic error in the contract's words: the field, its value's problem, what is accepted."""
    return tuple(_problem_of(detail) for detail in error.errors(include_url=False)[:_SHOWN_PROBLEMS])


def _problem_of(detail: ErrorDetails) -> FieldProblem:
    field = ".".join(str(step) for step in detail["loc"])
    code = detail["type"]
    if code == "extra_forbidden":
        fields = ", ".join(sorted(NotificationRequest.model_fields)) if len(detail["loc"]) == 1 else "see the schema"
        return FieldProblem(field=field, code=code, problem=_PROBLEM_TEXTS[code].format(fields=fields))
    if code in _PROBLEM_TEXTS:
        return FieldProblem(field=field, code=code, problem=_PROBLEM_TEXTS[code])
    problem = _problem_text(detail)
    value = detail.get("input")
    if isinstance(value, str | int | float | bool) and field:
        shown = repr(value)
        if len(shown) > _SHOWN_VALUE_CHARS:
            shown = shown[:_SHOWN_VALUE_CHARS] + "…"
        problem = f"{problem} (got {shown})"
    return FieldProblem(field=field, code=code, problem=problem)


def _problem_text(detail: ErrorDetails) -> str:
    pattern = detail.get("ctx", {}).get("pattern")
    if pattern == _NOT_BLANK:
        return "is blank; accepted: text with at least one visible character"
    if pattern == _LINE:
        return "has control characters; accepted: one line of text without them"
    if pattern == _HTTPS:
        return "is not a web address; accepted: https://…"
    if detail["type"] == "timezone_aware":
        return "has no UTC offset; accepted: RFC 3339, as 2030-01-01T12:00:00Z"
    return detail["msg"]


def parse_request(raw: bytes | bytearray | memoryview | str, bounds: Bounds = DEFAULT_BOUNDS) -> NotificationRequest:
    """One request from its JSON. Raises `ContractError`."""
    try:
        return NotificationRequest.model_validate_json(raw, context=bounds)
    except ValidationError as error:
        raise ContractError(problems_of(error)) from None


def parse_item(item: object, bounds: Bounds = DEFAULT_BOUNDS) -> NotificationRequest:
    """One request from JSON that is already read. Raises `ContractError`."""
    try:
        # JSON rules, so that a batch's items are judged exactly as single requests are.
        return NotificationRequest.model_validate_json(to_json(item), context=bounds)
    except ValidationError as error:
        raise ContractError(problems_of(error)) from None


class EventType(StrEnum):
    """What happened to a delivery, or to a sender as a whole."""

    ACCEPTED = "accepted"
    SENT = "sent"
    RETRYING = "retrying"
    THROTTLED = "throttled"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    REQUEUED = "requeued"
    SENDER_HALTED = "sender.halted"
    SENDER_PAUSED = "sender.paused"
    SENDER_RESUMED = "sender.resumed"


class EventError(BaseModel):
    """Why a delivery was not sent."""

    kind: str = Field(
        description="refused, gone, retry, throttled, halted, unknown, expired, lost: the class of the outcome"
    )
    code: str | None = Field(None, description="The provider's own code, as 403")
    reason: str


class NotificationEvent(BaseModel):
    """One change of one delivery, published at least once, in order for each delivery.

    A consumer recognises a repeat by `event_id`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "01940000-0000-7000-8000-000000000001",
                    "type": "sent",
                    "time": "2030-01-01T12:00:00.000000Z",
                    "id": "01940000-0000-7000-8000-000000000000",
                    "request_id": "order-17-paid",
                    "delivery_id": 42,
                    "sender": "TG",
                    "address": "123456789",
                    "attempt": 1,
                    "provider_message_ids": ["1001"],
                    "metadata": {"order": 17},
                }
            ]
        }
    )

    event_id: UUID
    type: EventType
    time: datetime
    id: UUID | None = Field(None, description="The notification; null when the event is about a sender")
    request_id: str | None = Field(None, description="The producer's `id`")
    delivery_id: int | None = None
    sender: str
    address: str | None = None
    attempt: int = 0
    provider_message_ids: tuple[str, ...] = ()
    error: EventError | None = None
    category: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class RejectedMessage(BaseModel):
    """A message that could not become a notification. It is kept and can be replayed over REST."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01940000-0000-7000-8000-000000000002",
                    "time": "2030-01-01T12:00:00.000000Z",
                    "source": "rabbit:notifications",
                    "reason": "bdy: is not a field of this message",
                    "problems": [
                        {"field": "bdy", "problem": "is not a field of this message", "code": "extra_forbidden"}
                    ],
                    "body": '{"title": "Backup failed", "bdy": "disk full", "sender": "TG"}',
                    "encoding": "utf-8",
                    "size": 62,
                    "truncated": False,
                }
            ]
        }
    )

    id: UUID
    time: datetime
    source: str = Field(description="Way in, as rabbit:notifications or kafka:notifications/0/17")
    reason: str
    problems: tuple[FieldProblem, ...] = ()
    body: str = Field(description="The raw message, or its beginning")
    encoding: Literal["utf-8", "base64"] = "utf-8"
    size: int = Field(description="Size of the raw message, bytes")
    truncated: bool = Field(False, description="`body` holds only the beginning; REST has the whole")
