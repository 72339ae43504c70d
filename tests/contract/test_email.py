"""What is particular to `EMAIL`: connections, encryption, headers, files, and refusals that do not last."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from service.senders.base import (
    Attachment,
    Button,
    Gone,
    Halted,
    Message,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Unknown,
)
from service.senders.email import EmailSender
from tests.contract.rigs.email import EmailRig
from tests.contract.sender_suite import message
from tests.fakes.files import FakeFiles
from tests.fakes.provider import Fault as FileFault
from tests.fakes.smtp import PASSWORD, Fault, Received, SmtpServer
from tests.fakes.tiny_smtp import TinySmtpServer
from tests.support.waiting import wait_until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture
async def rig() -> AsyncIterator[EmailRig]:
    async with EmailRig() as rig:
        yield rig


@pytest.fixture
async def sender(rig: EmailRig) -> AsyncIterator[EmailSender]:
    sender = rig.make()
    await sender.open()
    yield sender
    await sender.close()


async def send(rig: EmailRig, msg: Message | None = None, **values: Any) -> Outcome:
    """One mail through a sender of its own with those settings."""
    sender = rig.make(**values)
    assert sender.off_reason is None
    await sender.open()
    try:
        return await sender.send(msg or message(rig.address))
    finally:
        await sender.close()


async def received(rig: EmailRig, msg: Message | None = None, **values: Any) -> Received:
    assert isinstance(await send(rig, msg, **values), Sent)
    return rig.server.mails[-1]


class TestEncryption:
    async def test_starttls_with_login(self, rig: EmailRig) -> None:
        mail = await received(rig)
        assert mail.encrypted
        assert mail.user == "notifications"

    async def test_tls_from_the_start(self, rig: EmailRig) -> None:
        async with SmtpServer(tls="tls", login=False) as server:
            await send(rig, security="tls", port=server.port, user=None, password=None)
            assert [mail.encrypted for mail in server.mails] == [True]

    async def test_without_starttls_nothing_is_sent_where_it_is_required(self, rig: EmailRig) -> None:
        async with SmtpServer(tls="none", login=False) as server:
            outcome = await send(rig, port=server.port)
            assert isinstance(outcome, Halted)
            assert "STARTTLS" in outcome.reason
            assert server.commands == ["EHLO"]

    @pytest.mark.parametrize("tls", ["starttls", "none"])
    async def test_opportunistic_takes_what_there_is(self, rig: EmailRig, tls: Any) -> None:
        async with SmtpServer(tls=tls, login=False, hostname="somebody.else") as server:
            given = {"port": server.port, "user": None, "password": None, "ca_file": None}
            await send(rig, security="opportunistic", **given)
            assert [mail.encrypted for mail in server.mails] == [tls == "starttls"]

    @pytest.mark.parametrize("security", ["tls", "starttls"])
    async def test_a_certificate_has_to_be_trusted(self, rig: EmailRig, security: Any) -> None:
        async with SmtpServer(tls=security, login=False) as server:
            outcome = await send(rig, security=security, port=server.port, ca_file=None)
        assert isinstance(outcome, Halted)
        assert "certificate is not trusted" in outcome.reason

    async def test_a_certificate_has_to_be_the_servers(self, rig: EmailRig) -> None:
        async with SmtpServer(hostname="somebody.else") as server:
            assert isinstance(await send(rig, port=server.port), Halted)

    async def test_a_wrong_password_halts(self, rig: EmailRig) -> None:
        outcome = await send(rig, password="not-the-password")
        assert isinstance(outcome, Halted)
        assert outcome.code == "5.7.8"
        assert "not-the-password" not in repr(outcome)

    async def test_a_server_without_login_halts(self, rig: EmailRig) -> None:
        async with SmtpServer(tls="none", login=False) as server:
            outcome = await send(rig, port=server.port, security="none")
        assert isinstance(outcome, Halted)
        assert PASSWORD not in repr(outcome)


class TestConnections:
    async def test_one_is_kept(self, rig: EmailRig, sender: EmailSender) -> None:
        for _ in range(5):
            assert isinstance(await sender.send(message(rig.address)), Sent)
        assert rig.server.connections == 1
        assert rig.server.commands.count("EHLO") == 2  # before and after STARTTLS

    async def test_a_closed_one_is_replaced(self, rig: EmailRig, sender: EmailSender) -> None:
        await sender.send(message(rig.address))
        rig.server.hang_up()
        assert isinstance(await sender.send(message(rig.address)), Sent)
        assert len(rig.server.mails) == 2

    async def test_a_goodbye_to_the_next_mail_is_no_refusal(self, rig: EmailRig, sender: EmailSender) -> None:
        await sender.send(message(rig.address))
        rig.server.fault(Fault("MAIL", "421 4.4.2 idle for too long", "close"))
        assert isinstance(await sender.send(message(rig.address)), Sent)
        assert rig.server.connections == 2

    async def test_an_old_one_is_left_politely(self, rig: EmailRig) -> None:
        sender = rig.make(idle_seconds=0)
        await sender.open()
        for _ in range(2):
            assert isinstance(await sender.send(message(rig.address)), Sent)
        assert rig.server.connections == 2
        await sender.close()
        await wait_until(lambda: rig.server.commands.count("QUIT") == 2)

    @pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelined", "step by step"])
    async def test_a_refusal_leaves_the_next_mail_alone(self, extensions: tuple[str, ...]) -> None:
        async with EmailRig() as rig:
            rig.server.extensions = extensions
            sender = rig.make()
            await sender.open()
            for reply, stage in (
                ("550 5.1.1 no", "RCPT"),
                ("554 5.7.1 no", "DATA"),
                ("552 5.3.4 no", "MAIL"),
            ):
                rig.server.fault(Fault(stage, reply))  # type: ignore[arg-type]
                assert isinstance(await sender.send(message(rig.address)), Gone | Refused)
                assert isinstance(await sender.send(message("bob@example.org")), Sent)
            assert {mail.recipient for mail in rig.server.mails} == {"bob@example.org"}
            assert len(rig.server.mails) == 3
            await sender.close()

    async def test_nothing_is_pipelined_that_the_server_does_not_offer(self) -> None:
        async with EmailRig() as rig:
            rig.server.extensions = ()
            rig.server.fault(Fault("MAIL", "552 5.3.4 no"))
            assert isinstance(await send(rig), Refused)
            assert "RCPT" not in rig.server.commands

    async def test_the_fast_fake_is_a_server_too(self, rig: EmailRig) -> None:
        async with TinySmtpServer() as server:
            sender = rig.make(security="none", port=server.port, user=None, password=None)
            await sender.open()
            sent = [await sender.send(message(f"user{number}@example.org", body=".")) for number in range(3)]
            await sender.close()
        assert all(isinstance(outcome, Sent) for outcome in sent)
        assert server.recipients == [f"user{number}@example.org" for number in range(3)]

    async def test_on_the_event_loop_of_the_service(self, rig: EmailRig) -> None:
        async def scenario() -> None:
            sender = rig.make()
            await sender.open()
            sent = await asyncio.gather(*(sender.send(message(rig.address)) for _ in range(10)))
            assert all(isinstance(outcome, Sent) for outcome in sent)
            rig.server.fault(Fault("DATA", ending="reset"))
            assert isinstance(await sender.send(message(rig.address)), Unknown)
            assert isinstance(await sender.send(message(rig.address)), Sent)
            await sender.close()

        def run() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(scenario())

        await asyncio.to_thread(run)

    async def test_a_mail_whose_end_never_left_was_not_handed_over(self, rig: EmailRig) -> None:
        async def reads_no_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hi\r\n")
            while (line := await reader.readline()) != b"DATA\r\n":
                writer.write(b"250 ok\r\n" if line else b"")
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"354 go on\r\n")
            await given_up.wait()
            writer.transport.abort()

        given_up = asyncio.Event()
        server = await asyncio.start_server(reads_no_content, "127.0.0.1", 0)
        rig.timeout_seconds = 1.0
        async with FakeFiles({"a": ("text/plain", b"x" * 15_000_000)}) as files:
            msg = message(rig.address, attachments=[Attachment("document", files.url("a"))])
            port = server.sockets[0].getsockname()[1]
            outcome = await send(rig, msg, security="none", port=port, user=None, password=None)
        given_up.set()
        server.close()
        assert isinstance(outcome, Retry), outcome


class TestEnvelope:
    async def test_a_mailbox_outside_ascii(self, rig: EmailRig) -> None:
        mail = await received(rig, message("анна@xn--e1afmkfd.xn--p1ai"))
        assert mail.recipient == "анна@xn--e1afmkfd.xn--p1ai"
        assert "SMTPUTF8" in mail.options
        assert "\r\nTo: анна@xn--e1afmkfd.xn--p1ai\r\n".encode() in mail.content

    async def test_a_mailbox_outside_ascii_where_the_server_cannot(self, rig: EmailRig) -> None:
        async with SmtpServer(utf8=False) as server:
            outcome = await send(rig, message("анна@example.org"), port=server.port)
        assert isinstance(outcome, Refused)
        assert outcome.code == "5.6.7"

    async def test_a_mail_too_large_for_the_server_is_not_offered(self, rig: EmailRig) -> None:
        async with SmtpServer(max_bytes=10_000) as server:
            outcome = await send(rig, message(rig.address, body="x" * 20_000), port=server.port)
            assert "MAIL" not in server.commands
        assert isinstance(outcome, Refused)
        assert outcome.code == "5.3.4"

    async def test_bounces_name_the_delivery(self, rig: EmailRig) -> None:
        msg = message(rig.address)
        mail = await received(rig, msg, return_path="bounces+{id}@example.com")
        assert mail.sender == f"bounces+{msg.delivery_id}@example.com"

    async def test_lines_that_begin_with_a_dot(self, rig: EmailRig) -> None:
        mail = await received(rig, message(rig.address, body=".\n..\n.hidden\nend"))
        assert mail.text.endswith(".\n..\n.hidden\nend")


class TestHeaders:
    async def test_a_whole_mail(self, rig: EmailRig) -> None:
        parsed = (await received(rig, message(rig.address, title="Заказ"), reply_to="help@Пример.рф")).parsed
        assert parsed["From"].addresses[0].display_name == "Оповещения"
        assert parsed["From"].addresses[0].addr_spec == "no-reply@example.com"
        assert (parsed["To"], parsed["Reply-To"], parsed["Subject"]) == (
            rig.address,
            "help@xn--e1afmkfd.xn--p1ai",
            "Заказ",
        )
        assert parsed["Date"].datetime.tzinfo is not None
        assert parsed["Auto-Submitted"] == "auto-generated"
        assert parsed["Precedence"] is None
        assert parsed["List-Unsubscribe"] is None
        assert parsed.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]

    async def test_every_attempt_has_the_same_message_id(self, rig: EmailRig, sender: EmailSender) -> None:
        msg = message(rig.address)
        rig.server.fault(Fault("DATA", ending="reset", accept=True))
        await sender.send(msg)
        outcome = await sender.send(replace(msg, attempt=2))
        other = await sender.send(replace(msg, delivery_id=msg.delivery_id + 1))
        ids = [mail.parsed["Message-ID"] for mail in rig.server.mails]
        assert ids[0] == ids[1] != ids[2]
        assert outcome == Sent((ids[0],))
        assert other == Sent((ids[2],))
        assert re.fullmatch(r"<[0-9a-f-]+\.\d+@example\.com>", ids[0])

    @pytest.mark.parametrize(
        "title",
        [
            "a\r\nBcc: eve@example.net",
            "a\nBcc: eve@example.net",
            "a\r\n\r\nbody",
            "a\u2028b\x85c\x0bd",
            "\r\n",
        ],
    )
    async def test_a_title_cannot_add_headers(self, rig: EmailRig, title: str) -> None:
        mail = await received(rig, message(rig.address, title=title))
        assert mail.parsed["Bcc"] is None
        assert mail.recipient == rig.address
        assert len(mail.parsed.keys()) == 8
        assert mail.text.rstrip().endswith("disk full")

    async def test_without_a_title_the_text_begins_the_subject(self, rig: EmailRig) -> None:
        parsed = (await received(rig, message(rig.address, title="", body="one\ntwo"))).parsed
        assert parsed["Subject"] == "one"
        parsed = (await received(rig, message(rig.address, title="", body="long " * 100))).parsed
        assert len(parsed["Subject"]) == 100

    async def test_one_click_unsubscribing(self, rig: EmailRig) -> None:
        url = "https://notifications.example/unsubscribe/abc-_1"
        parsed = (await received(rig, message(rig.address, unsubscribe_url=url, priority="bulk"))).parsed
        assert parsed["List-Unsubscribe"] == f"<{url}>"
        assert parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert parsed["Precedence"] == "bulk"

    async def test_no_one_click_without_https(self, rig: EmailRig) -> None:
        url = "http://localhost/unsubscribe/abc"
        parsed = (await received(rig, message(rig.address, unsubscribe_url=url))).parsed
        assert (parsed["List-Unsubscribe"], parsed["List-Unsubscribe-Post"]) == (f"<{url}>", None)


class TestContent:
    async def test_html_and_text_say_the_same(self, rig: EmailRig) -> None:
        msg = message(
            rig.address,
            body="**Paid**: <b>17</b>",
            format="markdown",
            buttons=[Button("Open", "https://example.com/1")],
        )
        mail = await received(rig, msg)
        assert "<b>Paid</b>: &lt;b&gt;17&lt;/b&gt;" in mail.html
        assert '<a href="https://example.com/1">Open</a>' in mail.html
        assert mail.text == f"{msg.title}\nPaid: <b>17</b>\n\nOpen (https://example.com/1)"

    async def test_nothing_visible_is_not_sent(self, rig: EmailRig) -> None:
        outcome = await send(rig, message(rig.address, title=" ", body="<script>x</script>", format="html"))
        assert isinstance(outcome, Refused)
        assert outcome.code == "empty"

    async def test_photos_of_the_text_are_in_it_and_the_rest_beside_it(self, rig: EmailRig) -> None:
        async with FakeFiles(
            {"logo.png": ("image/png", PNG), "bill.pdf": ("application/pdf", b"%PDF")}
        ) as files:
            logo, bill = files.url("logo.png"), files.url("bill.pdf")
            msg = message(
                rig.address,
                body=f"See ![Logo]({logo}) and [bill]({bill})",
                format="markdown",
                attachments=[
                    Attachment("photo", logo),
                    Attachment("photo", logo + "?2", "другой.png"),
                    Attachment("document", bill, "Счёт.pdf"),
                ],
            )
            mail = await received(rig, msg)
        related = mail.parsed.get_body(("related",))
        assert related is not None
        (image,) = list(related.iter_attachments())
        assert f'<img src="cid:{image["Content-ID"][1:-1]}"' in mail.html
        assert image.get_payload(decode=True) == PNG
        beside = [
            (part.get_filename(), part.get_payload(decode=True)) for part in mail.parsed.iter_attachments()
        ]
        assert beside == [("другой.png", PNG), ("Счёт.pdf", b"%PDF")]
        assert f"Logo ({logo})" in mail.text

    async def test_a_file_that_cannot_be_had(self, rig: EmailRig) -> None:
        async with FakeFiles({"a": ("text/plain", b"a")}) as files:
            missing = message(rig.address, attachments=[Attachment("document", files.url("b"))])
            assert isinstance(await send(rig, missing), Refused)
            msg = message(rig.address, attachments=[Attachment("document", files.url("a"))])
            files.fault(FileFault(status=503), times=2)
            outcome = await send(rig, msg)
        assert isinstance(outcome, Retry)
        assert (outcome.code, outcome.scope) == ("attachment", Scope.ADDRESS)
        assert rig.server.connections == 0

    async def test_a_file_inside_the_network(self, rig: EmailRig) -> None:
        async with FakeFiles({"a": ("text/plain", b"secret")}) as files:
            msg = message(rig.address, attachments=[Attachment("document", files.url("a"))])
            outcome = await send(rig, msg, allow_private=False)
            assert isinstance(outcome, Refused)
            assert files.journal == []


class TestRefusalsThatDoNotLast:
    @pytest.mark.parametrize(("attempt", "seconds"), [(1, 300), (4, 900), (7, 7_200), (50, 43_200)])
    async def test_waits_grow_from_minutes_to_hours(
        self, rig: EmailRig, attempt: int, seconds: float
    ) -> None:
        rig.server.fault(Fault("RCPT", "451 4.7.1 Greylisting in action"))
        outcome = await send(rig, message(rig.address, attempt=attempt))
        assert isinstance(outcome, Retry)
        assert outcome.retry_after == seconds

    @pytest.mark.parametrize(
        ("stage", "reply", "scope"),
        [
            ("RCPT", "450 try later", Scope.ADDRESS),
            ("DATA", "451 4.7.1 greylisted", Scope.ADDRESS),
            ("DATA", "451 4.3.0 our fault", Scope.ACCOUNT),
            ("MAIL", "452 4.3.1 disk full", Scope.ACCOUNT),
        ],
    )
    async def test_a_server_is_not_sick_because_of_a_recipient(
        self, rig: EmailRig, stage: Any, reply: str, scope: Scope
    ) -> None:
        rig.server.fault(Fault(stage, reply))
        outcome = await send(rig)
        assert isinstance(outcome, Retry)
        assert outcome.scope is scope


async def test_domains_are_paced_each_for_itself(rig: EmailRig) -> None:
    sender = rig.make(domain_rate=4)
    assert sender.address_spacing("a@example.org") == 0.25
    assert sender.pacing_key("a@example.org") == sender.pacing_key("b@example.org") == "example.org"
    assert rig.make(domain_rate=0).address_spacing("a@example.org") == 0
