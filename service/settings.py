"""Every setting of the service: one environment variable each, with its unit in the name or description.

Only `cli`, `app` and tests make these objects; everything else receives the group it needs.
Empty variables count as unset, so that a compose file may pass them through.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from service.account_settings import SenderSettings, read_accounts
from service.broker_settings import KafkaSettings, RabbitSettings
from service.contract.fields import LocaleTag
from service.desk_settings import BotSettings, SupportSettings
from service.sender_settings import (
    AppriseSettings,
    ConsoleSettings,
    DiscordSettings,
    EmailSettings,
    FcmSettings,
    MatrixSettings,
    MattermostSettings,
    MaxSettings,
    RuStoreSettings,
    SlackSettings,
    SmsSettings,
    TelegramSettings,
    VkSettings,
    WebhookSettings,
    WebPushSettings,
)
from service.variables import CommaList, variables

Role = Literal["api", "worker", "scheduler", "bot"]


class ServerSettings(BaseSettings):
    """The HTTP server of this process."""

    model_config = variables("SERVER_")

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

    model_config = variables("DATABASE_")

    url: SecretStr | None = Field(None, description="postgresql://user:password@host:port/name")
    pool_size: int = Field(10, ge=2, le=200, description="Connections kept by one process")
    command_timeout_seconds: float = Field(30.0, gt=0)
    data_dir: Path = Field(Path(".data"), description="Folder of the embedded PostgreSQL")


class LimitSettings(BaseSettings):
    """What a request may be at most; see also each sender's own limits."""

    model_config = variables("LIMIT_")

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

    model_config = variables("DELIVERY_")

    lease_seconds: float = Field(60.0, gt=0, description="After this a crashed worker's rows are taken over")
    send_timeout_seconds: float = Field(20.0, gt=0, description="Hard limit of one call to a provider")
    poll_seconds: float = Field(1.0, gt=0, description="Longest wait before the table is looked at again")
    pacing_horizon_seconds: float = Field(1.0, gt=0, description="How far ahead send slots are reserved")
    buffer_rows: int = Field(1_000, ge=1, description="Leased rows one sender holds in memory")
    concurrency: int = Field(100, ge=1, le=10_000, description="Calls one sender has under way")
    gather_seconds: float = Field(
        0.004,
        ge=0,
        le=1,
        description="In a stream of messages a commit waits so long for company, unless a caller over HTTP waits for it",
    )
    batch_rows: int = Field(1_000, ge=1, le=20_000, description="Most rows of one group commit")
    intake_queue_rows: int = Field(20_000, ge=1, description="Most requests waiting for their commit")
    intake_timeout_seconds: float = Field(10.0, gt=0, description="HTTP answers 503 after this")
    retry_delays_seconds: CommaList[float] = Field((1, 5, 30, 120, 600, 1800, 7200), min_length=1)
    throttled_max_hours: float = Field(
        72.0, gt=0, description="A message that its provider only throttles for so long has failed"
    )
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


class AuthSettings(BaseSettings):
    """API keys are always on; JWT is on when a secret or a JWKS address is set. What they did is kept for a time."""

    model_config = variables("")

    admin_api_key: SecretStr | None = Field(None, min_length=16)
    jwt_secret: SecretStr | None = Field(None, min_length=32)
    jwt_jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_leeway_seconds: float = Field(30.0, ge=0)
    audit_retention_days: float = Field(
        365.0, ge=0, description="Entries of the audit trail are kept so long; 0: for ever"
    )


class AttachmentSettings(BaseSettings):
    """Files that this service fetches itself, for providers that want the file and not its address."""

    model_config = variables("ATTACHMENTS_")

    max_bytes: int = Field(
        20 * 1024 * 1024, ge=1024, description="Largest files of one message together, bytes"
    )
    timeout_seconds: float = Field(8.0, gt=0, description="Longest wait for one file")
    allow_private: bool = Field(False, description="Allow http and addresses inside the network")


class TemplateSettings(BaseSettings):
    """Templates and the process that renders them."""

    model_config = variables("TEMPLATES_")

    render_timeout_seconds: float = Field(1.0, gt=0, le=60, description="CPU time that one text may take")
    output_max_chars: int = Field(100_000, ge=1, le=10_000_000, description="Longest text")
    memory_max_mib: int = Field(512, ge=128, le=65_536, description="Memory of the rendering process")
    rest_seconds: float = Field(60.0, ge=0, description="A template that overran three times rests so long")
    locales: CommaList[str] = Field((), description="Languages that every template has to have, as en,ru")

    @property
    def kill_seconds(self) -> float:
        """After this without an answer the process itself is stuck."""
        return 3 * self.render_timeout_seconds + 1


class TriggerSettings(BaseSettings):
    """Triggers and their clock, which looks once a second."""

    model_config = variables("TRIGGERS_")

    ahead_seconds: float = Field(2.0, ge=1, le=60, description="What is due so soon is read")
    ahead_rows: int = Field(2_000, ge=1, le=50_000, description="Most due occurrences read at a time")
    batch_rows: int = Field(100, ge=1, le=5_000, description="Most occurrences fired in one transaction")
    resend_seconds: float = Field(
        10.0, ge=1, description="An occurrence that was due and not fired is asked for again after this"
    )
    catch_up_runs: int = Field(
        20, ge=1, le=1_000, description="Most missed runs of a trigger fired in a step"
    )
    retry_delays_seconds: CommaList[float] = Field((60, 300, 1800), min_length=1)
    run_retention_days: float = Field(90.0, gt=0, description="The history of runs is kept so long")
    event_retention_days: float = Field(
        7.0, gt=0, description="A repeated event is known by its id for so long"
    )
    zones_seconds: float = Field(
        600.0, gt=0, description="After this the zones of an audience are looked up again"
    )
    housekeeping_seconds: float = Field(60.0, gt=0, description="Pause between retention checks")
    send_timeout_seconds: float = Field(
        2.0, gt=0, description="RabbitMQ has so long to take a due occurrence; then it is fired here"
    )


class AudienceSettings(BaseSettings):
    """What counts for recipients who say nothing else."""

    model_config = variables("AUDIENCE_")

    time_zone: str = Field("UTC", description="Time zone, as Europe/Moscow")
    locale: LocaleTag = "en"
    quiet_hours: str | None = Field(
        None,
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="As 22:00-08:00 by each recipient's own clock",
    )
    critical_categories: CommaList[str] = Field(
        (), description="Categories that pass quiet hours and a mute of everything"
    )
    import_max_bytes: int = Field(1024 * 1024 * 1024, ge=1024, description="Largest import")
    devices_max: int = Field(
        20,
        ge=1,
        le=1_000,
        description="Devices of one recipient; one more replaces a dead one, or the last unseen",
    )

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no time zone; accepted: a name as Europe/Moscow")
        return value


class MailingSettings(BaseSettings):
    """How mailings are walked and watched."""

    model_config = variables("MAILINGS_")

    rows_ahead: int = Field(2_000, ge=10, le=100_000, description="Deliveries made ahead of the senders")
    rows_later: int = Field(
        20_000,
        ge=10,
        le=1_000_000,
        description="Deliveries that wait for a time of their own, as quiet hours",
    )
    batch_people: int = Field(500, ge=10, le=5_000, description="Deliveries made in one transaction")
    poll_seconds: float = Field(5.0, gt=0, description="Longest wait before mailings are looked at again")
    cap_ahead_seconds: float = Field(
        2.0, gt=0, le=60, description="How far ahead slots of a mailing's own rate are given out"
    )
    stream_seconds: float = Field(1.0, gt=0, description="Pause between two looks of a progress stream")
    heartbeat_seconds: float = Field(
        15.0, gt=0, description="A progress stream says something at least so often"
    )


class LinkSettings(BaseSettings):
    """Signed links, as those to unsubscribe."""

    model_config = variables("LINKS_")

    secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="Signs links; unset: made at the first start and kept in the database",
    )


class ProcessSettings(BaseSettings):
    """What this process does, and how it speaks."""

    model_config = variables("")

    roles: CommaList[Role] = Field(("api", "worker", "scheduler", "bot"), min_length=1)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """All groups; each reads its own variables."""

    model_config = variables("")

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
    vk: VkSettings = Field(default_factory=VkSettings)
    max: MaxSettings = Field(default_factory=MaxSettings)
    slack: SlackSettings = Field(default_factory=SlackSettings)
    discord: DiscordSettings = Field(default_factory=DiscordSettings)
    mattermost: MattermostSettings = Field(default_factory=MattermostSettings)
    attachments: AttachmentSettings = Field(default_factory=AttachmentSettings)
    rustore: RuStoreSettings = Field(default_factory=RuStoreSettings)
    fcm: FcmSettings = Field(default_factory=FcmSettings)
    webpush: WebPushSettings = Field(default_factory=WebPushSettings)
    email: EmailSettings = Field(default_factory=EmailSettings)
    matrix: MatrixSettings = Field(default_factory=MatrixSettings)
    sms: SmsSettings = Field(default_factory=SmsSettings)
    apprise: AppriseSettings = Field(default_factory=AppriseSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    audience: AudienceSettings = Field(default_factory=AudienceSettings)
    mailings: MailingSettings = Field(default_factory=MailingSettings)
    links: LinkSettings = Field(default_factory=LinkSettings)
    support: SupportSettings = Field(default_factory=SupportSettings)
    bot: BotSettings = Field(default_factory=BotSettings)
    templates: TemplateSettings = Field(default_factory=TemplateSettings)
    triggers: TriggerSettings = Field(default_factory=TriggerSettings)

    _accounts: dict[str, SenderSettings] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _read_accounts(self) -> Self:
        self._accounts = read_accounts(type(group) for _, group in self._sender_groups())
        return self

    def for_account(self, name: str) -> "Settings":
        """All settings, those of its sender being the ones of this account, as `TG:alerts`."""
        account = self._accounts[name]
        field = next(field for field, group in self._sender_groups() if type(group) is type(account))
        return self.model_copy(update={field: account})

    def accounts_of(self, sender: str) -> list[str]:
        """The further accounts of a sender, as `TG:alerts`."""
        return sorted(name for name in self._accounts if name.partition(":")[0] == sender)

    def _sender_groups(self) -> Iterator[tuple[str, SenderSettings]]:
        for name in type(self).model_fields:
            group = getattr(self, name)
            if isinstance(group, SenderSettings):
                yield name, group
