"""`TG` against the fake Bot API server. Expectations: https://core.telegram.org/bots/api and the official server."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from service.sender_settings import TelegramSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Scope, Throttled, Unknown
from service.senders.telegram import TelegramSender
from tests.contract.sender_suite import Case, Situation, SplittingRig
from tests.fakes.telegram import TOKEN, FakeTelegram


def fault(kind: str, **values: Any) -> Callable[["TelegramRig"], None]:
    """The server's next answer."""
    return lambda rig: rig.telegram.fault(kind, **values)


def error(status: int, description: str) -> Callable[["TelegramRig"], None]:
    return fault("error", status=status, description=description)


def chat(**values: Any) -> Callable[["TelegramRig"], None]:
    """What is the matter with the chat."""

    def arrange(rig: "TelegramRig") -> None:
        for name, value in values.items():
            setattr(rig.telegram.chat(int(rig.address)), name, value)

    return arrange


class TelegramRig(SplittingRig):
    name = "TG"
    address = "123456789"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.telegram.stop(), Retry, "connect", recovers=False),
        Case(Situation.RESET_BEFORE, fault("reset"), Unknown, "broken"),
        Case(Situation.RESET_AFTER, fault("reset", accept=True), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault("hang", accept=True), Unknown, "timeout", accepted=1),
        Case(Situation.SILENT, fault("hang"), Unknown, "timeout", note="and not accepted"),
        Case(Situation.MALFORMED, fault("malformed", accept=True), Unknown, accepted=1),
        Case(Situation.MALFORMED, fault("garbage", accept=True), Unknown, accepted=1, note="no HTTP"),
        Case(Situation.HTML, fault("html", accept=True), Unknown, "502", accepted=1),
        Case(Situation.HTML, fault("html", status=504), Unknown, "504", note="504"),
        Case(Situation.HTML, fault("html", status=503), Retry, "503", note="503"),
        Case(Situation.HTML, fault("html", status=413), Refused, "413", note="413"),
        Case(Situation.SERVER_ERROR, fault("error"), Retry, "500"),
        Case(Situation.SERVER_ERROR, error(500, "Internal Server Error: restart"), Retry, "500", note="restart"),
        Case(
            Situation.THROTTLED, fault("throttle", retry_after=5), Throttled, "429", retry_after=5, scope=Scope.ADDRESS
        ),
        Case(Situation.THROTTLED_NO_HINT, fault("throttle"), Throttled, "429", scope=Scope.ADDRESS),
        Case(Situation.REFUSED, chat(readonly=True), Refused, "400", recovers=False, note="no rights"),
        Case(Situation.REFUSED, error(400, "Bad Request: BUTTON_URL_INVALID"), Refused, "400"),
        Case(
            Situation.REFUSED, error(403, "Forbidden: not enough rights to send text messages to the chat"), Refused,
            "403", note="rights",
        ),
        Case(Situation.GONE, chat(blocked=True), Gone, "403", recovers=False),
        Case(Situation.GONE, chat(deactivated=True), Gone, "403", recovers=False, note="deactivated"),
        Case(Situation.GONE, chat(kicked=True), Gone, "403", recovers=False, note="kicked"),
        Case(Situation.GONE, chat(missing=True), Gone, "400", recovers=False, note="missing"),
        Case(Situation.GONE, error(400, "Bad Request: PEER_ID_INVALID"), Gone, "400", note="peer"),
        Case(Situation.CREDENTIALS, error(401, "Unauthorized"), Halted, "401"),
        Case(Situation.CREDENTIALS, error(404, "Not Found"), Halted, "404", note="unknown path"),
    )  # fmt: skip
    canonical_addresses: ClassVar = {
        "@Some_Channel": "@some_channel",
        "123:1": "123",
        "-1001234567890:7": "-1001234567890:7",
    }
    bad_addresses = (
        "",
        "0",
        "-0",
        "abc",
        "+1",
        "1.5",
        "@a",
        "@1abcd",
        "123:",
        "123:0",
        "123:x",
        "٣",
        "9" * 17,
        "1 2",
    )
    secrets = (TOKEN, TOKEN.partition(":")[2])

    async def __aenter__(self) -> Self:
        self.telegram = await FakeTelegram().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.telegram.stop()

    def sender(self) -> BaseSender:
        return TelegramSender(self._settings(), timeout_seconds=self.timeout_seconds)

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "TG_BOT_TOKEN": TelegramSender(self._settings(bot_token=None)),
            "TG_API_URL": TelegramSender(self._settings(api_url="nowhere")),
        }

    def accepted(self) -> list[str]:
        return self.telegram.texts()

    def fail_call(self, number: int) -> None:
        self.telegram.fault("error", skip=number - 1)

    def _settings(self, **values: Any) -> TelegramSettings:
        return TelegramSettings.model_validate({"bot_token": TOKEN, "api_url": self.telegram.url, **values})
