"""`MAX` against its fake. Expectations: the schema of the official clients, and what people met in production."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import MaxSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Throttled, Unknown
from service.senders.max import MaxSender
from service.settings import AttachmentSettings
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import Case, Situation, SplittingRig
from tests.fakes.max import TOKEN, FakeMax
from tests.fakes.provider import Fault


def fault(**values: Any) -> Callable[["MaxRig"], None]:
    """The API's next answer."""
    return lambda rig: rig.max.fault(Fault(**values))


def error_fault(status: int, code: str, text: str = "an error", **headers: str) -> Fault:
    body = orjson.dumps({"code": code, "message": text}).decode()
    return Fault(status=status, body=body, headers={"content-type": "application/json", **headers})


def error(status: int, code: str, text: str = "an error", **headers: str) -> Callable[["MaxRig"], None]:
    return lambda rig: rig.max.fault(error_fault(status, code, text, **headers))


def person(state: str) -> Callable[["MaxRig"], None]:
    """What is the matter with the person or chat."""
    return lambda rig: getattr(rig.max, state).add(rig.address)


class MaxRig(SplittingRig):
    name = "MAX"
    address = "5000123"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.max.stop(), Retry, "connect", recovers=False),
        Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
        Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
        Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
        Case(Situation.MALFORMED, fault(status=200, body='{"message": {}}'), Unknown, "answer", accepted=1),
        Case(Situation.MALFORMED, fault(status=200, body="[]"), Unknown, "answer", accepted=1, note="no object"),
        Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1, note="no HTTP"),
        Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
        Case(Situation.HTML, fault(status=504, body=HTML_PAGE), Unknown, "504", note="504"),
        Case(Situation.HTML, fault(status=503, body=HTML_PAGE), Retry, "503", note="503"),
        Case(Situation.HTML, fault(status=404, body=HTML_PAGE), Retry, "404", note="404"),
        Case(Situation.SERVER_ERROR, error(500, "internal.error"), Retry, "internal.error"),
        Case(Situation.SERVER_ERROR, error(503, "service.unavailable"), Retry, "service.unavailable", note="503"),
        Case(
            Situation.THROTTLED, error(429, "too.many.requests", **{"retry-after": "3"}), Throttled,
            "too.many.requests", retry_after=3,
        ),
        Case(Situation.THROTTLED_NO_HINT, error(429, "too.many.requests"), Throttled, "too.many.requests"),
        Case(Situation.THROTTLED_NO_HINT, fault(status=429, body="slow down"), Throttled, "429", note="no JSON"),
        Case(Situation.REFUSED, error(400, "proto.payload", "text: size must be between 0 and 4000"), Refused, "proto.payload"),
        Case(Situation.REFUSED, error(403, "access.denied"), Refused, "access.denied", note="no access"),
        Case(Situation.REFUSED, error(403, "chat.denied", "Key: error.chat.readonly"), Refused, "chat.denied", note="other 403"),
        Case(Situation.REFUSED, error(404, "not.found"), Refused, "not.found", note="plain 404"),
        Case(Situation.REFUSED, error(405, "method.not.allowed"), Refused, "method.not.allowed", note="405"),
        Case(Situation.GONE, person("stopped"), Gone, "chat.denied", recovers=False),
        Case(Situation.GONE, person("unknown"), Gone, "chat.denied", recovers=False, note="no dialog"),
        Case(Situation.GONE, person("missing"), Gone, "chat.not.found", recovers=False, note="no chat"),
        Case(Situation.CREDENTIALS, error(401, "verify.token", "Invalid access_token"), Halted, "verify.token"),
        Case(Situation.CREDENTIALS, error(403, "verify.token"), Halted, "verify.token", note="as once"),
    )  # fmt: skip
    canonical_addresses: ClassVar = {"chat:-68500001": "chat:-68500001", "7": "7"}
    bad_addresses = ("", "0", "-5", "chat:", "chat:0", "chat:x", "user:5", "5 6", "٣", "9" * 20)
    secrets = (TOKEN,)

    async def __aenter__(self) -> Self:
        self.max = await FakeMax().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.max.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "MAX_TOKEN": self._sender(token=None),
            "MAX_API_URL": self._sender(api_url="nowhere"),
            "MAX_CA_FILE": self._sender(ca_file="/nowhere.pem"),
            "MAX_DEFAULT_ADDRESS": self._sender(default_address="@anna"),
        }

    def accepted(self) -> list[str]:
        return [message.text for message in self.max.messages]

    def fail_call(self, number: int) -> None:
        self.max.fault(Fault(), times=number - 1)
        self.max.fault(error_fault(500, "internal.error"))

    def _sender(self, **values: Any) -> BaseSender:
        settings = MaxSettings.model_validate({"token": TOKEN, "api_url": self.max.base_url, **values})
        attachments = AttachmentSettings(allow_private=True)
        return MaxSender(settings, attachments, timeout_seconds=self.timeout_seconds)
