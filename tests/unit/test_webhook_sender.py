"""What only webhooks do: signatures, the payload, and not being led inside."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks.webhooks import Webhook

from service.sender_settings import WebhookSettings
from service.senders.base import AddressError, Attachment, Button, Refused, Retry, Sent
from service.senders.webhook import WebhookSender, parse_secrets, retry_after_seconds, sign
from tests.contract.rigs.webhook import settings
from tests.contract.sender_suite import message
from tests.fakes.provider import HUGE_BODY_BYTES, Fault
from tests.fakes.webhook import SECRET, FakeWebhook

OTHER_SECRET = "whsec_b3RoZXItc2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXM="
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


@asynccontextmanager
async def opened(**values: Any) -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(settings(**values), timeout_seconds=5)
    await sender.open()
    try:
        yield sender
    finally:
        await sender.close()


@pytest.fixture
async def hook() -> AsyncIterator[FakeWebhook]:
    async with FakeWebhook() as hook:
        yield hook


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[object]]]:
    """A port, and the connections that were made to it."""
    made: list[object] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], made


async def test_the_payload_holds_the_whole_notification(hook: FakeWebhook) -> None:
    msg = message(
        hook.url,
        body="**done**",
        format="markdown",
        created_at=NOW,
        buttons=(Button("Open", "https://example.com/1"),),
        attachments=(Attachment("photo", "https://example.com/a.png", "a.png"),),
        metadata={"order": 17, "huge": 10**30, "nested": {"list": [1.5, None, True]}},
    )
    async with opened() as sender:
        assert isinstance(await sender.send(msg), Sent)
    call = hook.accepted[0]
    assert call.headers["content-type"] == "application/json"
    assert call.payload is not None
    assert call.payload["type"] == "notification"
    assert datetime.fromisoformat(call.payload["timestamp"]) == NOW
    assert call.data == {
        "id": str(msg.notification_id),
        "title": "Backup failed",
        "body": "**done**",
        "format": "markdown",
        "buttons": [{"text": "Open", "url": "https://example.com/1"}],
        "attachments": [{"kind": "photo", "url": "https://example.com/a.png", "name": "a.png"}],
        "metadata": {"order": 17, "huge": 10**30, "nested": {"list": [1.5, None, True]}},
    }


async def test_every_attempt_has_the_same_id_and_its_own_time(hook: FakeWebhook) -> None:
    msg = message(hook.url)
    hook.fault(Fault(ending="reset"))
    async with opened() as sender:
        await sender.send(msg)
        again = await sender.send(msg)
        other = await sender.send(message(hook.url))
    first, second, third = hook.accepted
    assert isinstance(again, Sent)
    assert again.parts == (first.webhook_id,)
    assert first.webhook_id == second.webhook_id != third.webhook_id
    assert isinstance(other, Sent)
    assert abs(int(second.headers["webhook-timestamp"]) - second.at) < 5


async def test_two_deliveries_of_one_notification_are_no_repeat(hook: FakeWebhook) -> None:
    msg = message(hook.url)
    async with opened() as sender:
        await sender.send(msg)
        await sender.send(replace(msg, delivery_id=msg.delivery_id + 1))
    first, second = hook.accepted
    assert first.webhook_id != second.webhook_id


def test_the_engine_may_resend_and_need_not_wait_for_order() -> None:
    assert WebhookSender.capabilities.deduplicates
    assert not WebhookSender.capabilities.ordered
    assert not WebhookSender.capabilities.one_provider


@pytest.mark.parametrize("known", [SECRET, OTHER_SECRET])
async def test_while_secrets_rotate_either_verifies(known: str) -> None:
    async with FakeWebhook(known) as hook, opened(secret=f"{SECRET} {OTHER_SECRET}") as sender:
        assert isinstance(await sender.send(message(hook.url)), Sent)
        assert len(hook.accepted[0].headers["webhook-signature"].split(" ")) == 2


async def test_a_receiver_with_another_secret_refuses() -> None:
    async with FakeWebhook(OTHER_SECRET) as hook, opened() as sender:
        outcome = await sender.send(message(hook.url))
        assert isinstance(outcome, Refused)
        assert outcome.code == "401"
        assert hook.accepted == []


def test_the_signature_is_the_official_one() -> None:
    body = '{"text": "привет 👋"}'
    assert sign(parse_secrets(SECRET), "id-1", int(NOW.timestamp()), body.encode()) == Webhook(SECRET).sign(
        "id-1", NOW, body
    )


@pytest.mark.parametrize(
    "secret",
    [
        "", " ", "secret", SECRET.removeprefix("whsec_"), "whsec_", "whsec_c2hvcnQ=", "whsec_" + "A" * 31,
        "whsec_" + "A" * 88, "whsec_!" + "A" * 40, "whsk_" + SECRET.removeprefix("whsec_"), f"{SECRET} nonsense",
        f"{SECRET} {OTHER_SECRET} {SECRET}", f"{SECRET},{OTHER_SECRET}",
    ],
)  # fmt: skip
def test_a_malformed_secret_turns_it_off_and_is_not_shown(secret: str) -> None:
    reason = WebhookSender(settings(secret=secret)).off_reason
    assert reason is not None
    assert reason.startswith("WEBHOOK_SECRET is malformed; accepted: whsec_ and base64 of 24 to 64 bytes")
    assert "openssl rand -base64 32" in reason
    assert reason == WebhookSender(settings(secret="another")).off_reason


@pytest.mark.parametrize("characters", [32, 43, 86])
def test_secrets_may_lack_padding(characters: int) -> None:
    assert WebhookSender(settings(secret="whsec_" + "A" * characters)).off_reason is None


def test_limits_come_from_settings() -> None:
    unlimited = WebhookSender(settings())
    limited = WebhookSender(settings(rate=5, concurrency=2, default_url="https://example.com/"))
    assert (unlimited.limits.rate, unlimited.limits.concurrency) == (None, None)
    assert (limited.limits.rate, limited.limits.concurrency) == (5, 2)
    assert (unlimited.default_address, limited.default_address) == (None, "https://example.com/")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("soon", None), ("nan", None), ("30", 30), (" 30 ", 30), ("1.5", 1.5), ("0", 1),
        ("-5", 1), ("inf", 86_400), ("99999999999", 86_400), ("Tue, 01 Jan 2030 12:00:45 GMT", 45),
        ("Tue, 01 Jan 2030 12:00:45 -0000", 45), ("Tue, 01 Jan 2030 11:00:00 GMT", 1),
        ("Tue, 01 Jan 9999 11:00:00 GMT", 86_400), ("Tue, 99 Jan 2030 11:00:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


async def test_a_date_in_retry_after_is_understood(hook: FakeWebhook) -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    hook.fault(Fault(status=429, headers={"retry-after": at.strftime("%a, %d %b %Y %H:%M:%S GMT")}))
    async with opened() as sender:
        outcome = await sender.send(message(hook.url))
    assert 90 < getattr(outcome, "retry_after", 0) <= 100


async def test_the_receivers_words_are_in_the_reason_cleaned_and_short(hook: FakeWebhook) -> None:
    hook.fault(Fault(status=400, body="no\x1b[31m\nthanks " + "x" * 10_000))
    hook.fault(Fault(status=400, body="<h1>no</h1>", headers={"content-type": "text/html"}))
    async with opened() as sender:
        text, page = await sender.send(message(hook.url)), await sender.send(message(hook.url))
    assert isinstance(text, Refused)
    assert text.reason.startswith("the receiver answered 400: no [31m thanks xxx")
    assert len(text.reason) < 300
    assert isinstance(page, Refused)
    assert page.reason == "the receiver answered 400"


async def test_an_endless_answer_is_not_read(hook: FakeWebhook) -> None:
    hook.fault(Fault(ending="huge"))
    async with opened() as sender:
        assert isinstance(await sender.send(message(hook.url)), Sent)
        assert isinstance(await sender.send(message(hook.url)), Sent)
    assert hook.bytes_sent < HUGE_BODY_BYTES


async def test_a_packed_answer_is_not_unpacked(hook: FakeWebhook) -> None:
    hook.fault(Fault(status=400, body="packed", headers={"content-encoding": "gzip"}))
    async with opened() as sender:
        outcome = await sender.send(message(hook.url))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "the receiver answered 400"


async def test_cookies_are_not_kept(hook: FakeWebhook) -> None:
    hook.fault(Fault(status=200, headers={"set-cookie": "session=1; Path=/"}))
    # A jar keeps cookies of names, not of literal addresses.
    url = hook.url.replace("127.0.0.1", "localhost")
    async with opened() as sender:
        await sender.send(message(url))
        await sender.send(message(url))
    assert len(hook.journal) == 2
    assert all("cookie" not in call.headers for call in hook.journal)


async def test_proxies_of_the_environment_are_not_used(
    hook: FakeWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening() as (port, made):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        async with opened() as sender:
            assert isinstance(await sender.send(message(hook.url)), Sent)
        assert made == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1", "0", "127.0.0.1.",
     "①②⑦.0.0.1"],
)  # fmt: skip
async def test_nothing_connects_inside(host: str) -> None:
    async with listening() as (port, made), opened(allow_private=False) as sender:
        outcome = await sender.send(message(f"https://{host}:{port}/"))
        assert isinstance(outcome, Refused)
        assert outcome.code == "address"
        assert made == []


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_inside_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockaddr = (address, 443, 0, 0) if ":" in address else (address, 443)
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", sockaddr)]
    )
    async with opened(allow_private=False) as sender:
        outcome = await sender.send(message("https://hooks.example.com/"))
    assert isinstance(outcome, Refused)
    assert "private network" in outcome.reason
    assert address not in outcome.reason


async def test_a_name_that_does_not_resolve_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with opened(allow_private=False) as sender:
        outcome = await sender.send(message("https://hooks.example.com/secret-path"))
    assert isinstance(outcome, Retry)
    assert outcome.reason == "cannot connect: Name or service not known"


def test_plain_http_needs_leave() -> None:
    strict = WebhookSender(settings(allow_private=False))
    with pytest.raises(AddressError, match="accepted: https://host/path"):
        strict.check_address("http://example.com/")
    with pytest.raises(AddressError, match="private network"):
        strict.check_address("https://192.168.0.1/")
    assert strict.check_address("https://8.8.8.8/") == "https://8.8.8.8/"


async def test_a_certificate_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    async with listening(_self_signed(tmp_path)) as (port, _), opened() as sender:
        outcome = await sender.send(message(f"https://localhost:{port}/"))
    assert isinstance(outcome, Retry)
    assert "certificate is not trusted" in outcome.reason


def test_the_settings_hide_the_secret() -> None:
    assert SECRET not in repr(WebhookSettings(secret=SECRET))  # type: ignore[arg-type]


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = folder / "chain.pem"
    chain.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context
