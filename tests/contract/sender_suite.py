"""What every sender must do, whatever its channel: scenarios written once, run against a `Rig` per sender.

A rig ties a sender to a fake of its provider. What the sender should answer is written by hand in
the rig's tables, from the provider's documentation: the suite never asks the sender what is right.
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, ClassVar, Self
from uuid import uuid4

import pytest

from service.senders.base import (
    AddressError,
    BaseSender,
    Button,
    Message,
    NotSent,
    Outcome,
    Retry,
    Scope,
    Sent,
    Throttled,
    Unknown,
)
from tests.support.waiting import wait_until


class Situation(StrEnum):
    """What providers and networks do. A rig has a case for each, or says why it cannot happen."""

    UNREACHABLE = "nobody listens at the provider's address"
    RESET_BEFORE = "the connection is cut before the message is accepted"
    RESET_AFTER = "the connection is cut after the message is accepted"
    SILENT = "the message is accepted, an answer never comes"
    MALFORMED = "the answer is not what the protocol says"
    HTML = "a proxy answers with an HTML error page"
    SERVER_ERROR = "the provider has an error of its own"
    THROTTLED = "too fast, and when to come back is said"
    THROTTLED_NO_HINT = "too fast, and nothing is said"
    REFUSED = "the provider will never take this message"
    GONE = "the address is dead"
    CREDENTIALS = "the account itself does not work"


@dataclass(frozen=True)
class Case:
    """One situation: how to bring it about, and the outcome that is right.

    `arrange` gets the rig. `accepted` is how often the message has reached the recipient afterwards.
    `recovers`: the next message goes through.
    """

    situation: Situation
    arrange: Callable[[Any], Awaitable[None] | None]
    outcome: type[Outcome]
    code: str | None = None
    retry_after: float | None = None
    scope: Scope = Scope.ACCOUNT
    accepted: int = 0
    recovers: bool = True
    note: str = ""

    def __str__(self) -> str:
        return f"{self.situation.name.lower()}{'-' if self.note else ''}{self.note.replace(' ', '-')}"


class Rig(ABC):
    """A sender, its fake and what is expected of them. Entering it starts the fake and nothing else."""

    name: ClassVar[str]
    """The sender's name."""
    address: str = ""
    """A working address; set it on entering when it depends on the fake."""
    cases: ClassVar[Sequence[Case]]
    cannot_happen: ClassVar[Mapping[Situation, str]] = {}
    """Situations this channel does not have, with the reason."""
    bad_addresses: ClassVar[Sequence[str]] = ()
    canonical_addresses: ClassVar[Mapping[str, str]] = {}
    """Address as given -> address as kept."""
    shown_as: ClassVar[Mapping[str, str]] = {}
    """Texts of `HOSTILE` that the recipient sees differently, and how."""
    secrets: ClassVar[Sequence[str]] = ()
    """What must never show in an outcome."""
    timeout_seconds: float = 10.0
    """How long `sender` should wait for an answer; the suite shortens it where none comes."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def sender(self) -> BaseSender:
        """A new sender that talks to the fake, not yet opened."""

    @abstractmethod
    def off_senders(self) -> Mapping[str, BaseSender]:
        """Senders that cannot work; by the name of the setting that is wrong."""

    @abstractmethod
    def accepted(self) -> list[str]:
        """What the recipient has, as read on the screen: one text for each message, in order."""


class SplittingRig(Rig):
    """The rig of a sender that splits what is too long for one call."""

    @abstractmethod
    def fail_call(self, number: int) -> None:
        """Let the `number`th call from now fail with a server error."""


GRACE_SECONDS = 5.0
SILENCE_SECONDS = 1.5
MESSAGE_TITLE = "Backup failed"
MESSAGE_BODY = "disk full"

UNICODE = {
    "emoji": "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 ❤️",
    "right to left": "שלום עולם, مرحبا بالعالم",
    "combining": "e\u0301 n\u0303 Z͑ͫ̓a̴l̷g̸o",
    "astral": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠜎𠜱 🜁",
    "width": "全角 ｈａｌｆ ﾊﾝｶｸ, zero\u200bwidth",
    "cyrillic": "Заказ №17 — оплачен…",
}

HOSTILE = {
    "html": "<b>bold</b> <script>alert(1)</script> &lt; &amp; <a href='x'>",
    "unclosed html": "</code></pre><i>",
    "markdown": "*bold* _it_ ~no~ ||spoiler|| `code` [text](https://example.com) # h > q - l = . ! {}",
    "backslashes": "\\ \\* \\\\n C:\\temp\\new",
    "templates": "{{ 7 * 7 }} {0} %s %(name)s ${HOME} $(id) `id`",
    "json": '","text":"other","x":"',
    "mentions": "@everyone <!channel> <@1> tg://user?id=1",
    "terminal": "\x1b[2J\x1b]0;title\x07 \x9b31m \x08",
}


_delivery_ids = itertools.count(1)


def message(address: str, **changes: Any) -> Message:
    """One message of its own delivery."""
    plain = Message(
        notification_id=uuid4(),
        delivery_id=next(_delivery_ids),
        address=address,
        title=MESSAGE_TITLE,
        body=MESSAGE_BODY,
        created_at=datetime.now(UTC),
    )
    return replace(plain, **changes)


async def deliver(rig: Rig, sender: BaseSender, msg: Message) -> Outcome:
    """Send as the engine does: what takes too long is cancelled, and its outcome unknown."""
    try:
        async with asyncio.timeout(rig.timeout_seconds + GRACE_SECONDS):
            return await sender.send(msg)
    except TimeoutError:
        return Unknown(reason="no outcome in time")


class SenderSuite:
    """Subclass it with a `rig_class`; every test runs against that sender."""

    rig_class: ClassVar[type[Rig]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.rig_class.cases, ids=str)

    @pytest.fixture
    async def rig(self) -> AsyncIterator[Rig]:
        async with self.rig_class() as rig:
            yield rig

    @pytest.fixture
    async def sender(self, rig: Rig, request: pytest.FixtureRequest) -> AsyncIterator[BaseSender]:
        case = request.node.callspec.params.get("case") if hasattr(request.node, "callspec") else None
        if case is not None and case.situation is Situation.SILENT:
            rig.timeout_seconds = SILENCE_SECONDS
        sender = rig.sender()
        await sender.open()
        yield sender
        await sender.close()

    def test_every_situation_has_a_case_or_a_reason(self) -> None:
        covered = {case.situation for case in self.rig_class.cases}
        assert covered | self.rig_class.cannot_happen.keys() == set(Situation)
        assert not covered & self.rig_class.cannot_happen.keys()
        assert all(self.rig_class.cannot_happen.values())

    async def test_is_on_under_its_name(self, rig: Rig, sender: BaseSender) -> None:
        assert sender.name == rig.name == rig.name.upper()
        assert sender.off_reason is None

    async def test_success_has_the_providers_id(self, rig: Rig, sender: BaseSender) -> None:
        outcome = await deliver(rig, sender, message(rig.address))
        assert isinstance(outcome, Sent)
        assert len(outcome.parts) == 1
        assert outcome.parts[0].strip()
        assert_shows(rig.accepted(), MESSAGE_TITLE, MESSAGE_BODY)

    async def test_a_preview_shows_the_text_and_sends_nothing(self, rig: Rig, sender: BaseSender) -> None:
        texts = await sender.preview(message(rig.address))
        assert_shows(texts, MESSAGE_TITLE, MESSAGE_BODY)
        assert rig.accepted() == []

    async def test_the_title_may_be_empty(self, rig: Rig, sender: BaseSender) -> None:
        assert isinstance(await deliver(rig, sender, message(rig.address, title="")), Sent)
        assert_shows(rig.accepted(), MESSAGE_BODY)

    async def test_buttons_do_not_hide_the_text(self, rig: Rig, sender: BaseSender) -> None:
        buttons = (Button("Open", "https://example.com/1"), Button("Close", "https://example.com/2"))
        assert isinstance(await deliver(rig, sender, message(rig.address, buttons=buttons)), Sent)
        assert_shows(rig.accepted(), MESSAGE_TITLE, MESSAGE_BODY)

    async def test_what_the_provider_does_is_told(self, rig: Rig, sender: BaseSender, case: Case) -> None:
        arranged = case.arrange(rig)
        if arranged is not None:
            await arranged
        outcome = await deliver(rig, sender, message(rig.address))
        assert_outcome(outcome, case)
        assert not [secret for secret in rig.secrets if secret in repr(outcome)]
        assert len(rig.accepted()) == case.accepted
        if case.recovers:
            again = await deliver(rig, sender, message(rig.address, body="the next one"))
            assert isinstance(again, Sent), again
            assert "the next one" in rig.accepted()[-1]

    async def test_a_cancelled_send_leaves_the_sender_working(self, rig: Rig, sender: BaseSender) -> None:
        silence = next((case for case in rig.cases if case.situation is Situation.SILENT), None)
        if silence is None:  # then it answers at once, and there is nothing to cancel
            assert Situation.SILENT in rig.cannot_happen
            return
        silence.arrange(rig)
        sending = asyncio.create_task(sender.send(message(rig.address)))
        await wait_until(rig.accepted)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert isinstance(await deliver(rig, sender, message(rig.address, body="the next one")), Sent)

    async def test_many_at_once_arrive_once_each(self, rig: Rig, sender: BaseSender) -> None:
        bodies = [f"message {number}." for number in range(20)]
        outcomes = await asyncio.gather(
            *(deliver(rig, sender, message(rig.address, body=body)) for body in bodies)
        )
        assert all(isinstance(outcome, Sent) for outcome in outcomes), outcomes
        parts = [part for outcome in outcomes if isinstance(outcome, Sent) for part in outcome.parts]
        assert len(set(parts)) == len(bodies)
        texts = rig.accepted()
        assert len(texts) == len(bodies)
        assert all(sum(body in text for text in texts) == 1 for body in bodies)

    async def test_long_text_is_split_refused_or_whole(self, rig: Rig, sender: BaseSender) -> None:
        most = sender.capabilities.max_length
        words = numbered_words(3 * (most or 30_000))
        outcome = await deliver(rig, sender, message(rig.address, body=" ".join(words)))
        if most is not None and not sender.capabilities.splits:
            assert isinstance(outcome, NotSent)
            assert rig.accepted() == []
            return
        assert isinstance(outcome, Sent), outcome
        assert words_of(rig.accepted()) == words
        assert len(outcome.parts) == len(rig.accepted())
        assert (len(outcome.parts) > 1) == (most is not None)

    async def test_what_was_accepted_is_not_sent_again(self, rig: Rig, sender: BaseSender) -> None:
        assert sender.capabilities.splits == isinstance(rig, SplittingRig)
        if not isinstance(rig, SplittingRig):  # one message is one call: nothing is ever half done
            return
        words = numbered_words(3 * (sender.capabilities.max_length or 0))
        msg = message(rig.address, body=" ".join(words))
        rig.fail_call(2)
        first = await deliver(rig, sender, msg)
        assert isinstance(first, Retry), first
        assert len(first.parts) == len(rig.accepted()) == 1
        second = await deliver(rig, sender, replace(msg, attempt=2, parts_done=first.parts))
        assert isinstance(second, Sent), second
        assert second.parts[:1] == first.parts
        assert len(second.parts) == len(rig.accepted())
        assert words_of(rig.accepted()) == words

    @pytest.mark.parametrize("text", UNICODE.values(), ids=UNICODE)
    async def test_unicode_arrives_intact(self, rig: Rig, sender: BaseSender, text: str) -> None:
        for kind in sorted(sender.capabilities.formats):
            outcome = await deliver(rig, sender, message(rig.address, title=text, body=text, format=kind))
            assert isinstance(outcome, Sent), outcome
            assert rig.accepted()[-1].count(text) == 2

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
    async def test_plain_text_is_shown_as_typed(self, rig: Rig, sender: BaseSender, text: str) -> None:
        shown = rig.shown_as.get(text, text)
        outcome = await deliver(rig, sender, message(rig.address, title=text, body=text))
        assert isinstance(outcome, Sent), outcome
        assert_shows(rig.accepted(), shown)
        assert rig.accepted()[0].count(shown) == 2

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
    async def test_a_title_is_plain_whatever_the_format(
        self, rig: Rig, sender: BaseSender, text: str
    ) -> None:
        for kind in sorted(sender.capabilities.formats):
            outcome = await deliver(rig, sender, message(rig.address, title=text, format=kind))
            assert isinstance(outcome, Sent), outcome
            assert rig.shown_as.get(text, text) in rig.accepted()[-1]
            assert MESSAGE_BODY in rig.accepted()[-1]

    async def test_is_off_with_a_reason_that_names_the_setting(self, rig: Rig) -> None:
        assert rig.off_senders()
        for setting, sender in rig.off_senders().items():
            assert sender.off_reason is not None
            assert setting in sender.off_reason
            assert not [secret for secret in rig.secrets if secret in sender.off_reason]

    async def test_closes_twice_and_unopened(self, rig: Rig) -> None:
        unopened = rig.sender()
        await unopened.close()
        opened = rig.sender()
        await opened.open()
        assert isinstance(await deliver(rig, opened, message(rig.address)), Sent)
        await opened.close()
        await opened.close()

    async def test_addresses_are_judged_before_sending(self, rig: Rig, sender: BaseSender) -> None:
        assert sender.check_address(rig.address) == rig.address
        for given, kept in rig.canonical_addresses.items():
            assert sender.check_address(given) == kept
            assert sender.check_address(kept) == kept
        for bad in rig.bad_addresses:
            with pytest.raises(AddressError, match=r"\w"):
                sender.check_address(bad)
        assert sender.address_spacing(rig.address) >= 0


def numbered_words(characters: int) -> list[str]:
    """Different words, one after the other at least so many characters."""
    return [f"word{number:06}" for number in range(characters // 11 + 1)]


def words_of(texts: Sequence[str]) -> list[str]:
    """The numbered words of the texts, in order, repeats included."""
    return [word for text in texts for word in text.split() if word.startswith("word")]


def assert_shows(texts: Sequence[str], *pieces: str) -> None:
    """Exactly one message has arrived, and all of this is in it."""
    assert len(texts) == 1, texts
    assert all(piece in texts[0] for piece in pieces), (texts[0], pieces)


def assert_outcome(outcome: Outcome, case: Case) -> None:
    assert type(outcome) is case.outcome, outcome
    if isinstance(outcome, NotSent):
        assert outcome.reason.strip()
        assert len(outcome.reason) < 1_000
        assert outcome.reason.isprintable()
    if case.code is not None:
        assert isinstance(outcome, NotSent)
        assert outcome.code == case.code
    if isinstance(outcome, Throttled):
        assert outcome.scope is case.scope
    if isinstance(outcome, Throttled | Retry):
        assert outcome.retry_after == case.retry_after
