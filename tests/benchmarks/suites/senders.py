"""Each sender at its fake: how fast an engine sends what is stored, beside Telegram's; and how long APPRISE holds up
the event loop.

The fake serves in this process, the engine and its sender work in another. Pacing is off.
"""

import asyncio
import gc
import multiprocessing
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import uvloop

from service.contract import NotificationRequest
from service.db.database import Database
from service.db.migrate import migrate
from service.delivery.intake import Submission
from service.sender_settings import EmailSettings
from service.senders.base import BaseSender
from service.senders.email import EmailSender
from service.settings import AttachmentSettings, DeliverySettings
from tests.benchmarks.figures import Figures, Goal
from tests.benchmarks.stage import Stage
from tests.contract.rigs.apprise import AppriseRig
from tests.contract.rigs.discord import DiscordRig
from tests.contract.rigs.email import EmailRig
from tests.contract.rigs.fcm import FcmRig
from tests.contract.rigs.matrix import MatrixRig
from tests.contract.rigs.mattermost import MattermostRig
from tests.contract.rigs.max import MaxRig
from tests.contract.rigs.rustore import RuStoreRig
from tests.contract.rigs.slack import SlackRig
from tests.contract.rigs.sms import SmscRig
from tests.contract.rigs.telegram import TelegramRig
from tests.contract.rigs.vk import VkRig
from tests.contract.rigs.webhook import WebhookRig
from tests.contract.rigs.webpush import WebPushRig
from tests.contract.sender_suite import Rig
from tests.fakes.tiny_smtp import TinySmtpServer
from tests.support.engines import make_engine
from tests.support.waiting import wait_until

AT_ONCE = 50
WARM_UP = 200
LOOK_SECONDS = 0.001


class FastEmailRig(EmailRig):
    """A real SMTP server costs ten times what a mail costs its sender."""

    async def __aenter__(self) -> Self:
        self._tiny = await TinySmtpServer().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tiny.__aexit__(kind, error, trace)

    def sender(self) -> BaseSender:
        settings = EmailSettings.model_validate(
            {
                "host": "127.0.0.1",
                "port": self._tiny.port,
                "security": "none",
                "from_address": "a@example.com",
            }
        )
        return EmailSender(settings, AttachmentSettings(), timeout_seconds=self.timeout_seconds)


RIGS: Sequence[type[Rig]] = (
    TelegramRig, WebhookRig, VkRig, MaxRig, RuStoreRig, FcmRig, WebPushRig, FastEmailRig, SlackRig, DiscordRig,
    MattermostRig, MatrixRig, SmscRig, AppriseRig,
)  # fmt: skip


async def senders(stage: Stage, count: int, messages: int) -> tuple[Figures, list[Goal]]:
    """A fifth of the messages each; APPRISE, which makes a thread's call for each, a hundredth."""
    figures = Figures()
    for _ in range(count):
        for rig_class in RIGS:
            share = 100 if rig_class.name == "APPRISE" else 5
            with stage.postgres.database() as url:
                async with rig_class() as rig:
                    rate, cpu, stall = await asyncio.to_thread(_apart, rig, url, max(messages // share, 100))
            figures.add(f"{rig.name}: messages/s", rate)
            figures.add(f"{rig.name}: own CPU us", cpu)
            figures.add(f"{rig.name}: longest stall ms", stall)
    others = [rig.name for rig in RIGS if rig.name not in ("TG", "APPRISE")]
    return figures, [
        *(Goal(f"{name} / TG", f"{name}: messages/s", "TG: messages/s", at_least=0.5) for name in others),
        Goal("APPRISE: longest stall of the event loop, ms", "APPRISE: longest stall ms", at_most=50),
    ]


def _apart(rig: Rig, url: str, count: int) -> tuple[float, float, float]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_send_all, args=(rig, url, count, there))
    process.start()
    try:
        assert here.poll(120), f"{rig.name} did not send {count} messages in two minutes"
        figures: tuple[float, float, float] = here.recv()
    finally:
        process.kill()
        process.join()
    return figures


def _send_all(rig: Rig, url: str, count: int, answer: Connection) -> None:
    answer.send(uvloop.run(_measure(rig, url, count)))


async def _measure(rig: Rig, url: str, count: int) -> tuple[float, float, float]:
    """Messages a second, microseconds of CPU a message, and the longest time the event loop stood still, ms."""
    sender = _unbound(rig.sender())
    await sender.open()
    await migrate(url)
    database = Database(url)
    await database.open()
    await _store(database, sender, rig.address, WARM_UP)
    await _send(database, sender)
    await _store(database, sender, rig.address, count)
    gc.collect()
    gc.freeze()
    stalls: list[float] = []
    watch = asyncio.create_task(_watch(stalls))
    began, before = time.monotonic(), _cpu()
    await _send(database, sender)
    seconds, spent = time.monotonic() - began, _cpu() - before
    watch.cancel()
    sent = await database.pool.fetchval("SELECT count(*) FROM delivery WHERE status = 'sent'")
    assert sent == WARM_UP + count, f"{rig.name} sent {sent} of {WARM_UP + count}"
    return count / seconds, spent / count * 1e6, max(stalls, default=0.0) * 1e3


async def _store(database: Database, sender: BaseSender, address: str, count: int) -> None:
    """By an engine that sends nothing."""
    engine = make_engine(database, {sender.name: sender}, DeliverySettings(), transports=(), works=False)
    await engine.start([])
    requests = [
        NotificationRequest.model_validate(
            {"title": "Order", "body": f"is paid: {n}", "sender": sender.name, "to": address}
        )
        for n in range(count)
    ]
    await engine.intake.accept_many([Submission(request, "http") for request in requests], wait=True)
    await engine.stop()


def _unbound(sender: BaseSender) -> BaseSender:
    """Without the limits of the account and of an address, and without order: a fake knows one address."""
    sender.limits = replace(sender.limits, rate=None, address_concurrency=AT_ONCE)
    sender.capabilities = replace(sender.capabilities, ordered=False)  # type: ignore[misc]
    sender.address_spacing = lambda _: 0.0  # type: ignore[method-assign,assignment]
    return sender


async def _send(database: Database, sender: BaseSender) -> None:
    engine = make_engine(database, {sender.name: sender}, DeliverySettings(), transports=())
    await engine.start([])
    await wait_until(lambda: _is_idle(database), 100, "all is sent")
    await engine.stop()
    await sender.open()


async def _is_idle(database: Database) -> bool:
    waiting = "SELECT EXISTS (SELECT 1 FROM delivery WHERE status IN ('queued', 'sending'))"
    return not await database.pool.fetchval(waiting)


async def _watch(stalls: list[float]) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(LOOK_SECONDS)
        stalls.append(time.monotonic() - before - LOOK_SECONDS)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
