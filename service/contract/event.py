"""What happened in the producer's own system, as `order.paid`: triggers wait for it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import to_json

from service.contract.fields import RecipientId, RequestId
from service.contract.problems import ContractError, FieldProblem, Wording, field_problems
from service.contract.request import Bounds, portable

EVENT_MAX_CHARS = 128

EventName = Annotated[
    str, Field(min_length=1, max_length=EVENT_MAX_CHARS, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")
]


class DomainEvent(BaseModel):
    """Something that happened, to whom, and what is known of it."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"event": "order.paid", "recipient": "42", "data": {"order_id": 17, "total": 12.5}},
                {"id": "signup-42", "event": "user.signed-up", "recipient": "42"},
            ]
        },
    )

    event: EventName = Field(description="What happened, as order.paid")
    recipient: RecipientId | None = Field(
        None, description="Whom it is about, by the id they are stored with"
    )
    data: dict[str, Any] = Field(default_factory=dict, description="What triggers may ask about and use")
    id: RequestId | None = Field(
        None, description="Idempotency key: an event that comes again with the same id does nothing"
    )

    @field_validator("data")
    @classmethod
    def _has_portable_numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return portable(value)


_WORDING = Wording(
    accepted={
        "": "a JSON object",
        "event": "letters, digits, dots, dashes, colons and underscores, as order.paid",
        "recipient": "1 to 128 characters on one line, without a slash",
        "id": "1 to 128 characters on one line",
        "data": "a JSON object",
    },
    models={"": DomainEvent},
)


def parse_event(raw: bytes | bytearray | memoryview | str, bounds: Bounds) -> DomainEvent:
    """One event from its JSON, whose `data` may be as large as `params`. Raises `ContractError`."""
    try:
        event = DomainEvent.model_validate_json(bytes(raw) if isinstance(raw, memoryview) else raw)
    except ValidationError as error:
        raise ContractError(field_problems(error.errors(include_url=False), _WORDING)) from None
    if event.data and (size := len(to_json(event.data))) > bounds.params_bytes:
        problem = f"is {size} bytes as JSON; accepted: at most {bounds.params_bytes}"
        raise ContractError([FieldProblem(field="data", problem=problem, code="too_large")])
    return event
