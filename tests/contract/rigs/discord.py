"""`DISCORD` against its fake. Expectations: the error codes and rate limits of Discord's documentation."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import DiscordSettings
from service.senders.base import BaseSender, Gone, Refused, Retry, Scope, Throttled, Unknown
from service.senders.discord import DiscordSender
from service.settings import AttachmentSettings
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import HOSTILE, Case, Situation, SplittingRig
from tests.fakes.discord import WEBHOOK_ID, WEBHOOK_TOKEN, FakeDiscord
from tests.fakes.provider import Fault

HOOK = f"{WEBHOOK_ID}/{WEBHOOK_TOKEN}"


def fault(**values: Any) -> Callable[["DiscordRig"], None]:
    """Discord's next answer."""
    return lambda rig: rig.discord.fault(Fault(**values))


def error_fault(status: int, code: int, **headers: str) -> Fault:
    return Fault(
        status=status, body=orjson.dumps({"code": code, "message": "an error"}).decode(), headers=headers
    )


def errors(situation: Situation, outcome: Any, status: int, *codes: int, **more: Any) -> list[Case]:
    return [
        Case(
            situation, lambda rig, code=code: rig.discord.fault(error_fault(status, code)), outcome, str(code),
            note=str(code), **more,
        )
        for code in codes
    ]  # fmt: skip


def slow_down(*, everywhere: bool = False, **headers: str) -> Callable[["DiscordRig"], None]:
    document = {"message": "You are being rate limited.", "retry_after": 0.641, "global": everywhere}
    return fault(status=429, body=orjson.dumps(document).decode(), headers=headers)


def deleted(rig: "DiscordRig") -> None:
    rig.discord.deleted = True


class DiscordRig(SplittingRig):
    name = "DISCORD"
    address = HOOK
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.discord.stop(), Retry, "connect", recovers=False),
        Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
        Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
        Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
        Case(Situation.MALFORMED, fault(status=200, body="{}"), Unknown, "answer", accepted=1),
        Case(Situation.MALFORMED, fault(status=204), Unknown, "answer", accepted=1, note="204"),
        Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1, note="no HTTP"),
        Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
        Case(Situation.HTML, fault(status=403, body=HTML_PAGE), Retry, "403", note="403"),
        Case(Situation.HTML, fault(status=429, body=HTML_PAGE), Throttled, "429", note="429"),
        *errors(Situation.SERVER_ERROR, Retry, 500, 130_000),
        Case(Situation.SERVER_ERROR, fault(status=500, body='{"message": "oops", "code": 0}'), Retry, "500"),
        Case(Situation.THROTTLED, slow_down(), Throttled, "429", retry_after=0.641, scope=Scope.ADDRESS),
        Case(
            Situation.THROTTLED, slow_down(**{"x-ratelimit-scope": "shared"}), Throttled, "429", retry_after=0.641,
            scope=Scope.ADDRESS, note="shared",
        ),
        Case(Situation.THROTTLED, slow_down(everywhere=True), Throttled, "429", retry_after=0.641, note="global"),
        Case(
            Situation.THROTTLED, slow_down(**{"x-ratelimit-scope": "global"}), Throttled, "429", retry_after=0.641,
            note="global by header",
        ),
        Case(
            Situation.THROTTLED, lambda rig: rig.discord.fault(error_fault(429, 20_016, **{"retry-after": "60"})),
            Throttled, "20016", retry_after=60, scope=Scope.ADDRESS, note="slow mode",
        ),
        *errors(Situation.THROTTLED_NO_HINT, Throttled, 429, 20_028, 20_029, 40_062, scope=Scope.ADDRESS),
        *errors(Situation.REFUSED, Refused, 400, 50_035, 50_006, 50_109, 220_001, 220_004, 240_000, 50_083, 160_005),
        *errors(Situation.REFUSED, Refused, 413, 40_005),
        *errors(Situation.REFUSED, Refused, 403, 40_333),
        Case(Situation.GONE, deleted, Gone, "10015", recovers=False),
        *errors(Situation.GONE, Gone, 401, 50_027),
        *errors(Situation.GONE, Gone, 404, 10_003),
    )  # fmt: skip
    cannot_happen: ClassVar = {
        Situation.CREDENTIALS: "a webhook is its own account: its end is that address's"
    }
    canonical_addresses: ClassVar = {
        f"https://discord.com/api/webhooks/{HOOK}": HOOK,
        f"https://discordapp.com/api/v10/webhooks/{HOOK}": HOOK,
        f"https://discord.com/api/webhooks/{HOOK}?thread_id=77": f"{HOOK}:77",
    }
    bad_addresses = (
        "", WEBHOOK_ID, f"x/{WEBHOOK_TOKEN}", f"{HOOK}:x", f"{HOOK}/slack", f"http://discord.com/api/webhooks/{HOOK}",
        f"https://example.com/api/webhooks/{HOOK}", f"https://discord.com@example.com/api/webhooks/{HOOK}",
        f"https://a@discord.com/api/webhooks/{HOOK}", f"https://discord.com/api/webhooks/{WEBHOOK_ID}/a%2Fb",
        "https://[", f"{WEBHOOK_ID}/../x",
    )  # fmt: skip
    shown_as: ClassVar = {HOSTILE["mentions"]: HOSTILE["mentions"].replace("@every", "@\u200bevery")}
    secrets = (WEBHOOK_TOKEN,)

    async def __aenter__(self) -> Self:
        self.discord = await FakeDiscord().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discord.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "DISCORD_WEBHOOK_URL": self._sender(webhook_url=None),
            "DISCORD_API_URL": self._sender(api_url="nowhere"),
        }

    def accepted(self) -> list[str]:
        assert not [mention for message in self.discord.messages for mention in message.pinged]
        return [message.shown.text for message in self.discord.messages]

    def fail_call(self, number: int) -> None:
        self.discord.fault(Fault(), times=number - 1)
        self.discord.fault(error_fault(500, 130_000))

    def _sender(self, **values: Any) -> BaseSender:
        url = f"https://discord.com/api/webhooks/{HOOK}"
        given = {"webhook_url": url, "api_url": self.discord.api_url, **values}
        settings = DiscordSettings.model_validate(given)
        attachments = AttachmentSettings(allow_private=True)
        return DiscordSender(settings, attachments, timeout_seconds=self.timeout_seconds)
