"""Every sender of the table through the same scenarios."""

from service.senders import SENDERS, build_senders
from service.settings import Settings
from tests.contract.rigs.apprise import AppriseRig
from tests.contract.rigs.console import ConsoleRig
from tests.contract.rigs.discord import DiscordRig
from tests.contract.rigs.email import EmailRig
from tests.contract.rigs.fcm import FcmRig
from tests.contract.rigs.matrix import MatrixRig
from tests.contract.rigs.mattermost import MattermostRig
from tests.contract.rigs.max import MaxRig
from tests.contract.rigs.rustore import RuStoreRig, RuStoreUniversalRig
from tests.contract.rigs.slack import SlackRig, SlackWebhookRig
from tests.contract.rigs.sms import SmscRig, SmsRuRig
from tests.contract.rigs.telegram import TelegramRig
from tests.contract.rigs.vk import VkRig
from tests.contract.rigs.webhook import WebhookRig
from tests.contract.rigs.webpush import WebPushRig
from tests.contract.sender_suite import SenderSuite


class TestTelegram(SenderSuite):
    rig_class = TelegramRig


class TestWebhook(SenderSuite):
    rig_class = WebhookRig


class TestVk(SenderSuite):
    rig_class = VkRig


class TestMax(SenderSuite):
    rig_class = MaxRig


class TestEmail(SenderSuite):
    rig_class = EmailRig


class TestMatrix(SenderSuite):
    rig_class = MatrixRig


class TestSms(SenderSuite):
    rig_class = SmscRig


class TestSmsOfAnotherProvider(SenderSuite):
    rig_class = SmsRuRig


class TestRuStore(SenderSuite):
    rig_class = RuStoreRig


class TestRuStoreUniversal(SenderSuite):
    rig_class = RuStoreUniversalRig


class TestSlack(SenderSuite):
    rig_class = SlackRig


class TestSlackWebhook(SenderSuite):
    rig_class = SlackWebhookRig


class TestDiscord(SenderSuite):
    rig_class = DiscordRig


class TestMattermost(SenderSuite):
    rig_class = MattermostRig


class TestFcm(SenderSuite):
    rig_class = FcmRig


class TestApprise(SenderSuite):
    rig_class = AppriseRig


class TestWebPush(SenderSuite):
    rig_class = WebPushRig


class TestConsole(SenderSuite):
    rig_class = ConsoleRig


SUITES = (
    TestTelegram, TestWebhook, TestVk, TestMax, TestEmail, TestMatrix, TestSms, TestRuStore, TestFcm, TestWebPush, TestSlack, TestDiscord, TestMattermost,
    TestApprise,
    TestConsole,
)  # fmt: skip


def test_every_sender_of_the_table_has_its_suite() -> None:
    assert [suite.rig_class.name for suite in SUITES] == list(SENDERS)


def test_the_table_names_each_sender_as_it_names_itself() -> None:
    senders = build_senders(Settings())
    assert list(senders) == list(SENDERS)
    assert all(sender.name == name for name, sender in senders.items())
