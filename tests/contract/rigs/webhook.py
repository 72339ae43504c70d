"""`WEBHOOK` against a receiver that verifies with the official package."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from service.sender_settings import WebhookSettings
from service.senders.base import BaseSender, Gone, Refused, Retry, Scope, Throttled, Unknown
from service.senders.webhook import WebhookSender
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import Case, Rig, Situation
from tests.fakes.provider import Fault
from tests.fakes.webhook import SECRET, FakeWebhook


def settings(**values: object) -> WebhookSettings:
    return WebhookSettings.model_validate({"secret": SECRET, "allow_private": True, **values})


def fault(**values: Any) -> Callable[["WebhookRig"], None]:
    """The receiver's next answer."""
    return lambda rig: rig.hook.fault(Fault(**values))


class WebhookRig(Rig):
    name = "WEBHOOK"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.hook.stop(), Retry, "connect", recovers=False),
        Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
        Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
        Case(
            Situation.SILENT,
            fault(ending="hang", accept=False),
            Unknown,
            "timeout",
            note="and not accepted",
        ),
        Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, "broken", accepted=1),
        Case(
            Situation.HTML,
            fault(status=502, body=HTML_PAGE, headers={"content-type": "text/html"}),
            Throttled,
            "502",
            scope=Scope.ADDRESS,
        ),
        Case(Situation.SERVER_ERROR, fault(status=500, body="oops"), Retry, "500"),
        Case(Situation.SERVER_ERROR, fault(status=503), Retry, "503", note="503"),
        Case(Situation.SERVER_ERROR, fault(status=408), Retry, "408", note="408"),
        Case(Situation.SERVER_ERROR, fault(status=425), Retry, "425", note="425"),
        Case(
            Situation.SERVER_ERROR,
            fault(status=500, headers={"retry-after": "7"}),
            Retry,
            "500",
            retry_after=7,
            note="with a time",
        ),
        Case(
            Situation.THROTTLED,
            fault(status=429, headers={"retry-after": "30"}),
            Throttled,
            "429",
            retry_after=30,
            scope=Scope.ADDRESS,
        ),
        Case(
            Situation.THROTTLED,
            fault(status=503, headers={"retry-after": "120"}),
            Throttled,
            "503",
            retry_after=120,
            scope=Scope.ADDRESS,
            note="by 503",
        ),
        Case(
            Situation.THROTTLED,
            fault(status=429, headers={"retry-after": "0"}),
            Throttled,
            "429",
            retry_after=1,
            scope=Scope.ADDRESS,
            note="for no time",
        ),
        Case(Situation.THROTTLED_NO_HINT, fault(status=429), Throttled, "429", scope=Scope.ADDRESS),
        Case(
            Situation.THROTTLED_NO_HINT,
            fault(status=429, headers={"retry-after": "soon"}),
            Throttled,
            "429",
            scope=Scope.ADDRESS,
            note="but nonsense",
        ),
        Case(
            Situation.THROTTLED_NO_HINT,
            fault(status=504),
            Throttled,
            "504",
            scope=Scope.ADDRESS,
            note="by 504",
        ),
        Case(Situation.REFUSED, fault(status=400, body="no \x1b[31m\nthanks"), Refused, "400"),
        Case(Situation.REFUSED, fault(status=401), Refused, "401", note="401"),
        Case(Situation.REFUSED, fault(status=404), Refused, "404", note="404"),
        Case(
            Situation.REFUSED,
            fault(status=302, headers={"location": "/elsewhere"}),
            Refused,
            "302",
            note="redirect",
        ),
        Case(
            Situation.REFUSED,
            fault(status=307, headers={"location": "/again"}),
            Refused,
            "307",
            note="redirect that keeps the method",
        ),
        Case(Situation.REFUSED, fault(status=400, ending="huge"), Refused, "400", note="at length"),
        Case(Situation.GONE, fault(status=410), Gone, "410"),
    )
    cannot_happen: ClassVar = {
        Situation.CREDENTIALS: "each receiver judges the signature for itself: a 401 is that address's matter"
    }
    canonical_addresses: ClassVar = {
        "HTTPS://Example.com:443/a?token=b#part": "https://example.com/a?token=b",
        "https://пример.рф/путь": "https://xn--e1afmkfd.xn--p1ai/%D0%BF%D1%83%D1%82%D1%8C",
        "http://127.0.0.1:8080/hook": "http://127.0.0.1:8080/hook",
    }
    bad_addresses = (
        "", "x", "//example.com/", "https:example.com", "https:///path", "ftp://example.com/", "file:///etc/passwd",
        "https://user:password@example.com/", "https://user@example.com/", "https://example.com:0/",
        "https://example.com:70000/", "https://exa mple.com/", "https://example.com/\r\nX: y", "https://a..b/",
        "https://127.1/", "https://0x7f.0.0.1/", "https://2130706433/", "https://example.com\\@127.0.0.1/",
        "https://" + "a" * 64 + ".com/", "https://example.com/" + "a" * 2_048, "https://example.com/" + "я" * 1_000,
    )  # fmt: skip
    secrets = (SECRET, SECRET.removeprefix("whsec_"))

    async def __aenter__(self) -> Self:
        self.hook = await FakeWebhook().__aenter__()
        self.address = self.hook.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hook.stop()

    def sender(self) -> BaseSender:
        return WebhookSender(settings(), timeout_seconds=self.timeout_seconds)

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {"WEBHOOK_SECRET": WebhookSender(settings(secret=None))}

    def accepted(self) -> list[str]:
        return [f"{call.data['title']}\n{call.data['body']}" for call in self.hook.accepted]
