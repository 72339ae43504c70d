"""SMSC.ru and SMS.ru, as far as sending goes: credentials, numbers, and errors inside HTTP 200.

In a test: `async with FakeSmsc() as server`, then `server.base_url`, `server.texts`, `server.fault(...)`.
"""

from abc import abstractmethod
from urllib.parse import parse_qs

from aiohttp import web

from tests.fakes.provider import FakeProvider, Received

LOGIN = "shop"
PASSWORD = "smsc-password-for-tests"
API_ID = "0A1B2C3D-sms-ru-api-id-for-tests"


class _FakeSms(FakeProvider):
    path: str

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"{self.base_url}{self.path}"

    def take(self, request: Received, raw: bytes, *, accept: bool) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(raw.decode(), keep_blank_values=True).items()}
        self.journal.append(form)
        if request.method != "POST" or request.path_qs != self.path:
            return web.Response(status=404, text="not here")
        return web.json_response(self.answer(form, accept=accept))

    @abstractmethod
    def answer(self, form: dict[str, str], *, accept: bool) -> object:
        """What the provider says to one call, as JSON."""


class FakeSmsc(_FakeSms):
    """https://smsc.ru/api/http/"""

    path = "/sys/send.php"

    def answer(self, form: dict[str, str], *, accept: bool) -> object:
        if (form.get("login"), form.get("psw")) != (LOGIN, PASSWORD) and form.get("apikey") != PASSWORD:
            return {"error": "authorise error", "error_code": 2}
        if form.get("fmt") != "3" or form.get("charset") != "utf-8" or not form.get("mes"):
            return {"error": "parameters error", "error_code": 1}
        if not form["phones"].isdecimal():
            return {"error": "invalid number", "error_code": 7}
        if accept:
            self.texts.append((form["phones"], form["mes"]))
        return {"id": len(self.journal), "cnt": 1}


class FakeSmsRu(_FakeSms):
    """https://sms.ru/api/send"""

    path = "/sms/send?json=1"

    def answer(self, form: dict[str, str], *, accept: bool) -> object:
        if form.get("api_id") != API_ID:
            return {"status": "ERROR", "status_code": 200, "status_text": "Неправильный api_id"}
        number = form["to"]
        if not number.isdecimal():
            return sms_ru_number(number, 202, "Неправильно указан получатель")
        if accept:
            self.texts.append((number, form["msg"]))
        sms = {number: {"status": "OK", "status_code": 100, "sms_id": f"000000-{len(self.journal)}"}}
        return {"status": "OK", "status_code": 100, "sms": sms, "balance": 4122.56}


def sms_ru_number(number: str, code: int, text: str) -> object:
    """The answer in which the call was well and the number was not."""
    sms = {number: {"status": "ERROR", "status_code": code, "status_text": text}}
    return {"status": "OK", "status_code": 100, "sms": sms, "balance": 4122.56}
