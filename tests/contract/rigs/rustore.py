"""`RUSTORE` against its fake. Expectations: RuStore's documentation, and what clients in use parse."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import RuStoreSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Throttled, Unknown
from service.senders.rustore import RuStoreSender
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import Case, Rig, Situation
from tests.fakes.provider import Fault
from tests.fakes.rustore import DEVICE, PROJECT, TOKEN, FakeRuStore

DEAD_TEXT = "The registration token is not a valid FCM registration token"


def fault(**values: Any) -> Callable[[Any], None]:
    """The API's next answer."""
    return lambda rig: rig.store.fault(Fault(**values))


def answer(status: int, document: Any, **headers: str) -> Callable[[Any], None]:
    body = orjson.dumps(document).decode()
    json = {"content-type": "application/json"}
    return fault(status=status, body=body, headers=json | headers, accept=False)


def native(status: int, name: str, text: str = "an error", **headers: str) -> Callable[[Any], None]:
    return answer(status, {"code": status, "message": text, "status": name}, **headers)


def wrapped(status: int, name: str, text: str) -> Callable[[Any], None]:
    return answer(status, {"error": {"code": status, "message": text, "status": name}})


def universal(status: int, name: str, *errors: str, code: int | None = None) -> Callable[[Any], None]:
    return answer(status, {"status": name, "code": code or status, "errors": list(errors)})


NETWORK_CASES = (
    Case(Situation.UNREACHABLE, lambda rig: rig.store.stop(), Retry, "connect", recovers=False),
    Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
    Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
    Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
    Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
    Case(Situation.MALFORMED, fault(status=200, body="[]"), Unknown, "answer", accepted=1),
    Case(Situation.MALFORMED, fault(status=200, body="ok"), Unknown, "answer", accepted=1, note="no JSON"),
    Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1, note="no HTTP"),
    Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
    Case(Situation.HTML, fault(status=503, body=HTML_PAGE), Retry, "503", note="503"),
    Case(Situation.HTML, fault(status=403, body=HTML_PAGE), Retry, "403", note="403"),
    Case(Situation.HTML, fault(status=404, body=HTML_PAGE), Retry, "404", note="404"),
    Case(Situation.HTML, answer(404, {"detail": "Not Found"}), Retry, "404", note="404 of another API"),
    Case(Situation.THROTTLED_NO_HINT, fault(status=429, body=HTML_PAGE), Throttled, "429", note="by a proxy"),
)


class RuStoreRig(Rig):
    """The native API."""

    name = "RUSTORE"
    api = "native"
    address = DEVICE
    cases = (
        *NETWORK_CASES,
        Case(Situation.SERVER_ERROR, native(500, "INTERNAL"), Retry, "INTERNAL"),
        Case(Situation.THROTTLED, native(429, "TOO_MANY_REQUESTS", **{"retry-after": "5"}), Throttled, retry_after=5),
        Case(Situation.THROTTLED_NO_HINT, native(429, "TOO_MANY_REQUESTS"), Throttled, "TOO_MANY_REQUESTS"),
        Case(Situation.REFUSED, native(400, "INVALID_ARGUMENT", "android.ttl is wrong"), Refused, "INVALID_ARGUMENT"),
        Case(Situation.GONE, lambda rig: rig.store.expired.add(DEVICE), Gone, "NOT_FOUND", recovers=False),
        Case(Situation.GONE, lambda rig: rig.store.malformed.add(DEVICE), Gone, recovers=False, note="malformed"),
        Case(Situation.GONE, wrapped(400, "INVALID_ARGUMENT", DEAD_TEXT), Gone, note="wrapped"),
        Case(Situation.GONE, native(404, "UNREGISTERED"), Gone, "UNREGISTERED", note="unregistered"),
        Case(Situation.CREDENTIALS, native(403, "PERMISSION_DENIED", f"no access by {TOKEN}"), Halted, "PERMISSION_DENIED"),
        Case(Situation.CREDENTIALS, native(401, "UNAUTHENTICATED"), Halted, "UNAUTHENTICATED", note="401"),
    )  # fmt: skip
    canonical_addresses: ClassVar[Mapping[str, str]] = {}
    bad_addresses = ("", "short", "has a space", "кириллица", "topic:news", "a" * 1_001)
    secrets = (TOKEN, DEVICE)

    async def __aenter__(self) -> Self:
        self.store = await FakeRuStore().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.store.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        url = "RUSTORE_URL" if self.api == "native" else "RUSTORE_UNIVERSAL_URL"
        return {
            "RUSTORE_PROJECT_ID": self._sender(project_id=None),
            "RUSTORE_SERVICE_TOKEN": self._sender(service_token=None),
            url: self._sender(url="nowhere", universal_url="nowhere"),
        }

    def accepted(self) -> list[str]:
        return [push.text for push in self.store.pushes]

    def _sender(self, **values: Any) -> RuStoreSender:
        settings = {
            "api": self.api, "project_id": PROJECT, "service_token": TOKEN,
            "url": self.store.base_url, "universal_url": self.store.base_url, **values,
        }  # fmt: skip
        return RuStoreSender(RuStoreSettings.model_validate(settings), timeout_seconds=self.timeout_seconds)


class RuStoreUniversalRig(RuStoreRig):
    """The universal API."""

    api = "universal"
    cases = (
        *NETWORK_CASES,
        Case(Situation.SERVER_ERROR, universal(500, "PROVIDER_ERROR", "rustore: internal"), Retry, "PROVIDER_ERROR"),
        Case(Situation.SERVER_ERROR, universal(400, "PROVIDER_ERROR", "rustore: internal", code=13), Retry, note="by text"),
        Case(
            Situation.THROTTLED,
            answer(429, {"status": "PROVIDER_ERROR", "errors": ["rustore: too many"]}, **{"retry-after": "7"}),
            Throttled, "PROVIDER_ERROR", retry_after=7,
        ),
        Case(Situation.THROTTLED_NO_HINT, universal(429, "PROVIDER_ERROR", "rustore: too many"), Throttled),
        Case(Situation.REFUSED, universal(400, "VALIDATION_ERROR", "message: empty", code=3), Refused, "VALIDATION_ERROR"),
        Case(Situation.GONE, lambda rig: rig.store.expired.add(DEVICE), Gone, "PROVIDER_ERROR", recovers=False),
        Case(Situation.GONE, universal(200, "PROVIDER_ERROR", "rustore: invalid tokens: fake-d"), Gone, note="with 200"),
        Case(Situation.CREDENTIALS, universal(401, "PROVIDER_ERROR", "rustore: invalid auth token"), Halted),
        Case(Situation.CREDENTIALS, universal(400, "PROVIDER_ERROR", "rustore: invalid auth token"), Halted, note="by text"),
    )  # fmt: skip
    canonical_addresses: ClassVar = {"topic:news": "topic:news"}
    bad_addresses = ("", "short", "has a space", "topic:", "topic:a b")
