"""`FCM` against its fake. Expectations: Firebase's documentation of error codes."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from service.sender_settings import FcmSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Throttled, Unknown
from service.senders.fcm import FcmSender
from tests.contract.rigs.over_http import HTML_PAGE
from tests.contract.sender_suite import Case, Rig, Situation
from tests.fakes.fcm import DEVICE, FakeFcm, failure_document, pem
from tests.fakes.provider import Fault

DEAD_TEXT = "The registration token is not a valid FCM registration token"


def fault(**values: Any) -> Callable[["FcmRig"], None]:
    """The API's next answer."""
    return lambda rig: rig.fcm.fault(Fault(**values))


def failed(status: int, name: str, *, hint: str | None = None, **values: Any) -> Callable[["FcmRig"], None]:
    text = values.pop("text", "an error")
    body = orjson.dumps(failure_document(status, name, text, **values)).decode()
    headers = {"content-type": "application/json"} | ({"retry-after": hint} if hint else {})
    return fault(status=status, body=body, headers=headers)


def grant(**values: Any) -> Callable[["FcmRig"], None]:
    """The next answer to the call for a token."""
    return lambda rig: rig.fcm.grant_fault(Fault(**values))


def revoked(rig: "FcmRig") -> None:
    """No token is good any more, not even a new one."""
    rig.fcm.fault(
        Fault(status=401, body=orjson.dumps(failure_document(401, "UNAUTHENTICATED", "no")).decode()), 2
    )


class FcmRig(Rig):
    name = "FCM"
    address = DEVICE
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.fcm.stop(), Retry, recovers=False),
        Case(Situation.UNREACHABLE, grant(status=503, body=HTML_PAGE), Retry, "grant", note="for a token"),
        Case(Situation.UNREACHABLE, grant(ending="reset"), Retry, "grant", note="while it asks for a token"),
        Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "broken"),
        Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
        Case(Situation.SILENT, fault(ending="hang", accept=False), Unknown, "timeout", note="and not accepted"),
        Case(Situation.MALFORMED, fault(status=200, body="{}"), Unknown, "answer", accepted=1),
        Case(Situation.MALFORMED, fault(status=200, body="[]"), Unknown, "answer", accepted=1, note="no object"),
        Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, accepted=1, note="no HTTP"),
        Case(Situation.MALFORMED, grant(status=200, body="{}"), Retry, "grant", note="instead of a token"),
        Case(Situation.HTML, fault(status=502, body=HTML_PAGE, accept=True), Unknown, "502", accepted=1),
        Case(Situation.HTML, fault(status=503, body=HTML_PAGE), Retry, "503", note="503"),
        Case(Situation.HTML, fault(status=404, body=HTML_PAGE), Retry, "404", note="404"),
        Case(Situation.SERVER_ERROR, failed(500, "INTERNAL", code="INTERNAL"), Retry, "INTERNAL"),
        Case(
            Situation.SERVER_ERROR, failed(503, "UNAVAILABLE", code="UNAVAILABLE", hint="11"), Retry,
            "UNAVAILABLE", retry_after=11, note="with a time",
        ),
        Case(
            Situation.THROTTLED, failed(429, "RESOURCE_EXHAUSTED", code="QUOTA_EXCEEDED", hint="90"), Throttled,
            "QUOTA_EXCEEDED", retry_after=90,
        ),
        Case(
            Situation.THROTTLED_NO_HINT, failed(429, "RESOURCE_EXHAUSTED", code="QUOTA_EXCEEDED"), Throttled,
            "QUOTA_EXCEEDED", retry_after=60,
        ),
        Case(Situation.REFUSED, failed(400, "INVALID_ARGUMENT", code="INVALID_ARGUMENT", field="message.data"), Refused),
        Case(Situation.REFUSED, failed(400, "INVALID_ARGUMENT", text=DEAD_TEXT), Refused, note="without its details"),
        Case(Situation.REFUSED, failed(404, "NOT_FOUND"), Refused, "NOT_FOUND", note="404 that is no device's"),
        Case(Situation.GONE, lambda rig: rig.fcm.unregistered.add(DEVICE), Gone, "UNREGISTERED", recovers=False),
        Case(Situation.GONE, lambda rig: rig.fcm.malformed.add(DEVICE), Gone, "INVALID_ARGUMENT", recovers=False, note="malformed"),
        Case(Situation.GONE, failed(400, "INVALID_ARGUMENT", code="INVALID_ARGUMENT", text=DEAD_TEXT), Gone, note="by its text"),
        Case(Situation.GONE, lambda rig: rig.fcm.elsewhere.add(DEVICE), Gone, "SENDER_ID_MISMATCH", recovers=False, note="of another project"),
        Case(Situation.CREDENTIALS, revoked, Halted, "UNAUTHENTICATED"),
        Case(Situation.CREDENTIALS, failed(403, "PERMISSION_DENIED"), Halted, "PERMISSION_DENIED", note="403"),
        Case(
            Situation.CREDENTIALS, failed(401, "UNAUTHENTICATED", code="THIRD_PARTY_AUTH_ERROR"), Halted,
            "THIRD_PARTY_AUTH_ERROR", note="of Apple",
        ),
        Case(Situation.CREDENTIALS, grant(status=400, body='{"error": "invalid_grant"}'), Halted, "grant", note="of the key"),
    )  # fmt: skip
    canonical_addresses: ClassVar = {
        "fid:cAbcDefGhiJklMnoPqrStu": "fid:cAbcDefGhiJklMnoPqrStu",
        "topic:news": "topic:news",
        "condition:'a' in topics && 'b' in topics": "condition:'a' in topics && 'b' in topics",
    }
    bad_addresses = (
        "",
        "short",
        "has a space in it",
        "кириллица",
        "fid:",
        "topic:a b",
        "topic:",
        "condition:",
    )
    secrets = (DEVICE, "ya29.fake-access-token", "PRIVATE KEY")

    async def __aenter__(self) -> Self:
        self.fcm = await FakeFcm().__aenter__()
        self._folder = tempfile.TemporaryDirectory()
        self._key_file = self.fcm.key_file(Path(self._folder.name))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()
        await self.fcm.stop()

    def sender(self) -> BaseSender:
        return self._sender()

    def off_senders(self) -> Mapping[str, BaseSender]:
        folder = Path(self._folder.name)
        spoilt = folder / "spoilt.json"
        spoilt.write_text(pem())
        return {
            "FCM_KEY_FILE": self._sender(key_file=None),
            "FCM_KEY_FILE cannot be read": self._sender(key_file=folder / "nothing.json"),
            "FCM_KEY_FILE is no key file": self._sender(key_file=spoilt),
            "FCM_URL": self._sender(url="nowhere"),
            "FCM_PROJECT_ID": self._sender(project_id="a/b"),
        }

    def accepted(self) -> list[str]:
        return [push.text for push in self.fcm.pushes]

    def _sender(self, **values: Any) -> BaseSender:
        settings = {"key_file": self._key_file, "url": self.fcm.base_url, **values}
        return FcmSender(FcmSettings.model_validate(settings), timeout_seconds=self.timeout_seconds)
