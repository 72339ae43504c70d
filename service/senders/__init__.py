"""The channels and their accounts. A new channel is a file beside this one and a row in `SENDERS`.

A sender makes one attempt and says what came of it: it keeps, waits and repeats nothing, and knows no database.
"""

import sys
from collections.abc import Callable, Mapping

from service.account_settings import in_words_of
from service.senders.apprise import AppriseSender
from service.senders.base import BaseSender
from service.senders.console import ConsoleSender
from service.senders.discord import DiscordSender
from service.senders.email import EmailSender
from service.senders.fcm import FcmSender
from service.senders.matrix import MatrixSender
from service.senders.mattermost import MattermostSender
from service.senders.max import MaxSender
from service.senders.rustore import RuStoreSender
from service.senders.slack import SlackSender
from service.senders.sms import SmsSender
from service.senders.telegram import TelegramSender
from service.senders.vk import VkSender
from service.senders.webhook import WebhookSender
from service.senders.webpush import WebPushSender
from service.settings import Settings

SENDERS: Mapping[str, Callable[[Settings], BaseSender]] = {
    "TG": lambda settings: TelegramSender(settings.telegram, timeout_seconds=_call_seconds(settings)),
    "WEBHOOK": lambda settings: WebhookSender(settings.webhook),
    "VK": lambda settings: VkSender(
        settings.vk, settings.attachments, timeout_seconds=_call_seconds(settings)
    ),
    "MAX": lambda settings: MaxSender(
        settings.max, settings.attachments, timeout_seconds=_call_seconds(settings)
    ),
    "EMAIL": lambda settings: EmailSender(
        settings.email, settings.attachments, timeout_seconds=_call_seconds(settings)
    ),
    "MATRIX": lambda settings: MatrixSender(settings.matrix, timeout_seconds=_call_seconds(settings)),
    "SMS": lambda settings: SmsSender(settings.sms, timeout_seconds=_call_seconds(settings)),
    "RUSTORE": lambda settings: RuStoreSender(settings.rustore, timeout_seconds=_call_seconds(settings)),
    "FCM": lambda settings: FcmSender(settings.fcm, timeout_seconds=_call_seconds(settings)),
    "WEBPUSH": lambda settings: WebPushSender(settings.webpush, timeout_seconds=_call_seconds(settings)),
    "SLACK": lambda settings: SlackSender(settings.slack, timeout_seconds=_call_seconds(settings)),
    "DISCORD": lambda settings: DiscordSender(
        settings.discord, settings.attachments, timeout_seconds=_call_seconds(settings)
    ),
    "MATTERMOST": lambda settings: MattermostSender(
        settings.mattermost, timeout_seconds=_call_seconds(settings)
    ),
    "APPRISE": lambda settings: AppriseSender(settings.apprise, timeout_seconds=_call_seconds(settings)),
    "CONSOLE": lambda settings: ConsoleSender(settings.console, sys.stdout),
}


def _call_seconds(settings: Settings) -> float:
    """Below the engine's own limit, so that the ids of the parts that were accepted come back."""
    return 0.75 * settings.delivery.send_timeout_seconds


def build_senders(settings: Settings) -> dict[str, BaseSender]:
    """Every sender of the table and its accounts, in order, those that are off too. Nothing is connected yet."""
    senders: dict[str, BaseSender] = {}
    for channel, make in SENDERS.items():
        senders[channel] = make(settings)
        for name in settings.accounts_of(channel):
            senders[name] = _as_account(name, make(settings.for_account(name)))
    return senders


def _as_account(name: str, sender: BaseSender) -> BaseSender:
    sender.name = name
    if sender.off_reason is not None:
        sender.off_reason = in_words_of(name, sender.off_reason)
    return sender
