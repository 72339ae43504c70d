"""`SMS` against fakes of its two providers. Expectations: their lists of errors."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import ClassVar, Self

import orjson

from service.sender_settings import SmsSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Scope, Throttled, Unknown
from service.senders.sms import SmsSender
from tests.contract.rigs.over_http import ANYWHERE, fault
from tests.contract.sender_suite import Case, Rig, Situation
from tests.fakes.sms import API_ID, LOGIN, PASSWORD, FakeSmsc, FakeSmsRu, sms_ru_number

NUMBER = "+79991234567"


def says(document: object) -> Callable[["SmsRig"], None]:
    """An answer inside HTTP 200."""
    return fault(status=200, body=orjson.dumps(document).decode(), accept=False)


def smsc(code: int, text: str = "words") -> Callable[["SmsRig"], None]:
    return says({"error": text, "error_code": code, "id": 7})


def smsru(code: int) -> Callable[["SmsRig"], None]:
    """The call is refused."""
    return says({"status": "ERROR", "status_code": code, "status_text": "words"})


def smsru_number(code: int) -> Callable[["SmsRig"], None]:
    """The call is well, and the number is not."""
    return says(sms_ru_number(NUMBER.removeprefix("+"), code, "words"))


_ANYWHERE = (
    *ANYWHERE,
    Case(Situation.MALFORMED, fault(status=200, body="[100]"), Unknown, "answer", accepted=1, note="list"),
)


class SmsRig(Rig):
    """What both providers have in common."""

    name = "SMS"
    address = NUMBER
    canonical_addresses: ClassVar = {"+7 (999) 123-45-67": NUMBER, "+1.202.555.0143": "+12025550143"}
    bad_addresses = (
        "", "+", "79991234567", "89991234567", "+0123456789", "+1234567", "+1234567890123456", "+7999123456a", "anna",
        "+7999\n1234567", "+٧٩٩٩١٢٣٤٥٦٧", "+79991234567,+79990000000", "tel:+79991234567", "++79991234567",
    )  # fmt: skip
    server: FakeSmsc | FakeSmsRu
    settings: ClassVar[Mapping[str, object]]
    fake: ClassVar[type[FakeSmsc] | type[FakeSmsRu]]

    async def __aenter__(self) -> Self:
        self.server = await self.fake().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.stop()

    def sender(self) -> BaseSender:
        return self.make()

    def make(self, **values: object) -> SmsSender:
        """A sender with other settings than the usual."""
        settings = SmsSettings.model_validate({"api_url": self.server.url, **self.settings, **values})
        return SmsSender(settings, timeout_seconds=self.timeout_seconds)

    def accepted(self) -> list[str]:
        return [text for _, text in self.server.texts]


class SmscRig(SmsRig):
    cases = (
        *_ANYWHERE,
        Case(Situation.SERVER_ERROR, fault(status=503), Retry, "503"),
        Case(Situation.REFUSED, smsc(1), Refused, "1", note="parameters"),
        Case(Situation.REFUSED, smsc(5), Refused, "5", note="date"),
        Case(Situation.REFUSED, smsc(6), Refused, "6", note="forbidden"),
        Case(Situation.REFUSED, smsc(8), Refused, "8", note="cannot be delivered"),
        Case(Situation.GONE, smsc(7), Gone, "7"),
        Case(Situation.CREDENTIALS, smsc(2), Halted, "2"),
        Case(Situation.CREDENTIALS, smsc(3), Halted, "3", note="funds"),
        Case(Situation.CREDENTIALS, smsc(4), Halted, "4", note="blocked"),
        Case(Situation.THROTTLED_NO_HINT, smsc(9, "too many concurrent requests"), Throttled, "9", retry_after=60),
        Case(
            Situation.THROTTLED_NO_HINT, smsc(9, "duplicate request, wait a minute"), Throttled, "9", retry_after=60,
            scope=Scope.ADDRESS, note="the same again",
        ),
    )  # fmt: skip
    cannot_happen: ClassVar = {Situation.THROTTLED: "SMSC.ru does not say when to come back"}
    fake = FakeSmsc
    settings: ClassVar = {"provider": "smsc", "login": LOGIN, "password": PASSWORD}
    secrets = (PASSWORD,)

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "SMS_PASSWORD": self.make(password=None),
            "SMS_LOGIN": self.make(login=None),
            "SMS_API_URL": self.make(api_url="smsc.ru"),
            "SMS_DEFAULT_ADDRESS": self.make(default_address="89991234567"),
        }


class SmsRuRig(SmsRig):
    cases = (
        *_ANYWHERE,
        Case(Situation.MALFORMED, says({"status": "OK", "status_code": 100, "sms": {}}), Unknown, note="no number"),
        Case(Situation.SERVER_ERROR, smsru(220), Retry, "220"),
        Case(Situation.SERVER_ERROR, smsru(500), Retry, "500", note="500"),
        Case(Situation.SERVER_ERROR, smsru_number(220), Retry, "220", note="for the number"),
        *(
            Case(
                Situation.THROTTLED_NO_HINT, smsru_number(code), Throttled, str(code), retry_after=300,
                scope=Scope.ADDRESS, note=str(code),
            )
            for code in (206, 230, 231, 232, 233)
        ),
        *(
            Case(Situation.REFUSED, smsru_number(code), Refused, str(code), note=str(code))
            for code in (203, 204, 205, 208, 212, 213)
        ),
        Case(Situation.REFUSED, smsru(204), Refused, "204", note="the call"),
        *(
            Case(Situation.GONE, smsru_number(code), Gone, str(code), note=str(code))
            for code in (202, 207, 209, 214, 215)
        ),
        *(
            Case(Situation.CREDENTIALS, smsru(code), Halted, str(code), note=str(code))
            for code in (200, 201, 300, 301, 302)
        ),
        Case(Situation.CREDENTIALS, smsru_number(201), Halted, "201", note="for the number"),
    )  # fmt: skip
    cannot_happen: ClassVar = {Situation.THROTTLED: "SMS.ru does not say when to come back"}
    fake = FakeSmsRu
    settings: ClassVar = {"provider": "smsru", "api_key": API_ID}
    secrets = (API_ID,)

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {"SMS_API_KEY": self.make(api_key=None)}
