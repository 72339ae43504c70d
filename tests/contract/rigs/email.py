"""`EMAIL` against a real SMTP server. Expectations: RFC 5321, RFC 3463."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, ClassVar, Self

from service.sender_settings import EmailSettings
from service.senders.base import BaseSender, Gone, Halted, Refused, Retry, Unknown
from service.senders.email import EmailSender
from service.settings import AttachmentSettings
from tests.contract.sender_suite import HOSTILE, Case, Rig, Situation
from tests.fakes.smtp import PASSWORD, USER, Fault, SmtpServer, Stage, ca_file

HTML_PAGE = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html><h1>400</h1></html>"


def fault(stage: Stage, reply: str = "", **values: Any) -> Callable[["EmailRig"], None]:
    return lambda rig: rig.server.fault(Fault(stage, reply, **values))


class EmailRig(Rig):
    name = "EMAIL"
    address = "anna@example.org"
    cases = (
        Case(Situation.UNREACHABLE, lambda rig: rig.server.stop(), Retry, "connect", recovers=False),
        Case(Situation.RESET_BEFORE, fault("RCPT", ending="reset"), Retry, "connect"),
        Case(Situation.RESET_BEFORE, fault("connect", "220 hi", ending="reset"), Retry, "connect", note="at once"),
        Case(Situation.RESET_BEFORE, fault("DATA", ending="reset"), Unknown, "broken", note="handed over"),
        Case(Situation.RESET_AFTER, fault("DATA", ending="reset", accept=True), Unknown, "broken", accepted=1),
        Case(Situation.SILENT, fault("DATA", ending="hang", accept=True), Unknown, "timeout", accepted=1),
        Case(Situation.SILENT, fault("DATA", ending="hang"), Unknown, "timeout", note="and not accepted"),
        Case(Situation.SILENT, fault("RCPT", ending="hang"), Retry, "connect", note="before the mail"),
        Case(Situation.MALFORMED, fault("DATA", "certainly", accept=True), Unknown, "answer", accepted=1),
        Case(Situation.MALFORMED, fault("MAIL", "12"), Retry, "connect", note="before the mail"),
        Case(Situation.HTML, fault("connect", HTML_PAGE), Retry, "connect"),
        Case(
            Situation.SERVER_ERROR, fault("connect", "421 4.3.2 Service shutting down"), Retry, "4.3.2", retry_after=300
        ),
        Case(
            Situation.SERVER_ERROR, fault("MAIL", "452 4.3.1 Insufficient system storage"), Retry, "4.3.1",
            retry_after=300, note="no room",
        ),
        Case(
            Situation.SERVER_ERROR, fault("DATA", "451 4.3.0 Local error in processing"), Retry, "4.3.0",
            retry_after=300, note="after the mail",
        ),
        Case(
            Situation.SERVER_ERROR, fault("RCPT", "450 4.2.0 Greylisted, try again"), Retry, "4.2.0",
            retry_after=300, note="greylisting",
        ),
        Case(
            Situation.SERVER_ERROR, fault("RCPT", "451 come back later"), Retry, "451",
            retry_after=300, note="greylisting in plain words",
        ),
        Case(Situation.REFUSED, fault("DATA", "554 5.7.1 Message rejected as spam"), Refused, "5.7.1"),
        Case(Situation.REFUSED, fault("DATA", "550 no thanks"), Refused, "550", note="the content"),
        Case(Situation.REFUSED, fault("DATA", "552 5.3.4 Message too big"), Refused, "5.3.4", note="too big"),
        Case(Situation.REFUSED, fault("RCPT", "552 5.2.2 Mailbox full"), Refused, "5.2.2", note="full"),
        Case(Situation.REFUSED, fault("RCPT", "550 5.7.1 Blocked by policy"), Refused, "5.7.1", note="policy"),
        Case(Situation.REFUSED, fault("RCPT", "554 Transaction failed"), Refused, "554", note="plain words"),
        Case(Situation.REFUSED, fault("RCPT", "550 relay not permitted"), Refused, "550", note="no relay"),
        Case(
            Situation.REFUSED, fault("RCPT", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"),
            Refused, "553", note="no relay in other words",
        ),
        Case(Situation.GONE, fault("RCPT", "550 5.1.1 User unknown"), Gone, "5.1.1"),
        Case(Situation.GONE, fault("RCPT", "550 No such user here"), Gone, "550", note="plain words"),
        Case(Situation.GONE, fault("RCPT", "551 User not local"), Gone, "551", note="moved"),
        Case(Situation.GONE, fault("RCPT", "553-Multi\r\n553 line"), Gone, "553", note="in two lines"),
        Case(Situation.GONE, fault("DATA", "550 5.1.10 Recipient not found"), Gone, "5.1.10", note="after the mail"),
        Case(Situation.GONE, fault("RCPT", "550 5.2.1 Mailbox disabled"), Gone, "5.2.1", note="disabled"),
        Case(Situation.CREDENTIALS, fault("MAIL", "535 5.7.8 Bad credentials"), Halted, "5.7.8"),
        Case(Situation.CREDENTIALS, fault("MAIL", "530 5.7.0 Authentication required"), Halted, "5.7.0", note="530"),
        Case(
            Situation.CREDENTIALS, fault("MAIL", "553 5.7.1 Sender address not owned by user"), Halted, "5.7.1",
            note="of another",
        ),
        Case(Situation.CREDENTIALS, fault("connect", "554 5.7.1 Your IP is blocked"), Halted, "5.7.1", note="blocked"),
    )  # fmt: skip
    cannot_happen: ClassVar = {
        Situation.THROTTLED: "SMTP has no such answer: what is too fast gets a temporary refusal without a time",
        Situation.THROTTLED_NO_HINT: "a temporary refusal (4xx) does not say whether it is about speed",
    }
    canonical_addresses: ClassVar = {
        "Anna.B@Example.ORG": "Anna.B@example.org",
        "anna+tag@пример.рф": "anna+tag@xn--e1afmkfd.xn--p1ai",
        "анна@Пример.рф": "анна@xn--e1afmkfd.xn--p1ai",
        "anna@ｅxample.org": "anna@example.org",
    }
    bad_addresses = (
        "", "anna", "@example.org", "anna@", "anna@localhost", "anna@127.0.0.1", "anna@[127.0.0.1]", "a b@example.org",
        ".a@example.org", "a..b@example.org", "a.@example.org", "a@b@example.org", '"a b"@example.org',
        "Anna <anna@example.org>", "anna@example.org, bob@example.org", "anna@example.org\r\nRCPT TO:<b@c.d>",
        "anna\n@example.org", "anna@exam ple.org", "anna@-a.org", "anna@a..org", "anna@example.org.", "a" * 65 + "@b.org",
        "ы" * 33 + "@example.org", "a@" + ".".join(["a" * 60] * 5) + ".org", "anna@exa_mple.org", "a@\u200b.org",
        "anna>@example.org", "<anna@example.org>",
    )  # fmt: skip
    shown_as: ClassVar = {HOSTILE["terminal"]: "[2J]0;title 31m"}
    secrets = (PASSWORD,)

    async def __aenter__(self) -> Self:
        self._folder = TemporaryDirectory()
        self._ca = ca_file(Path(self._folder.name))
        self.server = await SmtpServer().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.stop()
        self._folder.cleanup()

    def sender(self) -> BaseSender:
        return self.make()

    def make(self, *, allow_private: bool = True, **values: object) -> EmailSender:
        """A sender with other settings than the usual."""
        given = {
            "host": "localhost", "port": self.server.port, "user": USER, "password": PASSWORD, "ca_file": self._ca,
            "from_address": "no-reply@example.com", "from_name": "Оповещения", "helo_name": "app.example.com", **values,
        }  # fmt: skip
        attachments = AttachmentSettings(allow_private=allow_private)
        return EmailSender(
            EmailSettings.model_validate(given), attachments, timeout_seconds=self.timeout_seconds
        )

    def off_senders(self) -> Mapping[str, BaseSender]:
        return {
            "EMAIL_HOST": self.make(host=None),
            "EMAIL_FROM_ADDRESS": self.make(from_address=None),
            "EMAIL_FROM_ADDRESS is outside ASCII": self.make(from_address="анна@example.com"),
            "EMAIL_PASSWORD": self.make(password=None),
            "EMAIL_SECURITY": self.make(security="opportunistic"),
            "EMAIL_REPLY_TO": self.make(reply_to="nobody"),
            "EMAIL_RETURN_PATH": self.make(return_path="bounces+{id}@localhost"),
            "EMAIL_DEFAULT_ADDRESS": self.make(default_address="a\r\n@example.org"),
            "EMAIL_HELO_NAME": self.make(helo_name="a b"),
            "EMAIL_CA_FILE": self.make(ca_file="/nowhere/ca.pem"),
        }

    def accepted(self) -> list[str]:
        return [mail.text for mail in self.server.mails]
