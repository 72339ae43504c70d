"""Every setting of the service: one environment variable each, with its unit in the name or description.

Only `cli`, `app` and tests make these objects; everything else receives the group it needs.
Empty variables count as unset, so that a compose file may pass them through.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote
from zoneinfo import available_timezones

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.account_settings import SenderSettings, read_accounts

Role = Literal["api", "worker"]


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


class TelegramSettings(SenderSettings):
    """The `TG` sender is on when `TG_BOT_TOKEN` is set. A rate of 0 means no limit."""

    model_config = _env("TG_")

    bot_token: SecretStr | None = None
    default_chat_id: str | None = None
    api_url: str = "https://api.telegram.org"
    rate: float = Field(30.0, ge=0, description="Messages a second of the bot")
    chat_rate: float = Field(1.0, ge=0, description="Messages a second to one chat")
    group_rate: float = Field(20.0, ge=0, description="Messages a minute to one group")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class WebhookSettings(SenderSettings):
    """The `WEBHOOK` sender is on when `WEBHOOK_SECRET` is set. A rate of 0 means no limit."""

    model_config = _env("WEBHOOK_")

    secret: SecretStr | None = Field(
        None, description="whsec_… of Standard Webhooks; two, with a space, to rotate"
    )
    default_url: str | None = None
    allow_private: bool = Field(False, description="Allow http and addresses inside the network")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class AttachmentSettings(BaseSettings):
    """Files that this service fetches itself, for providers that want the file and not its address."""

    model_config = _env("ATTACHMENTS_")

    max_bytes: int = Field(
        20 * 1024 * 1024, ge=1024, description="Largest files of one message together, bytes"
    )
    timeout_seconds: float = Field(8.0, gt=0, description="Longest wait for one file")
    allow_private: bool = Field(False, description="Allow http and addresses inside the network")


class VkSettings(SenderSettings):
    """The `VK` sender is on when `VK_TOKEN` is set. A rate of 0 means no limit."""

    model_config = _env("VK_")

    token: SecretStr | None = Field(None, description="Key of the community, with the right to messages")
    default_peer_id: str | None = None
    api_url: str = "https://api.vk.ru"
    callback_secret: SecretStr | None = Field(None, description="Secret key of the community's Callback API")
    callback_confirmation: str | None = Field(
        None, description="What the Callback API is to be answered with when it confirms the address"
    )
    rate: float = Field(20.0, ge=0, description="Messages a second of the community")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class MaxSettings(SenderSettings):
    """The `MAX` sender is on when `MAX_TOKEN` is set. A rate of 0 means no limit."""

    model_config = _env("MAX_")

    token: SecretStr | None = None
    default_address: str | None = Field(None, description="A user's id, or chat: and a chat's id")
    api_url: str = "https://platform-api2.max.ru"
    ca_file: Path | None = Field(
        None, description="PEM file of authorities trusted besides the system's, as the Russian Trusted CA"
    )
    bot_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_]{1,64}$", description="As in https://max.ru/NAME"
    )
    webhook_secret: SecretStr | None = Field(
        None, description="The secret that the webhook was subscribed with; 5 to 256 of A-Za-z0-9_-"
    )
    rate: float = Field(30.0, ge=0, description="Messages a second of the bot")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class RuStoreSettings(SenderSettings):
    """The `RUSTORE` sender is on when `RUSTORE_PROJECT_ID` and `RUSTORE_SERVICE_TOKEN` are set. A rate of 0 means
    no limit.
    """

    model_config = _env("RUSTORE_")

    project_id: str | None = None
    service_token: SecretStr | None = None
    api: Literal["native", "universal"] = Field(
        "native", description="universal: the app is built with the universal push SDK"
    )
    url: str = Field("https://vkpns.rustore.ru", description="The native API")
    universal_url: str = Field("https://vkpns-universal.rustore.ru", description="The universal API")
    ttl_seconds: int = Field(
        28 * 24 * 3600, ge=1, le=28 * 24 * 3600, description="Kept so long for a device that is away"
    )
    channel_id: str | None = Field(None, description="The app's notification channel")
    icon: str | None = Field(None, description="The app's icon for notifications")
    color: str | None = Field(None, pattern=r"^#[0-9A-Fa-f]{6}$", description="As #2196f3")
    rate: float = Field(0.0, ge=0, description="Messages a second of the project")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class FcmSettings(SenderSettings):
    """The `FCM` sender is on when `FCM_KEY_FILE` is set. A rate of 0 means no limit."""

    model_config = _env("FCM_")

    key_file: Path | None = Field(None, description="The JSON key of a service account")
    project_id: str | None = Field(None, description="Default: that of the key file")
    url: str = "https://fcm.googleapis.com"
    ttl_seconds: int = Field(
        28 * 24 * 3600, ge=1, le=28 * 24 * 3600, description="Kept so long for a device that is away"
    )
    channel_id: str | None = Field(None, description="The app's notification channel on Android")
    icon: str | None = Field(None, description="The app's icon for notifications on Android")
    color: str | None = Field(None, pattern=r"^#[0-9A-Fa-f]{6}$", description="As #2196f3")
    rate: float = Field(10_000.0, ge=0, description="Messages a second of the project")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class WebPushSettings(SenderSettings):
    """The `WEBPUSH` sender is on when `WEBPUSH_PRIVATE_KEY` and `WEBPUSH_SUBJECT` are set. A rate of 0 means no limit."""

    model_config = _env("WEBPUSH_")

    private_key: SecretStr | None = Field(None, description="VAPID: base64 of 32 bytes")
    subject: str | None = Field(
        None, description="Whom push services write to, as mailto:push@example.com or https://example.com"
    )
    ttl_seconds: int = Field(
        28 * 24 * 3600, ge=1, le=28 * 24 * 3600, description="Kept so long for a browser that is away"
    )
    allow_private: bool = Field(False, description="Allow push services by http and inside the network")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class SlackSettings(SenderSettings):
    """The `SLACK` sender is on when `SLACK_BOT_TOKEN` or `SLACK_WEBHOOK_URL` is set. A rate of 0 means no limit."""

    model_config = _env("SLACK_")

    bot_token: SecretStr | None = Field(None, description="xoxb-…, to write to channels by their id")
    default_channel: str | None = None
    webhook_url: SecretStr | None = Field(None, description="An incoming webhook, for messages without `to`")
    api_url: str = "https://slack.com/api"
    hooks_url: str = Field("https://hooks.slack.com/services", description="What every webhook begins with")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    channel_rate: float = Field(1.0, ge=0, description="Messages a second to one channel")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class DiscordSettings(SenderSettings):
    """The `DISCORD` sender is on when `DISCORD_WEBHOOK_URL` is set. A rate of 0 means no limit."""

    model_config = _env("DISCORD_")

    webhook_url: SecretStr | None = Field(None, description="The webhook for messages without `to`")
    api_url: str = "https://discord.com/api/v10"
    rate: float = Field(50.0, ge=0, description="Messages a second in all")
    webhook_rate: float = Field(2.0, ge=0, description="Messages a second to one webhook")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class MattermostSettings(SenderSettings):
    """The `MATTERMOST` sender is on when `MATTERMOST_URL` is set. A rate of 0 means no limit."""

    model_config = _env("MATTERMOST_")

    url: str | None = Field(None, description="The server, as https://chat.example.com")
    default_hook: SecretStr | None = Field(None, description="The incoming webhook for messages without `to`")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class EmailSettings(SenderSettings):
    """The `EMAIL` sender is on when `EMAIL_HOST` and `EMAIL_FROM_ADDRESS` are set. A rate of 0 means no limit."""

    model_config = _env("EMAIL_")

    host: str | None = Field(None, description="The mail server that takes mails from this service")
    port: int | None = Field(
        None, ge=1, le=65535, description="Default: 465 with tls, 587 with starttls, else 25"
    )
    security: Literal["tls", "starttls", "opportunistic", "none"] = Field(
        "starttls",
        description="tls from the start; starttls required; opportunistic: where offered, unverified; none",
    )
    user: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = Field(None, description="PEM file of authorities trusted beside the system's")
    helo_name: str | None = Field(None, description="How this machine names itself; default: its host name")
    from_address: str | None = None
    from_name: str | None = None
    reply_to: str | None = None
    return_path: str | None = Field(
        None, description="Where bounces go; {id} in it becomes the delivery's; default: EMAIL_FROM_ADDRESS"
    )
    default_address: str | None = None
    rate: float = Field(0.0, ge=0, description="Mails a second in all")
    domain_rate: float = Field(10.0, ge=0, description="Mails a second to the mailboxes of one domain")
    connections: int = Field(
        10, ge=1, le=1_000, description="Most connections to the server, and mails under way"
    )
    idle_seconds: float = Field(30.0, ge=0, description="An idle connection is kept for so long")
    greylist_seconds: float = Field(
        300.0, ge=1, description="Least wait after a temporary refusal (4xx), as by greylisting"
    )


class AppriseSettings(SenderSettings):
    """The `APPRISE` sender is on when `APPRISE_URLS` or `APPRISE_SCHEMAS` is set. A rate of 0 means no limit."""

    model_config = _env("APPRISE_")

    urls: Annotated[dict[str, SecretStr], NoDecode] = Field(
        {}, description="Names and their Apprise URLs, as ops=slack://… desk=gotify://…"
    )
    default_address: str | None = Field(None, description="One of the names")
    schemas: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Schemas whose URLs requests may bring themselves, as slack,discord"
    )
    address_key: SecretStr | None = Field(
        None, min_length=32, description="Seals such URLs where they are kept and shown"
    )
    allow_private: bool = Field(False, description="Such URLs may lead inside the network")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int = Field(4, ge=1, le=64, description="Threads, and so calls under way")

    @field_validator("urls", mode="before")
    @classmethod
    def _read_urls(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        urls = dict(part.partition("=")[::2] for part in value.split())
        for number, (name, url) in enumerate(urls.items(), 1):
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name) or "://" not in url:
                raise ValueError(f"part {number} is not as ops=slack://…, with a name in small letters")
        return urls

    @field_validator("schemas", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip().lower() for part in value.split(",")] if isinstance(value, str) else value


class MatrixSettings(SenderSettings):
    """The `MATRIX` sender is on when `MATRIX_URL` and `MATRIX_TOKEN` are set. A rate of 0 means no limit."""

    model_config = _env("MATRIX_")

    url: str | None = Field(None, description="The homeserver, as https://matrix.example.org")
    token: SecretStr | None = Field(None, description="Access token of the account that sends")
    default_room: str | None = None
    notices: bool = Field(
        False, description="Send m.notice, at which clients do not ring, in place of m.text"
    )
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class SmsSettings(SenderSettings):
    """The `SMS` sender is on when the credentials of its provider are set. A rate of 0 means no limit."""

    model_config = _env("SMS_")

    provider: Literal["smsc", "smsru"] = "smsc"
    login: str | None = Field(None, description="SMSC.ru: the account, with a password")
    password: SecretStr | None = None
    api_key: SecretStr | None = Field(None, description="SMSC.ru: in place of login and password; SMS.ru: api_id")
    sender: str | None = Field(
        None,
        pattern=r"^([A-Za-z0-9 ._-]{1,11}|[0-9]{1,15})$",
        description="The name shown, as registered with the provider",
    )
    api_url: str | None = Field(None, description="Another address of the provider, as its backup host")
    default_address: str | None = None
    max_parts: int = Field(8, ge=1, le=8, description="Longest message, in text messages: each is paid for")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int = Field(10, ge=1, description="Calls under way; SMSC.ru takes 15")


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
    locale: str = Field("en", pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$")
    quiet_hours: str | None = Field(
        None,
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="As 22:00-08:00 by each recipient's own clock",
    )
    critical_categories: Annotated[tuple[str, ...], NoDecode] = Field(
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
    start_days: float = Field(
        7.0, gt=0, le=3_650, description="How long a link is good by which a person comes to a bot, days"
    )


class ConsoleSettings(SenderSettings):
    """The `CONSOLE` sender prints to standard output."""

    model_config = _env("CONSOLE_")

    enabled: bool = True


class ProcessSettings(BaseSettings):
    """What this process does, and how it speaks."""

    model_config = _env("")

    roles: Annotated[tuple[Role, ...], NoDecode] = ("api", "worker")
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
    links: LinkSettings = Field(default_factory=LinkSettings)
    templates: TemplateSettings = Field(default_factory=TemplateSettings)

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
