"""What a mailing is made of: its content, whom it is for, and how it goes out.

These models hold what a JSON schema can tell; `request_of` judges the rest, as for any notification.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError, to_json

from service.audience.people import QuietHours
from service.audience.segments import Audience
from service.contract import (
    CHAIN_MAX_SENDERS,
    Attachment,
    Bounds,
    Button,
    ContractError,
    FieldProblem,
    NotificationRequest,
    Priority,
    SenderName,
    UtcDatetime,
    parse_request,
)
from service.contract.fields import LINE, NOT_BLANK, Category, LocaleTag, TemplateKey
from service.contract.request import ESCALATE_MAX_SECONDS, ESCALATE_MIN_SECONDS, INCOMPLETE
from service.errors import MailingRefused

_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_STAND_IN = {"recipient": "-"}
RATE_MAX = 100_000.0

Share = Annotated[float, Field(gt=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MailingContent(_Strict):
    """What everybody gets: the fields of a notification, without whom it is for and when."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "anyOf": [
                {"required": ["body"]},
                {"required": ["template"], "properties": {"template": {"type": "string"}}},
            ],
            "examples": [{"title": "New prices", "body": "From **Monday** on.", "format": "markdown"}],
        },
    )

    title: str = ""
    body: Annotated[str, Field(min_length=1, pattern=NOT_BLANK)] = Field(
        "", description="Required without `template`"
    )
    format: Literal["plain", "markdown", "html"] = "plain"
    template: TemplateKey | None = Field(
        None, description="Key of a template, in the place of title and body"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="What the template asks for")
    locale: LocaleTag | None = Field(None, description="Language of the text; omitted: each recipient's own")
    sender: (
        SenderName | Annotated[tuple[SenderName, ...], Field(min_length=1, max_length=CHAIN_MAX_SENDERS)]
    ) = Field((), description="As in a notification; omitted: each recipient's own contacts in their order")
    category: Category | None = Field(None, description="What preferences and quiet hours are keyed on")
    priority: Priority = Priority.BULK
    buttons: tuple[Button, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    expires_at: UtcDatetime | None = Field(
        None, description="Not after this time: nobody gets it any more, and the mailing ends"
    )
    escalate_after: Annotated[float, Field(ge=ESCALATE_MIN_SECONDS, le=ESCALATE_MAX_SECONDS)] | None = None
    on_unknown: Literal["resend", "hold"] = "resend"
    metadata: dict[str, Any] = Field(default_factory=dict, description="Echoed in every event")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.template is None and not self.body:
            raise PydanticCustomError(INCOMPLETE, "is incomplete", {"fields": ["body"]})
        return self


class Window(_Strict):
    """From `from` until before `until` by each recipient's own clock; over midnight when `until` is earlier."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"from": "10:00", "until": "20:00"}]}
    )

    opens: Annotated[str, Field(alias="from", pattern=_CLOCK)]
    closes: Annotated[str, Field(alias="until", pattern=_CLOCK)]

    @property
    def closed(self) -> QuietHours:
        """The hours outside it."""
        return QuietHours.parse(f"{self.closes}-{self.opens}")


def _whole(value: object) -> object:
    """JSON knows one kind of number: 5.0 is 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Canary(_Strict):
    """Who gets it first, before it is decided whether the others do: so many recipients, or that share of all."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "anyOf": [{"required": ["recipients"]}, {"required": ["share"]}],
            "examples": [{"recipients": 100}, {"share": 0.01, "approval": True}],
        },
    )

    recipients: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000), BeforeValidator(_whole)] = 0
    share: Share = 1.0
    approval: StrictBool = Field(
        default=False, description="Once they have it, wait for a person's `approve` as well"
    )

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if not self.model_fields_set & {"recipients", "share"}:
            raise PydanticCustomError("incomplete_canary", "has no size; accepted: recipients, share or both")
        return self

    def size(self, planned: int) -> int:
        """How many they are; of both the smaller."""
        by_share = max(1, round(self.share * planned)) if "share" in self.model_fields_set else planned
        return min(self.recipients, by_share) if "recipients" in self.model_fields_set else by_share


class Limits(_Strict):
    """Shares of the recipients whom a provider decided about; above one of them the mailing pauses. 1 is no limit."""

    failed: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="Failed for good, other than blocked"
    )
    blocked: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="Every address tried is dead or its owner blocked us"
    )


class MailingDraft(_Strict):
    """A mailing as it is written down."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "New prices",
                    "content": {"title": "New prices", "body": "From Monday on.", "category": "news"},
                    "audience": {"topic": "news"},
                    "window": {"from": "10:00", "until": "20:00"},
                    "canary": {"share": 0.01},
                }
            ]
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=LINE)] = Field(
        description="What people call it"
    )
    content: MailingContent
    audience: Audience
    start_at: UtcDatetime | None = Field(None, description="Once started it begins then; null: at once")
    window: Window | None = Field(None, description="When it may go out; null: at any time")
    rate: Annotated[float, Field(gt=0, le=RATE_MAX)] | None = Field(
        None, description="Messages a second at most, under what the senders allow"
    )
    canary: Canary | None = None
    limits: Limits = Limits.model_validate({})


def parse_draft(value: object) -> MailingDraft:
    """From JSON that is already read. Raises pydantic's ValidationError."""
    return MailingDraft.model_validate_json(to_json(value))


def dump_draft(draft: MailingDraft) -> str:
    """The JSON that `MailingDraft` reads again."""
    return draft.model_dump_json(by_alias=True, exclude_unset=True)


def request_of(draft: MailingDraft, bounds: Bounds) -> NotificationRequest:
    """The notification that everybody gets, to nobody yet. Raises `MailingRefused`."""
    if draft.window is not None and draft.window.opens == draft.window.closes:
        problem = "is no time at all; accepted: two different times, or null for any time"
        raise MailingRefused([FieldProblem(field="window", problem=problem, code="conflict")])
    content = draft.content.model_dump(mode="json", exclude_unset=True)
    content |= {"priority": draft.content.priority, "to": _STAND_IN}
    try:
        request = parse_request(to_json(content), bounds)
    except ContractError as error:
        problems = [p.model_copy(update={"field": f"content.{p.field}"}) for p in error.problems]
        raise MailingRefused(problems) from None
    return request.model_copy(update={"to": None})
