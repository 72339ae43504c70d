"""`APPRISE` against a service of Apprise's own JSON form."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from service.sender_settings import AppriseSettings
from service.senders.apprise import AppriseSender
from service.senders.base import BaseSender, Refused, Retry, Scope, Sent, Throttled, Unknown
from tests.contract.sender_suite import HOSTILE, Case, Situation, SplittingRig
from tests.fakes.apprise import SECRET_PATH, FakeJsonService
from tests.fakes.provider import Fault

KEY = "a key for tests, of more than 32 characters"


def fault(**values: Any) -> Callable[["AppriseRig"], None]:
    """The service's next answer."""
    return lambda rig: rig.service.fault(Fault(**values))


class AppriseRig(SplittingRig):
    name = "APPRISE"
    address = "ops"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.service.stop(), Unknown, "failed", recovers=False),
        Case(Situation.RESET_BEFORE, fault(ending="reset", accept=False), Unknown, "failed"),
        Case(Situation.RESET_AFTER, fault(ending="reset"), Unknown, "failed", accepted=1),
        Case(Situation.SILENT, fault(ending="hang"), Unknown, "timeout", accepted=1),
        Case(Situation.MALFORMED, fault(ending="garbage"), Unknown, "failed", accepted=1),
        Case(Situation.MALFORMED, fault(status=200, body="?"), Sent, accepted=1, note="a success without words"),
        Case(Situation.HTML, fault(status=502, body="<html>"), Unknown, "failed"),
        Case(Situation.SERVER_ERROR, fault(status=500), Retry, "500"),
        Case(Situation.THROTTLED_NO_HINT, fault(status=429), Throttled, "429", scope=Scope.ADDRESS),
        Case(
            Situation.THROTTLED_NO_HINT, fault(status=429, headers={"retry-after": "7"}), Throttled, "429",
            scope=Scope.ADDRESS, note="which Apprise does not tell",
        ),
        Case(Situation.REFUSED, fault(status=400), Refused, "400"),
        Case(Situation.REFUSED, fault(status=401), Refused, "401", note="credentials of one URL"),
    )  # fmt: skip
    cannot_happen: ClassVar = {
        Situation.THROTTLED: "Apprise does not say when to come back",
        Situation.GONE: "Apprise does not say what an error means",
        Situation.CREDENTIALS: "there is no account: each URL has credentials of its own",
    }
    bad_addresses = (
        "",
        "desk",
        "OPS",
        "json:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "slack://a/b/c",
        "json://",
        "ops ",
    )
    shown_as: ClassVar = {HOSTILE["terminal"]: HOSTILE["terminal"]}
    secrets = (SECRET_PATH, KEY)

    async def __aenter__(self) -> Self:
        self.service = await FakeJsonService().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.service.stop()

    def sender(self) -> BaseSender:
        return AppriseSender(self.settings(), timeout_seconds=self.timeout_seconds)

    def settings(self, **values: object) -> AppriseSettings:
        given = {"urls": f"ops={self.service.url}", "schemas": "json", "address_key": KEY, **values}
        return AppriseSettings.model_validate(given)

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "APPRISE_URLS": AppriseSender(self.settings(urls="", schemas=())),
            "APPRISE_ADDRESS_KEY": AppriseSender(self.settings(address_key=None)),
            "APPRISE_DEFAULT_ADDRESS": AppriseSender(self.settings(default_address="desk")),
        }

    def accepted(self) -> list[str]:
        return self.service.messages

    def fail_call(self, number: int) -> None:
        for _ in range(number - 1):
            self.service.fault(Fault())
        self.service.fault(Fault(status=500))
