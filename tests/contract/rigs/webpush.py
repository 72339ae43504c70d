"""`WEBPUSH` against a push service that reads as a browser does. Expectations: the RFCs, and Mozilla's errors."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import WebPushSettings
from service.senders.base import BaseSender, Gone, Refused, Retry, Scope, Throttled, Unknown
from service.senders.webpush import WebPushSender
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import Case, Rig, Situation
from tests.fakes.provider import Fault
from tests.fakes.webpush import PRIVATE_KEY, FakePushService, failure_document

P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"


def fault(**values: Any) -> Callable[["WebPushRig"], None]:
    """The push service's next answer."""
    return lambda rig: rig.service.fault(Fault(**values))


def failed(status: int, errno: int, text: str = "an error", **headers: str) -> Callable[["WebPushRig"], None]:
    body = orjson.dumps(failure_document(status, errno, text)).decode()
    return fault(status=status, body=body, headers={"content-type": "application/json", **headers})


def unsubscribe(rig: "WebPushRig") -> None:
    rig.service.unsubscribed |= rig.service.browsers.keys()


class WebPushRig(Rig):
    name = "WEBPUSH"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.service.stop(), Retry, "connect", recovers=False),
        Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
        Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
        Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
        Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1),
        Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
        Case(Situation.HTML, fault(status=503, body=HTML_PAGE), Retry, "503", note="503"),
        Case(Situation.SERVER_ERROR, failed(500, 999), Retry, "500"),
        Case(Situation.SERVER_ERROR, failed(502, 902), Retry, "502", note="502 of the service itself"),
        Case(
            Situation.SERVER_ERROR, failed(503, 201, **{"retry-after": "12"}), Retry, "503", retry_after=12,
            note="with a time",
        ),
        Case(
            Situation.THROTTLED, failed(429, 0, **{"retry-after": "30"}), Throttled, "429", retry_after=30,
            scope=Scope.ADDRESS,
        ),
        Case(
            Situation.THROTTLED, failed(429, 0, **{"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}), Throttled,
            "429", scope=Scope.ADDRESS, note="until a date that is over",
        ),
        Case(
            Situation.THROTTLED, failed(429, 0, **{"retry-after": "1e300"}), Throttled, "429",
            retry_after=86_400, scope=Scope.ADDRESS, note="until the end of days",
        ),
        Case(Situation.THROTTLED_NO_HINT, fault(status=429), Throttled, "429", scope=Scope.ADDRESS),
        Case(Situation.REFUSED, failed(400, 110), Refused, "400"),
        Case(Situation.REFUSED, failed(401, 109, "Invalid VAPID"), Refused, "401", note="signature"),
        Case(Situation.REFUSED, failed(413, 104), Refused, "413", note="too large there"),
        Case(Situation.REFUSED, fault(status=302, headers={"location": "http://127.0.0.1/"}), Refused, "302", note="redirect"),
        Case(Situation.GONE, unsubscribe, Gone, "410", recovers=False),
        Case(Situation.GONE, lambda rig: rig.service.browsers.clear(), Gone, "404", recovers=False, note="404"),
        Case(Situation.GONE, fault(status=404, body=HTML_PAGE), Gone, "404", note="404 as a page"),
        Case(Situation.GONE, failed(403, 0), Gone, "403", note="of another key"),
    )  # fmt: skip
    cannot_happen: ClassVar = {
        Situation.CREDENTIALS: "browsers name their push service: what one of them says must not halt the others"
    }
    canonical_addresses: ClassVar = {
        '{"endpoint": "https://Push.example.com:443/a?b=c", "expirationTime": null, '
        f'"keys": {{"p256dh": "{P256DH}=", "auth": "{AUTH}=="}}}}': f"https://push.example.com/a?b=c#p256dh={P256DH}&auth={AUTH}",
        f"https://push.example.com/a#p256dh={P256DH}&auth={AUTH}": f"https://push.example.com/a#p256dh={P256DH}&auth={AUTH}",
    }  # fmt: skip
    bad_addresses = (
        "", "x", "{", "{}", "[]", '{"endpoint": "https://push.example.com/a"}', "https://push.example.com/a",
        f"ftp://push.example.com/a#p256dh={P256DH}&auth={AUTH}",
        f"https://user@push.example.com/a#p256dh={P256DH}&auth={AUTH}",
        f"https://push.example.com/a#p256dh={P256DH}&auth=short",
        f"https://push.example.com/a#p256dh={AUTH}&auth={AUTH}",
        f"https://push.example.com/a#p256dh={'B' + 'A' * 86}&auth={AUTH}",
        f"https://push.example.com/a#p256dh={P256DH[:-1]}я&auth={AUTH}",
    )  # fmt: skip
    secrets = (PRIVATE_KEY, "gAAAA-fake")

    async def __aenter__(self) -> Self:
        self.service = await FakePushService().__aenter__()
        self.address = self.service.subscribe().address
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.service.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "WEBPUSH_PRIVATE_KEY is not set": self._sender(private_key=None),
            "WEBPUSH_PRIVATE_KEY is malformed": self._sender(private_key=AUTH),
            "WEBPUSH_SUBJECT": self._sender(subject="somebody"),
        }

    def accepted(self) -> list[str]:
        return [push.text for push in self.service.pushes]

    def _sender(self, **values: Any) -> BaseSender:
        settings = {
            "private_key": PRIVATE_KEY, "subject": "mailto:push@example.com", "allow_private": True, **values,
        }  # fmt: skip
        return WebPushSender(WebPushSettings.model_validate(settings), timeout_seconds=self.timeout_seconds)
