"""Each sender's settings: variables that begin with its name; a further account's begin with its own, `TG__ALERTS__`."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import NoDecode

from service.account_settings import SenderSettings
from service.variables import CommaList, variables


class TelegramSettings(SenderSettings):
    """The `TG` sender is on when `TG_BOT_TOKEN` is set. A rate of 0 means no limit."""

    model_config = variables("TG_")

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


class WebhookSettings(SenderSettings):
    """The `WEBHOOK` sender is on when `WEBHOOK_SECRET` is set. A rate of 0 means no limit."""

    model_config = variables("WEBHOOK_")

    secret: SecretStr | None = Field(
        None, description="whsec_… of Standard Webhooks; two, with a space, to rotate"
    )
    default_url: str | None = None
    allow_private: bool = Field(False, description="Allow http and addresses inside the network")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class VkSettings(SenderSettings):
    """The `VK` sender is on when `VK_TOKEN` is set. A rate of 0 means no limit."""

    model_config = variables("VK_")

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

    model_config = variables("MAX_")

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

    model_config = variables("RUSTORE_")

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

    model_config = variables("FCM_")

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

    model_config = variables("WEBPUSH_")

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

    model_config = variables("SLACK_")

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

    model_config = variables("DISCORD_")

    webhook_url: SecretStr | None = Field(None, description="The webhook for messages without `to`")
    api_url: str = "https://discord.com/api/v10"
    rate: float = Field(50.0, ge=0, description="Messages a second in all")
    webhook_rate: float = Field(2.0, ge=0, description="Messages a second to one webhook")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class MattermostSettings(SenderSettings):
    """The `MATTERMOST` sender is on when `MATTERMOST_URL` is set. A rate of 0 means no limit."""

    model_config = variables("MATTERMOST_")

    url: str | None = Field(None, description="The server, as https://chat.example.com")
    default_hook: SecretStr | None = Field(None, description="The incoming webhook for messages without `to`")
    rate: float = Field(0.0, ge=0, description="Messages a second in all")
    concurrency: int | None = Field(None, ge=1, description="Calls under way; default DELIVERY_CONCURRENCY")


class EmailSettings(SenderSettings):
    """The `EMAIL` sender is on when `EMAIL_HOST` and `EMAIL_FROM_ADDRESS` are set. A rate of 0 means no limit."""

    model_config = variables("EMAIL_")

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

    model_config = variables("APPRISE_")

    urls: Annotated[dict[str, SecretStr], NoDecode] = Field(
        {}, description="Names and their Apprise URLs, as ops=slack://… desk=gotify://…"
    )
    default_address: str | None = Field(None, description="One of the names")
    schemas: CommaList[Annotated[str, StringConstraints(to_lower=True)]] = Field(
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


class MatrixSettings(SenderSettings):
    """The `MATRIX` sender is on when `MATRIX_URL` and `MATRIX_TOKEN` are set. A rate of 0 means no limit."""

    model_config = variables("MATRIX_")

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

    model_config = variables("SMS_")

    provider: Literal["smsc", "smsru"] = "smsc"
    login: str | None = Field(None, description="SMSC.ru: the account, with a password")
    password: SecretStr | None = None
    api_key: SecretStr | None = Field(
        None, description="SMSC.ru: in place of login and password; SMS.ru: api_id"
    )
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


class ConsoleSettings(SenderSettings):
    """The `CONSOLE` sender prints to standard output."""

    model_config = variables("CONSOLE_")

    enabled: bool = True
