"""`VK` against its fake. Expectations: the error codes of https://dev.vk.com/reference/errors."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import VkSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Scope, Throttled, Unknown
from service.senders.vk import VkSender
from service.settings import AttachmentSettings
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import HOSTILE, Case, Situation, SplittingRig
from tests.fakes.provider import Fault
from tests.fakes.vk import TOKEN, FakeVk


def fault(**values: Any) -> Callable[["VkRig"], None]:
    """The API's next answer."""
    return lambda rig: rig.vk.fault(Fault(**values))


def error(code: int, message: str = "an error") -> Callable[["VkRig"], None]:
    return lambda rig: rig.vk.fault(error_fault(code, message))


def error_fault(code: int, message: str = "an error") -> Fault:
    """An error of the API as it comes: inside HTTP 200."""
    document = {"error": {"error_code": code, "error_msg": message, "request_params": []}}
    headers = {"content-type": "application/json"}
    return Fault(status=200, body=orjson.dumps(document).decode(), headers=headers, accept=False)


def errors(situation: Situation, outcome: Any, *codes: int, **more: Any) -> list[Case]:
    return [
        Case(situation, error(code), outcome, str(code), note=f"by error {code}", **more) for code in codes
    ]


def denied(rig: "VkRig") -> None:
    rig.vk.denied.add(int(rig.address))


def captcha(rig: "VkRig") -> None:
    more = {"captcha_sid": "1", "captcha_img": "https://vk.ru/captcha.php?sid=1"}
    document = {"error": {"error_code": 14, "error_msg": "Captcha needed", "request_params": [], **more}}
    rig.vk.fault(Fault(status=200, body=orjson.dumps(document).decode(), accept=False))


class VkRig(SplittingRig):
    name = "VK"
    address = "123456"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.vk.stop(), Retry, "connect", recovers=False),
        Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
        Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
        Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
        Case(Situation.MALFORMED, fault(status=200, body='{"response": {}}'), Unknown, "answer", accepted=1),
        Case(Situation.MALFORMED, fault(status=200, body="[]"), Unknown, "answer", accepted=1, note="no object"),
        Case(Situation.MALFORMED, fault(status=200, body='{"error": "x"}'), Unknown, "answer", accepted=1, note="error"),
        Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1, note="no HTTP"),
        Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
        Case(Situation.HTML, fault(status=503, body=HTML_PAGE), Retry, "503", note="503"),
        Case(Situation.HTML, fault(status=413, body=HTML_PAGE), Refused, "413", note="413"),
        Case(Situation.HTML, fault(status=404, body=HTML_PAGE), Retry, "404", note="404"),
        *errors(Situation.SERVER_ERROR, Retry, 1, 10, 36),
        *errors(Situation.THROTTLED_NO_HINT, Throttled, 6),
        *errors(Situation.THROTTLED_NO_HINT, Throttled, 9, retry_after=60, scope=Scope.ADDRESS),
        *errors(Situation.THROTTLED_NO_HINT, Throttled, 29, 944, retry_after=600),
        Case(Situation.THROTTLED_NO_HINT, fault(status=429), Throttled, "429", note="by HTTP"),
        Case(Situation.REFUSED, error(914, "Message is too long"), Refused, "914"),
        *errors(Situation.REFUSED, Refused, 3, 100, 113, 910, 911, 912, 913, 921, 925, 940, 943, 969, 99_999),
        Case(Situation.GONE, denied, Gone, "901", recovers=False),
        *errors(Situation.GONE, Gone, 18, 900, 901, 902, 917, 922, 927, 936, 945, 946, 950, 985, 1012),
        *errors(Situation.CREDENTIALS, Halted, 5, 7, 15, 17, 23, 24, 25, 27, 1117),
        Case(Situation.CREDENTIALS, captcha, Halted, "14", note="captcha"),
    )  # fmt: skip
    cannot_happen: ClassVar = {Situation.THROTTLED: "VK never says when to come back"}
    canonical_addresses: ClassVar = {"2000000001": "2000000001", "-77": "-77"}
    bad_addresses = ("", "0", "-0", "+1", "id1", "1.5", "1 2", "٣", "durov", "9" * 16)
    # Something invisible stands where VK would read a mention: @all, *id1.
    shown_as: ClassVar = {
        HOSTILE["mentions"]: HOSTILE["mentions"].replace("@", "@\u200b"),
        HOSTILE["markdown"]: HOSTILE["markdown"].replace("*bold", "*\u200bbold"),
    }
    secrets = (TOKEN,)

    async def __aenter__(self) -> Self:
        self.vk = await FakeVk().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.vk.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "VK_TOKEN": self._sender(token=None),
            "VK_API_URL": self._sender(api_url="nowhere"),
            "VK_DEFAULT_PEER_ID": self._sender(default_peer_id="durov"),
        }

    def accepted(self) -> list[str]:
        return [message.text for message in self.vk.messages]

    def fail_call(self, number: int) -> None:
        self.vk.fault(Fault(), times=number - 1)
        self.vk.fault(error_fault(10, "Internal server error"))

    def _sender(self, **values: Any) -> BaseSender:
        settings = VkSettings.model_validate({"token": TOKEN, "api_url": self.vk.base_url, **values})
        attachments = AttachmentSettings(allow_private=True)
        return VkSender(settings, attachments, timeout_seconds=self.timeout_seconds)
