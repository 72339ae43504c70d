"""The settings of the bot and of the support desk behind it."""

import json
import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from service.contract.fields import LocaleTag
from service.variables import CommaList, parts, variables


class SupportSettings(BaseSettings):
    """The support desk, which is on when `TG_SUPPORT_CHAT_ID` is set."""

    model_config = variables("SUPPORT_")

    topics: bool = Field(True, description="A topic for each ticket, where the desk is a supergroup")
    topic_rate: float = Field(20.0, ge=0, description="Topics made a minute; 0: no limit")
    desk_rate: float = Field(
        0.0, ge=0, description="Messages a minute to the desk; 0: as fast as Telegram takes them"
    )
    specialists: CommaList[str] = Field(
        (), description="User ids of those who may answer; unset: every member of the desk's chat"
    )
    show_names: bool = Field(False, description="Tell people who answers them")
    claim_by_reply: bool = Field(True, description="Whoever answers a ticket that nobody has, has it")
    internal_mark: str = Field("//", min_length=1, max_length=20, description="What so begins stays internal")
    locale: LocaleTag = Field("en", description="Language of the desk")
    album_seconds: float = Field(0.8, gt=0, le=10, description="How long the parts of an album are awaited")
    warn_hours: float = Field(48.0, ge=0, description="A person who does not answer is warned; 0: never")
    close_hours: float = Field(24.0, gt=0, description="After the warning the ticket is closed")
    reopen_hours: float = Field(
        72.0,
        ge=0,
        description="So long after closing, an answer to the desk's message opens the ticket again",
    )
    transcript: bool = Field(
        True, description="Send the conversation to the desk as a file when it is closed"
    )
    retention_days: float = Field(365.0, ge=0, description="Closed tickets are kept so long; 0: for ever")
    card_deliveries: int = Field(5, ge=0, le=20, description="Recent deliveries that the card lists")


Titles = dict[str, dict[str, str]]
"""Names and, by locale, what people read in their place."""


class BotSettings(BaseSettings):
    """The Telegram bot that people talk to: on where the role `bot` is, when `TG_BOT_TOKEN` is set.

    Lists of categories are names with commas between, or JSON with titles: `{"news": {"en": "News", "ru":
    "Новости"}}`.
    """

    model_config = variables("BOT_")

    mode: Literal["polling", "webhook"] = Field("polling", description="How Telegram's updates come in")
    start: Literal["open", "approval", "closed"] = Field(
        "open", description="Who may join without a link: anybody, whoever is approved, nobody"
    )
    poll_seconds: int = Field(30, ge=1, le=50, description="How long one poll for updates waits")
    webhook_secret: SecretStr | None = Field(
        None,
        min_length=16,
        max_length=256,
        description="Goes with every update of a webhook; unset: made from the key that signs links",
    )
    webhook_connections: int = Field(
        40, ge=1, le=100, description="Updates that Telegram posts at the same time"
    )
    link_hours: float = Field(24.0, gt=0, le=8_760, description="How long a link to join is good for")
    request_days: float = Field(
        30.0, gt=0, description="Who waits to be let in for so long is forgotten, and may ask again"
    )
    report_hours: float = Field(24.0, gt=0, description="How long a report may be left unfinished")
    concurrency: int = Field(4, ge=1, le=50, description="Chats whose updates are handled at the same time")
    attempts: int = Field(3, ge=1, le=100, description="After so many failures an update is put aside")
    retention_hours: float = Field(
        72.0, ge=25, description="The ids of handled updates are kept so long; Telegram repeats them for 24"
    )
    aside_days: float = Field(30.0, gt=0, description="Updates that were put aside are kept so long")
    categories: Annotated[Titles, NoDecode] = Field({}, description="Categories that people may switch off")
    problem_categories: CommaList[str] = Field(
        (), description="Notifications of these categories have a button to report a problem"
    )
    report_categories: Annotated[Titles, NoDecode] = Field(
        {}, description="What a report may be about; unset: people are not asked"
    )

    @field_validator("webhook_secret")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and re.fullmatch(r"[A-Za-z0-9_-]+", value.get_secret_value()) is None:
            raise ValueError("has other characters than Telegram takes; accepted: A-Z a-z 0-9 _ -")
        return value

    @field_validator("categories", "report_categories", mode="before")
    @classmethod
    def _titles(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            try:
                return json.loads(value)
            except ValueError:
                raise ValueError('is no JSON; accepted: news,orders or {"news": {"en": "News"}}') from None
        return {name: {} for name in parts(value)}
