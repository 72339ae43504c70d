"""What a trigger is made of: when it fires, what it makes, and what happens to what was missed.

These models hold what a JSON schema can tell; `checks` has the rest.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
)

from service.content.drafts import PARAM, storable
from service.contract import EventName, UtcDatetime
from service.contract.fields import LINE, WHOLE

KINDS = ("once", "interval", "cron", "recipient-cron", "event")
STATES = ("active", "paused", "finished", "failed")
YEAR_SECONDS = 366 * 24 * 3600
PATH = r"^(recipient|event|id|data(\.[^.\x00-\x1f\x7f]{1,100}){1,8})$"
SKIP_LATE_SECONDS = 60.0
LATE_SECONDS = 24 * 3600.0
_MOST = 20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


CronExpression = Annotated[
    str,
    StringConstraints(min_length=9, max_length=200, pattern=r"^[0-9A-Za-z*/,\- ]+$"),
    Field(description="minute, hour, day of the month, month, day of the week, as `0 9 * * MON-FRI`"),
]
ZoneName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+\-/]+$"),
]
EventPath = Annotated[
    str,
    StringConstraints(pattern=PATH),
    Field(description="`recipient`, `event`, `id` or a place in the data, as `data.order.id`"),
]


AnyObject = Annotated[dict[str, Any], AfterValidator(storable)]


class Once(_Strict):
    """At one time."""

    kind: Literal["once"]
    at: UtcDatetime


class Interval(_Strict):
    """Every so many seconds from `start_at` on, or from when the trigger was made."""

    kind: Literal["interval"]
    every_seconds: Annotated[int, Field(strict=True, ge=1, le=YEAR_SECONDS), WHOLE]


class CronSchedule(_Strict):
    """By the clock of one zone."""

    kind: Literal["cron"]
    expression: CronExpression
    zone: ZoneName = "UTC"


class RecipientCron(_Strict):
    """By each recipient's own clock: a mailing for each zone of its audience."""

    kind: Literal["recipient-cron"]
    expression: CronExpression


class Condition(_Strict):
    """What an event has to say. A place that is not there fits `ne` and `exists: false` only."""

    path: EventPath
    op: Literal["eq", "ne", "gt", "ge", "lt", "le", "in", "exists"]
    value: (
        StrictBool
        | StrictInt
        | StrictFloat
        | Annotated[StrictStr, Field(max_length=1_000)]
        | Annotated[
            list[StrictBool | StrictInt | StrictFloat | Annotated[StrictStr, Field(max_length=1_000)]],
            Field(min_length=1, max_length=100),
        ]
        | None
    )


Conditions = Annotated[tuple[Condition, ...], Field(max_length=_MOST)]


class Cancelling(_Strict):
    """An event that takes back what waits: of the same recipient, or with the same values at `by`."""

    event: EventName
    conditions: Conditions = ()
    by: Annotated[tuple[EventPath, ...], Field(min_length=1, max_length=8)] = ("recipient",)


class OnEvent(_Strict):
    """When an event arrives, or so many seconds later unless it is cancelled meanwhile."""

    kind: Literal["event"]
    event: EventName
    conditions: Conditions = Field((), description="All of them have to hold")
    delay_seconds: Annotated[float, Field(ge=0, le=YEAR_SECONDS)] = 0.0
    cancel: Cancelling | None = None


Schedule = Annotated[Once | Interval | CronSchedule | RecipientCron | OnEvent, Field(discriminator="kind")]


class Action(_Strict):
    """What is made: a notification or a mailing, exactly one. Values at paths are taken from the event."""

    notification: AnyObject | None = Field(
        None, description="As `POST /v1/notifications` takes it, without `id`, `send_at` and `expires_at`"
    )
    mailing: AnyObject | None = Field(None, description="As `POST /v1/mailings` takes it")
    to_from: EventPath | None = Field(
        None, description="The recipient's id, from the event, in the place of the notification's `to`"
    )
    params_from: Annotated[
        dict[Annotated[str, StringConstraints(pattern=PARAM)], EventPath],
        Field(max_length=50, json_schema_extra={"additionalProperties": False}),
    ] = Field(default_factory=dict, description="Params of the template, from the event")


class Misfire(_Strict):
    """What becomes of occurrences that were missed, as while the service was down.

    `skip` and `all` fire each that is not too late, in order; `once` fires only the newest of those that are
    due together. What is later than `max_late_seconds` is dropped: by default 60 for `skip`, a day otherwise.
    """

    policy: Literal["skip", "once", "all"] = "once"
    max_late_seconds: Annotated[float, Field(ge=1, le=YEAR_SECONDS)] | None = None

    @property
    def late_seconds(self) -> float:
        if self.max_late_seconds is not None:
            return self.max_late_seconds
        return SKIP_LATE_SECONDS if self.policy == "skip" else LATE_SECONDS


class TriggerDraft(_Strict):
    """A rule as people write it."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "stand-up",
                    "schedule": {"kind": "cron", "expression": "55 9 * * MON-FRI", "zone": "Europe/Moscow"},
                    "action": {"notification": {"body": "Stand-up in five minutes", "sender": "CONSOLE"}},
                    "misfire": {"policy": "skip", "max_late_seconds": 300},
                },
                {
                    "name": "unpaid order",
                    "schedule": {
                        "kind": "event",
                        "event": "order.created",
                        "conditions": [{"path": "data.total", "op": "gt", "value": 0}],
                        "delay_seconds": 3600,
                        "cancel": {"event": "order.paid", "by": ["data.order_id"]},
                    },
                    "action": {
                        "notification": {"template": "order.unpaid"},
                        "to_from": "recipient",
                        "params_from": {"order": "data.order_id"},
                    },
                },
            ]
        },
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=LINE)]
    schedule: Schedule
    action: Action
    misfire: Misfire = Misfire()
    start_at: UtcDatetime | None = Field(None, description="No occurrence before")
    end_at: UtcDatetime | None = Field(None, description="No occurrence after")
    max_runs: Annotated[int, Field(strict=True, ge=1, le=2**53), WHOLE] | None = Field(
        None, description="Occurrences that are fired at most"
    )
    jitter_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        0.0, description="Each occurrence is fired up to so much later, by chance"
    )
    retry_delays_seconds: (
        Annotated[tuple[Annotated[float, Field(ge=1, le=YEAR_SECONDS)], ...], Field(max_length=_MOST)] | None
    ) = Field(
        None, description="Waits before what failed is tried again; null: TRIGGERS_RETRY_DELAYS_SECONDS"
    )
