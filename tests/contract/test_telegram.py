"""What is Telegram's own: parts, captions, keyboards, topics, moved groups, its texts of errors, its limits."""

import asyncio
import contextlib
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from service.sender_settings import TelegramSettings
from service.senders.base import (
    AddressError,
    Attachment,
    Button,
    Gone,
    Message,
    NotSent,
    Outcome,
    Refused,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from service.senders.telegram import TelegramSender
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.support.waiting import wait_until

PERSON, GROUP, SUPERGROUP = "5", "-7", "-1001234567890"
PHOTO = Attachment("photo", "https://example.com/a.jpg")
DOCUMENT = Attachment("document", "https://example.com/b.pdf", "b.pdf")
BUTTONS = (Button("Open", "https://example.com/1"), Button("Mute", "https://example.com/2"))
LONG = " ".join(f"word{number}" for number in range(1_100))

_delivery_ids = itertools.count(1)


def message(address: str = PERSON, **values: Any) -> Message:
    content = {"title": "Title", "body": "body"} | values
    return Message(notification_id=uuid4(), delivery_id=next(_delivery_ids), address=address, **content)


def settings(**values: Any) -> TelegramSettings:
    return TelegramSettings.model_validate({"bot_token": TOKEN, **values})


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as telegram:
        yield telegram


@pytest.fixture
async def sender(telegram: FakeTelegram) -> AsyncIterator[TelegramSender]:
    sender = TelegramSender(settings(api_url=telegram.url), timeout_seconds=1.0)
    await sender.open()
    yield sender
    await sender.close()


def assert_sent(outcome: Outcome, parts: int = 1, address: str | None = None) -> None:
    assert isinstance(outcome, Sent), outcome
    assert len(outcome.parts) == parts
    assert outcome.address == address


class TestText:
    async def test_the_title_is_a_bold_first_line(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        assert_sent(await sender.send(message(title=" <Title> ", body="a < b")))
        assert telegram.journal[0].text == "<Title>\na < b"
        assert telegram.journal[0].entities == [{"type": "bold", "offset": 0, "length": 7}]

    async def test_without_a_title_plain_text_has_no_markup(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        assert_sent(await sender.send(message(title=" \n", body="<b>&lt;</b> *x*")))
        assert telegram.journal[0].text == "<b>&lt;</b> *x*"
        assert telegram.journal[0].entities == []

    @pytest.mark.parametrize(
        ("written_in", "body"),
        [("markdown", "**b** [l](https://x.y/)"), ("html", "<b>b</b> <a href='https://x.y/'>l</a>")],
    )
    async def test_formats_become_entities(
        self, sender: TelegramSender, telegram: FakeTelegram, written_in: str, body: str
    ) -> None:
        assert_sent(await sender.send(message(title="", body=body, format=written_in)))
        assert telegram.journal[0].text == "b l"
        assert telegram.journal[0].entities == [
            {"type": "bold", "offset": 0, "length": 1},
            {"type": "text_link", "offset": 2, "length": 1, "url": "https://x.y/"},
        ]

    async def test_nul_characters_and_lone_surrogates_do_not_stop_it(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        buttons = (Button("O\0pen", "https://example.com/"),)
        assert_sent(await sender.send(message(title="T\0itle", body="b\0ody \ud83d!", buttons=buttons)))
        assert telegram.texts() == ["Title\nbody \ufffd!"]
        assert telegram.journal[0].buttons == [[{"text": "Open", "url": "https://example.com/"}]]

    @pytest.mark.parametrize(
        ("body", "written_in"),
        [
            ("\0", "plain"),
            (" \u200b\n", "plain"),
            ("<script>x</script>", "html"),
            ("[](https://x.y)", "markdown"),
        ],
    )
    async def test_a_text_of_which_nothing_remains_is_refused(
        self, sender: TelegramSender, telegram: FakeTelegram, body: str, written_in: str
    ) -> None:
        outcome = await sender.send(message(title="", body=body, format=written_in))
        assert isinstance(outcome, Refused), outcome
        assert telegram.calls == 0

    async def test_markup_the_server_does_not_understand_is_sent_as_plain_text_once(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        description = 'Bad Request: can\'t parse entities: Unsupported start tag "b" at byte offset 0'
        telegram.fault("error", status=400, description=description)
        assert_sent(await sender.send(message(body="a & b")))
        assert telegram.texts() == ["Title\na & b"]
        assert telegram.journal[0].entities == []
        telegram.fault("error", status=400, description=description, times=2)
        assert isinstance(await sender.send(message()), Refused)
        assert telegram.calls == 4


class TestParts:
    async def test_only_the_last_part_has_the_keyboard(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        outcome = await sender.send(message(body=LONG, buttons=BUTTONS))
        assert_sent(outcome, parts=3)
        assert isinstance(outcome, Sent)
        assert list(outcome.parts) == [str(sent.message_id) for sent in telegram.journal]
        assert [bool(sent.buttons) for sent in telegram.journal] == [False, False, True]
        assert " ".join(telegram.texts()).split() == ["Title", *LONG.split()]

    async def test_buttons_stand_one_in_a_row(self, sender: TelegramSender, telegram: FakeTelegram) -> None:
        assert_sent(await sender.send(message(buttons=BUTTONS)))
        assert telegram.journal[0].buttons == [
            [{"text": "Open", "url": "https://example.com/1"}],
            [{"text": "Mute", "url": "https://example.com/2"}],
        ]

    @pytest.mark.parametrize(
        ("fault", "outcome"),
        [
            ({"kind": "error"}, Retry),
            ({"kind": "throttle", "retry_after": 3}, Throttled),
            ({"kind": "hang", "accept": True}, Unknown),
            ({"kind": "reset"}, Unknown),
            ({"kind": "error", "status": 400, "description": "Bad Request: x"}, Refused),
            ({"kind": "error", "status": 403, "description": "Forbidden: user is deactivated"}, Gone),
        ],
        ids=str,
    )
    async def test_a_failure_in_the_middle_tells_what_was_sent(
        self, sender: TelegramSender, telegram: FakeTelegram, fault: dict[str, Any], outcome: type[Outcome]
    ) -> None:
        telegram.fault(**fault, skip=1)
        first = await sender.send(message(body=LONG))
        assert isinstance(first, outcome), first
        assert first.parts == ("1",)

    async def test_it_resumes_after_the_parts_that_are_done(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        outcome = await sender.send(message(body=LONG, buttons=BUTTONS, parts_done=("91", "92")))
        assert isinstance(outcome, Sent), outcome
        assert outcome.parts == ("91", "92", "1")
        assert [bool(sent.buttons) for sent in telegram.journal] == [True]

    async def test_a_message_whose_parts_are_all_done_is_not_sent_again(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        assert_sent(await sender.send(message(parts_done=("91",))))
        assert telegram.calls == 0


async def test_a_preview_shows_what_would_be_sent(sender: TelegramSender, telegram: FakeTelegram) -> None:
    assert await sender.preview(message(body="a & *b*", format="markdown")) == [
        "<b>Title</b>\na &amp; <i>b</i>"
    ]
    assert await sender.preview(message(title="", body="a & *b*")) == ["a & *b*"]
    assert len(await sender.preview(message(body=LONG))) == 3
    assert telegram.calls == 0


class TestAttachments:
    @pytest.mark.parametrize(("attachment", "method"), [(PHOTO, "sendPhoto"), (DOCUMENT, "sendDocument")])
    async def test_a_short_text_is_the_caption(
        self, sender: TelegramSender, telegram: FakeTelegram, attachment: Attachment, method: str
    ) -> None:
        assert_sent(await sender.send(message(attachments=(attachment,), buttons=BUTTONS)))
        (sent,) = telegram.journal
        assert (sent.method, sent.file, sent.text) == (method, attachment.url, "Title\nbody")
        assert sent.entities == [{"type": "bold", "offset": 0, "length": 5}]
        assert len(sent.buttons) == 2

    @pytest.mark.parametrize(
        ("units", "calls"), [(1_024, ["sendPhoto"]), (1_026, ["sendPhoto", "sendMessage"])]
    )
    async def test_a_text_too_long_for_a_caption_follows(
        self, sender: TelegramSender, telegram: FakeTelegram, units: int, calls: list[str]
    ) -> None:
        msg = message(title="", body="👍" * (units // 2), attachments=(PHOTO,), buttons=BUTTONS)
        assert_sent(await sender.send(msg), parts=len(calls))
        assert [sent.method for sent in telegram.journal] == calls
        assert telegram.journal[-1].text == msg.body
        assert [bool(sent.buttons) for sent in telegram.journal] == [False] * (len(calls) - 1) + [True]

    async def test_several_are_sent_one_by_one_and_the_text_last(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        telegram.fault("error", skip=1)
        msg = message(attachments=(PHOTO, DOCUMENT), buttons=BUTTONS)
        first = await sender.send(msg)
        assert isinstance(first, Retry)
        assert first.parts == ("1",)
        assert_sent(await sender.send(message(attachments=msg.attachments, parts_done=first.parts)), parts=3)
        assert [sent.method for sent in telegram.journal] == ["sendPhoto", "sendDocument", "sendMessage"]
        assert telegram.texts() == ["", "", "Title\nbody"]

    async def test_an_address_the_server_cannot_fetch_is_refused(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        telegram.fault("error", status=400, description="Bad Request: failed to get HTTP URL content")
        assert isinstance(await sender.send(message(attachments=(PHOTO,))), Refused)


class TestMovedGroups:
    async def test_the_message_is_repeated_once_with_the_new_id(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        telegram.chat(int(GROUP)).moved_to = int(SUPERGROUP)
        assert_sent(await sender.send(message(GROUP, body=LONG)), parts=3, address=SUPERGROUP)
        assert {sent.chat for sent in telegram.journal} == {int(SUPERGROUP)}
        assert telegram.calls == 4

    async def test_the_next_message_goes_there_at_once(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        telegram.chat(int(GROUP)).moved_to = int(SUPERGROUP)
        await sender.send(message(GROUP))
        calls = telegram.calls
        assert_sent(await sender.send(message(GROUP)), address=SUPERGROUP)
        assert telegram.calls == calls + 1

    async def test_a_topic_moves_with_its_group(self, sender: TelegramSender, telegram: FakeTelegram) -> None:
        telegram.chat(int(GROUP)).moved_to = int(SUPERGROUP)
        telegram.chat(int(SUPERGROUP)).topics = {9: "open"}
        assert_sent(await sender.send(message(f"{GROUP}:9")), address=f"{SUPERGROUP}:9")
        assert telegram.journal[0].thread == 9

    async def test_a_group_that_moves_on_and_on_is_tried_later(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        telegram.chat(int(GROUP)).moved_to = int(SUPERGROUP)
        telegram.chat(int(SUPERGROUP)).moved_to = int(GROUP)
        assert isinstance(await sender.send(message(GROUP)), Retry)
        assert telegram.calls == 2


class TestTopics:
    @pytest.mark.parametrize(("address", "thread"), [(f"{SUPERGROUP}:9", 9), (f"{SUPERGROUP}:1", None)])
    async def test_general_is_the_chat_itself(
        self, sender: TelegramSender, telegram: FakeTelegram, address: str, thread: int | None
    ) -> None:
        telegram.chat(int(SUPERGROUP)).topics = {9: "open"}
        assert_sent(await sender.send(message(address)))
        assert telegram.journal[0].thread == thread

    @pytest.mark.parametrize(
        ("topics", "outcome"), [({9: "deleted"}, Gone), ({}, Gone), ({9: "closed"}, Refused)]
    )
    async def test_a_topic_that_takes_no_message(
        self, sender: TelegramSender, telegram: FakeTelegram, topics: dict[int, Any], outcome: type[Outcome]
    ) -> None:
        telegram.chat(int(SUPERGROUP)).topics = topics
        assert isinstance(await sender.send(message(f"{SUPERGROUP}:9")), outcome)


class TestAnswers:
    async def test_an_error_without_words(self, sender: TelegramSender, telegram: FakeTelegram) -> None:
        for status, outcome in ((400, Refused), (403, Refused), (500, Unknown)):
            telegram.fault("error", status=status, description=None)
            answer = await sender.send(message())
            assert isinstance(answer, outcome), answer

    @pytest.mark.parametrize("status", [301, 400, 403, 404, 408])
    async def test_a_proxys_refusal_is_not_telegrams(
        self, sender: TelegramSender, telegram: FakeTelegram, status: int
    ) -> None:
        telegram.fault("html", status=status)
        answer = await sender.send(message())
        assert isinstance(answer, Retry), answer
        assert "TG_API_URL" in answer.reason

    async def test_a_slow_answer_is_waited_for(self, sender: TelegramSender, telegram: FakeTelegram) -> None:
        telegram.fault("slow", seconds=0.3)
        assert_sent(await sender.send(message()))

    async def test_a_server_that_never_takes_the_connection_took_nothing(self) -> None:
        with contextlib.ExitStack() as sockets:
            server = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(4):  # fills the queue of connections that nobody accepts
                filler = sockets.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(server.getsockname())
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            sender = TelegramSender(settings(api_url=url), timeout_seconds=0.9)
            await sender.open()
            answer = await sender.send(message())
            await sender.close()
        assert isinstance(answer, Retry), answer
        assert answer.code == "connect"


GONE = (
    "Forbidden: bot was blocked by the user",
    "Forbidden: user is deactivated",
    "Forbidden: bot was kicked from the group chat",
    "Forbidden: bot was kicked from the supergroup chat",
    "Forbidden: bot was kicked from the channel chat",
    "Forbidden: bot is not a member of the channel chat",
    "Forbidden: bot is not a member of the supergroup chat",
    "Forbidden: the group chat was deleted",
    "Forbidden: bot can't initiate conversation with a user",
    "Forbidden: bots can't send messages to bots",
    "Forbidden: the bot can't send messages to the bot",
    "Bad Request: chat not found",
    "Bad Request: private chat not found",
    "Bad Request: PEER_ID_INVALID",
    "Bad Request: message thread not found",
    "Bad Request: TOPIC_ID_INVALID",
)
REFUSED = (
    "Forbidden: not enough rights to send text messages to the chat",
    "Bad Request: have no rights to send a message",
    "Bad Request: CHAT_WRITE_FORBIDDEN",
    "Bad Request: CHAT_ADMIN_REQUIRED",
    "Bad Request: TOPIC_CLOSED",
    "Bad Request: message is too long",
    "Bad Request: reply markup is too long",
    "Bad Request: wrong file_id or the file is temporarily unavailable",
    "Request Entity Too Large",
)


@pytest.mark.parametrize(
    ("description", "outcome"), [*((text, Gone) for text in GONE), *((text, Refused) for text in REFUSED)]
)
async def test_dead_addresses_and_messages_nobody_takes_are_told_apart(
    sender: TelegramSender, telegram: FakeTelegram, description: str, outcome: type[Outcome]
) -> None:
    status = {"Forbidden": 403, "Bad Request": 400}.get(description.partition(":")[0], 413)
    telegram.fault("error", status=status, description=description)
    answer = await sender.send(message())
    assert isinstance(answer, outcome), answer
    assert isinstance(answer, NotSent)
    assert (answer.code, answer.reason) == (str(status), description)


class TestThrottling:
    async def throttled(
        self, sender: TelegramSender, telegram: FakeTelegram, chat: str, seconds: int
    ) -> Scope:
        telegram.fault("throttle", retry_after=seconds)
        outcome = await sender.send(message(chat))
        assert isinstance(outcome, Throttled), outcome
        assert outcome.retry_after == seconds
        return outcome.scope

    async def test_a_second_chat_during_the_pause_means_the_account(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        assert await self.throttled(sender, telegram, "5", 30) is Scope.ADDRESS
        assert await self.throttled(sender, telegram, "5", 30) is Scope.ADDRESS
        assert await self.throttled(sender, telegram, "6", 30) is Scope.ACCOUNT

    async def test_a_second_chat_after_the_pause_is_its_own_matter(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        assert await self.throttled(sender, telegram, "5", 1) is Scope.ADDRESS
        over = time.monotonic() + 1.0
        await wait_until(lambda: time.monotonic() > over)
        assert await self.throttled(sender, telegram, "6", 1) is Scope.ADDRESS

    async def test_topics_are_one_chat(self, sender: TelegramSender, telegram: FakeTelegram) -> None:
        telegram.chat(int(SUPERGROUP)).topics = {8: "open", 9: "open"}
        assert await self.throttled(sender, telegram, f"{SUPERGROUP}:8", 30) is Scope.ADDRESS
        assert await self.throttled(sender, telegram, f"{SUPERGROUP}:9", 30) is Scope.ADDRESS

    async def test_an_answer_of_a_proxy_counts_too(
        self, sender: TelegramSender, telegram: FakeTelegram
    ) -> None:
        telegram.fault("html", status=429)
        outcome = await sender.send(message())
        assert isinstance(outcome, Throttled)
        assert outcome.retry_after is None


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [str(2**52), f"-{2**52}", "5:2147483648", "@name_that_is_longer_than_any_may_be", " 5", "5\n", "5:"],
    )
    def test_what_no_chat_can_be_is_an_address_error(self, address: str) -> None:
        with pytest.raises(AddressError, match="accepted: "):
            TelegramSender(settings()).check_address(address)

    @pytest.mark.parametrize("address", [str(2**52 - 1), f"-{2**52 - 1}:2147483647", "@abcd", "@abcd:5"])
    def test_what_a_chat_can_be_is_kept(self, address: str) -> None:
        assert TelegramSender(settings()).check_address(address) == address

    @pytest.mark.parametrize(
        ("address", "chat_rate", "group_rate", "spacing"),
        [
            ("5", 1, 20, 1.0),
            ("5", 4, 20, 0.25),
            ("5", 0, 20, 0.0),
            ("-7", 1, 20, 3.0),
            ("-7:9", 1, 20, 3.0),
            ("@news", 1, 20, 3.0),
            ("-7", 0.1, 20, 10.0),
            ("-7", 0, 20, 3.0),
            ("-7", 1, 0, 1.0),
            ("-7", 0, 0, 0.0),
        ],
    )
    def test_groups_are_spaced_further_apart(
        self, address: str, chat_rate: float, group_rate: float, spacing: float
    ) -> None:
        sender = TelegramSender(settings(chat_rate=chat_rate, group_rate=group_rate))
        assert sender.address_spacing(address) == spacing


class TestSettings:
    def test_limits(self) -> None:
        assert TelegramSender(settings()).limits.rate == 30
        assert TelegramSender(settings(rate=0)).limits.rate is None
        assert TelegramSender(settings(concurrency=7)).limits.concurrency == 7

    def test_the_default_address(self) -> None:
        assert TelegramSender(settings(default_chat_id="-7")).default_address == "-7"
        assert TelegramSender(settings()).default_address is None

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"bot_token": None}, "TG_BOT_TOKEN is not set"),
            ({"bot_token": "secret"}, "TG_BOT_TOKEN"),
            ({"bot_token": "123456: secret"}, "TG_BOT_TOKEN"),
            ({"api_url": "ftp://example.com"}, "TG_API_URL"),
            ({"api_url": "https://{host}"}, "TG_API_URL"),
            ({"api_url": "https://host:99999"}, "TG_API_URL"),
            ({"api_url": "https://"}, "TG_API_URL"),
            ({"default_chat_id": "me"}, "TG_DEFAULT_CHAT_ID"),
        ],
    )
    def test_what_is_wrong_is_named(self, values: dict[str, Any], reason: str) -> None:
        sender = TelegramSender(settings(**values))
        assert sender.off_reason is not None
        assert sender.off_reason.startswith(reason)
        assert "secret" not in sender.off_reason

    async def test_connections_are_kept(self, telegram: FakeTelegram) -> None:
        sender = TelegramSender(settings(api_url=telegram.url))
        await sender.open()
        telegram.delay_seconds = 0.01
        for _ in range(5):
            await asyncio.gather(sender.send(message()), sender.send(message()))
        assert telegram.connections == 2
        assert len(telegram.journal) == 10
        await sender.close()


def test_aiogram_is_imported_when_a_sender_is_opened_and_not_before() -> None:
    code = "import sys, service.senders; sys.exit('aiogram' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
