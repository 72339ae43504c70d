"""The `SMS` sender: text messages through SMSC.ru or SMS.ru.

An address is a telephone number with its country code, as `+79991234567`. Both providers answer 200 and say in the
JSON what became of the message. What SMSC.ru does with an `id` it has seen, and how it words its error 9, is
unconfirmed; so is whether its error 8 is about the number for good, which is therefore taken as a refusal, and
whether the limits of SMS.ru are of the number, which alone waits.
"""

import re
import zlib
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from pydantic import SecretStr

from service.sender_settings import SmsSettings
from service.senders.base import (
    AddressError,
    BaseSender,
    Capabilities,
    Gone,
    Halted,
    Limits,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from service.senders.http import Answer, HttpClient, NoAnswerError, NotReachedError, check_url
from service.senders.markup import plain_text, utf16_length
from service.senders.parts import (
    composed,
    files_as_links,
    json_of,
    shown,
    strange,
    titled_text,
    with_links,
)

TIMEOUT_SECONDS = 15.0
PARTS_MAX = 8
# Neither provider says when to come back: SMSC.ru counts minutes, SMS.ru minutes or days.
SMSC_PAUSE_SECONDS = 60.0
SMSRU_PAUSE_SECONDS = 300.0
SMSRU_OK = 100
_SMSRU_ACCOUNT = frozenset({200, 201, 300, 301, 302})
_SMSRU_GONE = frozenset({202, 207, 209, 214, 215})
_SMSRU_THROTTLED = frozenset({206, 230, 231, 232, 233})
_SMSRU_TEMPORARY = frozenset({220, 500})
# Parts of a long message lose some room to the header that joins them.
GSM_SINGLE, GSM_PART = 160, 153
UCS2_SINGLE, UCS2_PART = 70, 67

ADDRESS_HELP = "accepted: a number with its country code, as +79991234567"
_NUMBER = re.compile(r"\+[1-9][0-9]{7,14}")
_SEPARATORS = re.compile(r"[ ().-]")
# GSM 03.38: the default alphabet, and what is two characters of it.
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("\f^{}\\[~]|€")


class SmsSender(BaseSender):
    """Sends plain text. The provider joins the parts of a long one; one of too many parts is refused."""

    name = "SMS"

    capabilities = Capabilities(
        formats=frozenset({"plain", "markdown", "html"}),
        # So much fits whatever its alphabet; in the Latin one of GSM it is more than twice that.
        max_length=PARTS_MAX * UCS2_PART,
        length_unit="utf-16 units",
        buttons=True,
        shared_addresses=True,
    )

    def __init__(self, settings: SmsSettings, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.limits = Limits(rate=settings.rate or None, concurrency=settings.concurrency)
        self.default_address = settings.default_address
        self._provider: Provider = Smsc(settings) if settings.provider == "smsc" else SmsRu(settings)
        self._max_parts = settings.max_parts
        self._http = HttpClient(timeout_seconds=timeout_seconds)
        self.off_reason = self._why_off()

    def check_address(self, address: str) -> str:
        number = _SEPARATORS.sub("", address)
        if not _NUMBER.fullmatch(number):
            raise AddressError(f"is not a telephone number; {ADDRESS_HELP}")
        return number

    async def preview(self, message: Message) -> Sequence[str]:
        return await composed(message, _texts)

    async def send(self, message: Message) -> Outcome:
        (text,) = await composed(message, _texts)
        if not text.strip():
            return Refused(reason="nothing visible remains of the text", code="empty")
        if (parts := sms_parts(text)) > self._max_parts:
            reason = f"takes {parts} text messages; accepted: at most {self._max_parts} (SMS_MAX_PARTS)"
            return Refused(reason=reason, code="too_long")
        number = message.address.removeprefix("+")
        form = urlencode(self._provider.form(number, text, _request_id(message)))
        headers = {"content-type": "application/x-www-form-urlencoded"}
        try:
            answer = await self._http.request("POST", self._provider.url, headers=headers, body=form.encode())
        except NotReachedError as error:
            return Retry(reason=str(error), code="connect")
        except NoAnswerError as error:
            return Unknown(reason=str(error), code=error.code)
        return self._provider.judge(answer, number)

    async def close(self) -> None:
        await self._http.close()

    def _why_off(self) -> str | None:
        if self._provider.missing is not None:
            return self._provider.missing
        try:
            check_url(self._provider.url)
        except ValueError:
            return "SMS_API_URL is malformed; accepted: https://host/path"
        try:
            self.check_address(self.default_address or "+10000000")
        except AddressError as error:
            return f"SMS_DEFAULT_ADDRESS {error}"
        return None


class Provider(Protocol):
    """How one of the providers is called. `missing` names the setting that it lacks."""

    url: str
    missing: str | None

    def form(self, number: str, text: str, request_id: int) -> dict[str, str]:
        """The fields of a call; `number` has digits only."""
        ...

    def judge(self, answer: Answer, number: str) -> Outcome:
        """What became of the message to that number."""
        ...


class Smsc:
    """SMSC.ru (https://smsc.ru/api/http/). It refuses the same message to the same number within a minute."""

    def __init__(self, settings: SmsSettings) -> None:
        self.url = settings.api_url or "https://smsc.ru/sys/send.php"
        self.missing: str | None = None
        key, password = _secret(settings.api_key), _secret(settings.password)
        self._fixed = {"fmt": "3", "charset": "utf-8"}
        if key:
            self._fixed["apikey"] = key
        elif settings.login and password:
            self._fixed |= {"login": settings.login, "psw": password}
        else:
            self.missing = "neither SMS_API_KEY nor SMS_LOGIN and SMS_PASSWORD are set"
        if settings.sender:
            self._fixed["sender"] = settings.sender

    def form(self, number: str, text: str, request_id: int) -> dict[str, str]:
        return {**self._fixed, "phones": number, "mes": text, "id": str(request_id)}

    def judge(self, answer: Answer, number: str) -> Outcome:
        del number
        match json_of(answer):
            case {"error_code": int(code)} as error:
                return _judge_smsc(code, shown(error.get("error", "")))
            case {"id": int() | str() as message_id} if message_id:
                return Sent((str(message_id),))
        return strange(answer, "SMSC.ru", "SMS_API_URL")


class SmsRu:
    """SMS.ru (https://sms.ru/api/send). The answer has a status for the call and one for the number."""

    def __init__(self, settings: SmsSettings) -> None:
        self.url = settings.api_url or "https://sms.ru/sms/send?json=1"
        key = _secret(settings.api_key)
        self.missing = None if key else "SMS_API_KEY is not set"
        self._fixed = {"api_id": key or ""} | ({"from": settings.sender} if settings.sender else {})

    def form(self, number: str, text: str, request_id: int) -> dict[str, str]:
        del request_id
        return {**self._fixed, "to": number, "msg": text}

    def judge(self, answer: Answer, number: str) -> Outcome:
        match json_of(answer):
            case {"status_code": 100, "sms": {**numbers}}:
                return _judge_number(numbers.get(number))
            case {"status_code": int(code)} as error if code != SMSRU_OK:
                return _judge_smsru(code, shown(error.get("status_text", "")))
        return strange(answer, "SMS.ru", "SMS_API_URL")


def sms_parts(text: str) -> int:
    """How many text messages the text takes on the way."""
    if all(char in _GSM or char in _GSM_TWICE for char in text):
        return _parts(len(text) + sum(char in _GSM_TWICE for char in text), GSM_SINGLE, GSM_PART)
    return _parts(utf16_length(text), UCS2_SINGLE, UCS2_PART)


def _parts(length: int, single: int, part: int) -> int:
    return 1 if length <= single else -(-length // part)


def _texts(message: Message) -> list[str]:
    return [plain_text(with_links(titled_text(message), (*message.buttons, *files_as_links(message))))]


def _request_id(message: Message) -> int:
    """The same for every attempt of a delivery; from 1 to the largest signed number of 32 bits."""
    name = f"{message.notification_id}.{message.delivery_id}"
    return zlib.crc32(name.encode()) % 0x7FFFFFFF + 1


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def _judge_smsc(error: int, text: str) -> Outcome:
    code, reason = str(error), text or f"error {error}"
    match error:
        case 2 | 3 | 4:  # login or its network address, funds, blocked after errors
            return Halted(reason=f"SMSC.ru does not serve this account: {reason}", code=code)
        case 7:
            return Gone(reason=reason, code=code)
        case 9:  # the same message within a minute, or too many calls at once
            scope = Scope.ACCOUNT if "concurrent" in text else Scope.ADDRESS
            return Throttled(reason=reason, code=code, retry_after=SMSC_PAUSE_SECONDS, scope=scope)
    return Refused(reason=reason, code=code)


def _judge_number(status: Any) -> Outcome:
    match status:
        case {"status_code": 100, "sms_id": str(sms_id)} if sms_id:
            return Sent((sms_id,))
        case {"status_code": int(code)} as error if code != SMSRU_OK:
            return _judge_smsru(code, shown(error.get("status_text", "")))
    return Unknown(reason="the answer says nothing about the number", code="answer")


def _judge_smsru(error: int, text: str) -> Outcome:
    code, reason = str(error), text or f"error {error}"
    if error in _SMSRU_ACCOUNT:
        return Halted(reason=f"SMS.ru does not serve this account: {reason}", code=code)
    if error in _SMSRU_GONE:
        return Gone(reason=reason, code=code)
    if error in _SMSRU_THROTTLED:
        return Throttled(reason=reason, code=code, retry_after=SMSRU_PAUSE_SECONDS, scope=Scope.ADDRESS)
    if error in _SMSRU_TEMPORARY:
        return Retry(reason=reason, code=code)
    return Refused(reason=reason, code=code)
