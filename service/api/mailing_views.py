"""Mailings as REST shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.api.notifications import Preview
from service.contract.fields import LINE, RecipientId
from service.mailings.drafts import MailingDraft
from service.mailings.progress import Progress, Wait

Status = Literal["draft", "scheduled", "running", "paused", "finished", "cancelled", "failed"]


class ProgressView(BaseModel):
    """How far it is, in recipients."""

    status: Status
    reason: str | None = Field(description="Why it is paused or failed")
    waits_for: Wait | None = Field(description="What it waits for before it goes on")
    planned: int | None = Field(description="The audience when it began; null: it has not")
    made: int = Field(description="Have a delivery")
    sent: int
    failed: dict[str, int] = Field(description="By class of error; `gone`: blocked")
    suppressed: dict[str, int] = Field(description="By reason")
    expired: int
    cancelled: int
    unknown: int = Field(description="Nobody knows whether the provider took it")
    erased: int = Field(description="The recipient was erased meanwhile")
    under_way: int = Field(description="Made, and not done with")
    remaining: int | None = Field(description="Not done with")
    rate: float | None = Field(description="Recipients a second who were done with of late")
    allowed_rate: float | None = Field(
        description="Messages a second that the senders' limits and its own let out; null: no limit"
    )
    eta: datetime | None = Field(description="When it will be done, if nobody pauses it")
    counted_at: datetime | None
    ended_at: datetime | None = Field(description="Since then nothing changes any more")

    @classmethod
    def of(cls, row: Any, progress: Progress) -> "ProgressView":
        tally = progress.tally
        return cls(
            status=row["status"],
            reason=row["reason"],
            waits_for=progress.waits_for,
            planned=progress.planned,
            made=progress.made,
            sent=tally.sent,
            failed=dict(tally.failed),
            suppressed=dict(tally.suppressed),
            expired=tally.expired,
            cancelled=tally.cancelled,
            unknown=tally.unknown,
            erased=tally.erased,
            under_way=progress.under_way,
            remaining=progress.remaining,
            rate=progress.rate,
            allowed_rate=progress.allowed_rate,
            eta=progress.eta,
            counted_at=row["counted_at"],
            ended_at=row["ended_at"],
        )


class MailingSummary(BaseModel):
    """A mailing in a list."""

    id: UUID
    name: str
    source: str = Field(description="Who made it, as `key:1f2e3d4c:deploy` or `trigger:…`")
    status: Status
    reason: str | None
    planned: int | None
    made: int
    created_at: datetime
    start_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Any) -> "MailingSummary":
        return cls(**{name: row[name] for name in cls.model_fields})


class MailingView(BaseModel):
    """A mailing."""

    id: UUID
    source: str
    status: Status
    draft: MailingDraft = Field(description="What `PUT` takes")
    notification_id: UUID | None = Field(description="Its deliveries are those of this notification")
    zones: list[str] | None = Field(description="Only for those who live there; null: wherever they live")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    retired_at: datetime | None = Field(description="Since then only its numbers are kept")
    progress: ProgressView

    @classmethod
    def of(cls, row: Any, progress: Progress) -> "MailingView":
        return cls(
            id=row["id"],
            source=row["source"],
            status=row["status"],
            draft=MailingDraft.model_validate_json(row["draft"]),
            notification_id=row["notification_id"],
            zones=row["only_zones"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            retired_at=row["retired_at"],
            progress=ProgressView.of(row, progress),
        )


class PauseRequest(BaseModel):
    """Why; people will read it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "a wrong price"}]})

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=LINE)] = "a person paused it"


class StoppedView(BaseModel):
    """What had become of it when it was stopped."""

    status: Status
    sent: int
    under_way: int = Field(description="Calls that may still end either way")
    waiting: int = Field(description="Made, and not sent")


class TrialRequest(BaseModel):
    """Who gets it as a test."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"recipients": ["42"]}]})

    recipients: Annotated[list[RecipientId], Field(min_length=1, max_length=20)]


class TrialResult(BaseModel):
    """What became of one of them."""

    recipient: str
    notification_id: UUID | None = Field(description="null: refused")
    problem: str | None = Field(description="Why it was refused, or will not be sent")


class TrialReport(BaseModel):
    """In the order of the call. The mailing's numbers know nothing of it."""

    items: list[TrialResult]


class SampleView(BaseModel):
    """Somebody of the audience."""

    external_id: str
    locale: str | None
    zone: str | None
    sender: str | None = Field(description="The channel it would be tried through first; null: none")
    suppressed: str | None = Field(description="Why they would not get it")


class MailingForecast(BaseModel):
    """What would come of it if it began now."""

    people: int = Field(description="How many there are in the audience")
    zones: dict[str, int] = Field(
        description="How many live in each time zone, the settings' where they say none"
    )
    sample: list[SampleView] = Field(description="The first of them")
    allowed_rate: float | None = Field(
        description="Messages a second that the senders' limits and its own let out; null: no limit"
    )
    eta: datetime | None = Field(description="When it would be done; null: where no limit tells")
    rendered: list[Preview] = Field(description="What the first of the sample would get")


class UploadReport(BaseModel):
    """The people of the list."""

    recipients: int
    unknown: int = Field(description="Ids that no recipient has; they are left out")
    unknown_ids: list[str] = Field(description="The first of these")
