"""Every setting of the service: one environment variable each, with its unit in the name or description.

Only `cli`, `app` and tests make these objects; everything else receives the group it needs.
Empty variables count as unset, so that a compose file may pass them through.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote
from zoneinfo import available_timezones

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_LOCALE = r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$"
Role = Literal["api", "worker", "bot"]


def _env(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )


class ServerSettings(BaseSettings):
    """The HTTP server of this process."""

    model_config = _env("SERVER_")

    host: str = "0.0.0.0"  # noqa: S104 - a container has to listen on its outer address
    port: int = Field(8080, ge=0, le=65535)
    public_url: str | None = Field(None, description="Address under which people reach this service")
    body_max_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="Largest request body, bytes")
    docs_enabled: bool = Field(True, description="Serve /docs and /docs/asyncapi")

    @property
    def base_url(self) -> str:
        """What the addresses of links to this service begin with."""
        return (self.public_url or f"http://localhost:{self.port}").rstrip("/")


class DatabaseSettings(BaseSettings):
    """Where the rows are kept; without a URL an embedded PostgreSQL is started."""

    model_config = _env("DATABASE_")

    url: SecretStr | None = Field(None, description="postgresql://user:password@host:port/name")
    pool_size: int = Field(10, ge=2, le=200, description="Connections kept by one process")
    command_timeout_seconds: float = Field(30.0, gt=0)
    data_dir: Path = Field(Path(".data"), description="Folder of the embedded PostgreSQL")


class RabbitSettings(BaseSettings):
    """RabbitMQ is used when `RABBITMQ_HOST` is set."""

    model_config = _env("RABBITMQ_")

    host: str | None = None
    port: int = Field(5672, ge=1, le=65535)
    user: str = "guest"
    password: SecretStr = SecretStr("guest")
    vhost: str = "/"
    queue_name: str = Field("notifications", min_length=1, max_length=200)
    prefetch: int = Field(500, ge=1, le=65535, description="Unacknowledged messages a process holds")

    @property
    def url(self) -> str:
        """The AMQP address with credentials: never to be logged."""
        secret = quote(self.password.get_secret_value(), safe="")
        vhost = quote(self.vhost, safe="")
        return f"amqp://{quote(self.user, safe='')}:{secret}@{self.host}:{self.port}/{vhost}"


class KafkaSettings(BaseSettings):
    """Kafka is used when `KAFKA_BOOTSTRAP_SERVERS` is set."""

    model_config = _env("KAFKA_")

    bootstrap_servers: str | None = None
    topic: str = Field("notifications", min_length=1, max_length=249)
    group_id: str = Field("notifications-service", min_length=1)
    batch_max_records: int = Field(500, ge=1, le=10_000)


class LimitSettings(BaseSettings):
    """What a request may be at most; see also each sender's own limits."""

    model_config = _env("LIMIT_")

    title_chars: int = Field(1_000, ge=1, le=100_000)
    body_chars: int = Field(100_000, ge=1, le=10_000_000)
    params_bytes: int = Field(65_536, ge=2, le=1_048_576, description="Largest `params`, bytes as JSON")
    metadata_bytes: int = Field(4_096, ge=2, le=1_048_576)
    buttons: int = Field(20, ge=0, le=100)
    attachments: int = Field(10, ge=0, le=100)
    batch_items: int = Field(5_000, ge=1, le=50_000)
    rejected_body_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Largest rejected message that is kept whole, bytes"
    )


class DeliverySettings(BaseSettings):
    """The delivery engine. Times are seconds."""

    model_config = _env("DELIVERY_")

    lease_seconds: float = Field(60.0, gt=0, description="After this a crashed worker's rows are taken over")
    send_timeout_seconds: float = Field(20.0, gt=0, description="Hard limit of one call to a provider")
    poll_seconds: float = Field(1.0, gt=0, description="Longest wait before the table is looked at again")
    pacing_horizon_seconds: float = Field(1.0, gt=0, description="How far ahead send slots are reserved")
    buffer_rows: int = Field(1_000, ge=1, description="Leased rows one sender holds in memory")
    concurrency: int = Field(100, ge=1, le=10_000, description="Calls one sender has under way")
    gather_seconds: float = Field(
        0.004, ge=0, le=1, description="In a stream of messages a commit waits so long for company"
    )
    batch_rows: int = Field(1_000, ge=1, le=20_000, description="Most rows of one group commit")
    intake_queue_rows: int = Field(20_000, ge=1, description="Most requests waiting for their commit")
    intake_timeout_seconds: float = Field(10.0, gt=0, description="HTTP answers 503 after this")
    retry_delays_seconds: Annotated[tuple[float, ...], NoDecode] = (1, 5, 30, 120, 600, 1800, 7200)
    lost_leases_max: int = Field(20, ge=1, description="A row that outlived so many workers has failed")
    retention_days: float = Field(30.0, gt=0, description="Finished notifications are kept so long")
    housekeeping_seconds: float = Field(2.0, gt=0, description="Pause between expiry and lease checks")
    drain_timeout_seconds: float = Field(25.0, gt=0, description="Longest wait for sends under way at stop")

    @model_validator(mode="after")
    def _lease_outlasts_a_call(self) -> Self:
        if self.lease_seconds < 2 * self.send_timeout_seconds:
            raise ValueError(
                f"DELIVERY_LEASE_SECONDS ({self.lease_seconds:g}) has to be at least twice "
                f"DELIVERY_SEND_TIMEOUT_SECONDS ({self.send_timeout_seconds:g}): a call must end before its lease"
            )
        return self

    @field_validator("retry_delays_seconds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class AuthSettings(BaseSettings):
    """API keys are always on; JWT is on when a secret or a JWKS address is set."""

    model_config = _env("")

    admin_api_key: SecretStr | None = Field(None, min_length=16)
    jwt_secret: SecretStr | None = Field(None, min_length=32)
    jwt_jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_leeway_seconds: float = Field(30.0, ge=0)


class TelegramSettings(BaseSettings):
    """The `TG` sender is on when `TG_BOT_TOKEN` is set. A rate of 0 means no limit."""

    model_config = _env("TG_")

    bot_token: SecretStr | None = None
    default_chat_id: str | None = None
    api_url: str = "https://api.telegram.org"
    rate: float = Field(30.0, ge=0, description="Messages a second of the bot")
    chat_rate: float = Field(1.0, ge=0, description="Messages a second to one chat")
    group_rate: float = Field(20.0, ge=0, description="Messages a minute to one group")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")
    support_chat_id: str | None = Field(
        None, pattern=r"^-?[1-9][0-9]{0,15}$", description="Chat of the support desk"
    )


class WebhookSettings(BaseSettings):
    """The `WEBHOOK` sender is on when `WEBHOOK_SECRET` is set. A rate of 0 means no limit."""

    model_config = _env("WEBHOOK_")

    secret: SecretStr | None = Field(
        None, description="whsec_… of Standard Webhooks; two, with a space, to rotate"
    )
    default_url: str | None = None
    allow_private: bool = Field(False, description="Allow http and addresses inside the network")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class TemplateSettings(BaseSettings):
    """Templates and the process that renders them."""

    model_config = _env("TEMPLATES_")

    render_timeout_seconds: float = Field(1.0, gt=0, le=60, description="CPU time that one text may take")
    output_max_chars: int = Field(100_000, ge=1, le=10_000_000, description="Longest text")
    memory_max_mib: int = Field(512, ge=128, le=65_536, description="Memory of the rendering process")
    rest_seconds: float = Field(60.0, ge=0, description="A template that overran three times rests so long")
    locales: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Languages that every template has to have, as en,ru"
    )

    @property
    def kill_seconds(self) -> float:
        """After this without an answer the process itself is stuck."""
        return 3 * self.render_timeout_seconds + 1

    @field_validator("locales", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class AudienceSettings(BaseSettings):
    """What counts for recipients who say nothing else."""

    model_config = _env("AUDIENCE_")

    time_zone: str = Field("UTC", description="Time zone, as Europe/Moscow")
    locale: str = Field("en", pattern=_LOCALE)
    quiet_hours: str | None = Field(
        None,
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="As 22:00-08:00 by each recipient's own clock",
    )
    critical_categories: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Categories that pass quiet hours and a mute of everything"
    )
    import_max_bytes: int = Field(1024 * 1024 * 1024, ge=1024, description="Largest import")

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no time zone; accepted: a name as Europe/Moscow")
        return value

    @field_validator("critical_categories", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class LinkSettings(BaseSettings):
    """Signed links, as those to unsubscribe."""

    model_config = _env("LINKS_")

    secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="Signs links; unset: made at the first start and kept in the database",
    )


class SupportSettings(BaseSettings):
    """The support desk, which is on when `TG_SUPPORT_CHAT_ID` is set."""

    model_config = _env("SUPPORT_")

    topics: bool = Field(True, description="A topic for each ticket, where the desk is a supergroup")
    topic_rate: float = Field(20.0, ge=0, description="Topics made a minute; 0: no limit")
    desk_rate: float = Field(
        0.0, ge=0, description="Messages a minute to the desk; 0: as fast as Telegram takes them"
    )
    specialists: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="User ids of those who may answer; unset: every member of the desk's chat"
    )
    show_names: bool = Field(False, description="Tell people who answers them")
    claim_by_reply: bool = Field(True, description="Whoever answers a ticket that nobody has, has it")
    internal_mark: str = Field("//", min_length=1, max_length=20, description="What so begins stays internal")
    locale: str = Field("en", pattern=_LOCALE, description="Language of the desk")
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

    @field_validator("specialists", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Titles = dict[str, dict[str, str]]
"""Names and, by locale, what people read in their place."""


class BotSettings(BaseSettings):
    """The Telegram bot that people talk to: on where the role `bot` is, when `TG_BOT_TOKEN` is set.

    Lists of categories are names with commas between, or JSON with titles: `{"news": {"en": "News", "ru":
    "Новости"}}`.
    """

    model_config = _env("BOT_")

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
    report_hours: float = Field(24.0, gt=0, description="How long a report may be left unfinished")
    concurrency: int = Field(4, ge=1, le=50, description="Chats whose updates are handled at the same time")
    attempts: int = Field(3, ge=1, le=100, description="After so many failures an update is put aside")
    retention_hours: float = Field(
        72.0, ge=25, description="The ids of handled updates are kept so long; Telegram repeats them for 24"
    )
    aside_days: float = Field(30.0, gt=0, description="Updates that were put aside are kept so long")
    categories: Annotated[Titles, NoDecode] = Field({}, description="Categories that people may switch off")
    problem_categories: Annotated[tuple[str, ...], NoDecode] = Field(
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
        return {name.strip(): {} for name in value.split(",") if name.strip()}

    @field_validator("problem_categories", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class ConsoleSettings(BaseSettings):
    """The `CONSOLE` sender prints to standard output."""

    model_config = _env("CONSOLE_")

    enabled: bool = True


class ProcessSettings(BaseSettings):
    """What this process does, and how it speaks."""

    model_config = _env("")

    roles: Annotated[tuple[Role, ...], NoDecode] = ("api", "worker", "bot")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("roles", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class Settings(BaseSettings):
    """All groups; each reads its own variables."""

    model_config = _env("")

    process: ProcessSettings = Field(default_factory=ProcessSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    rabbit: RabbitSettings = Field(default_factory=RabbitSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    telegram: TelegramSettings = Field(default_factory=TelegramSettings)
    webhook: WebhookSettings = Field(default_factory=WebhookSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    audience: AudienceSettings = Field(default_factory=AudienceSettings)
    links: LinkSettings = Field(default_factory=LinkSettings)
    support: SupportSettings = Field(default_factory=SupportSettings)
    bot: BotSettings = Field(default_factory=BotSettings)
    templates: TemplateSettings = Field(default_factory=TemplateSettings)
