"""Whole conversations: people and specialists write and press at the fake Bot API server, the service does the rest."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.telegram import FakeTelegram
from tests.fakes.telegram_people import Person
from tests.fakes.telegram_world import Accepted
from tests.support.bots import DESK, BotBench, running_bot
from tests.support.waiting import wait_until


@pytest.fixture
async def tg() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        fake.person(7, name="Anna", language="ru")
        fake.person(20, name="Vera Specialist")
        fake.person(21, name="Oleg Specialist")
        yield fake


@pytest.fixture
async def bot(database_url: str, tg: FakeTelegram) -> AsyncIterator[BotBench]:
    async with running_bot(database_url, tg, desk=True, start="open") as running:
        yield running


async def _sees(who: Person, text: str) -> Accepted:
    def found() -> Accepted | None:
        return next((sent for sent in who.sees() if text in sent.text), None)

    return await wait_until(found, 30, f"{text!r} is seen")


async def _reported(tg: FakeTelegram, text: str) -> tuple[Person, int, Person]:
    """Anna reports a problem: she, her message, and Vera in its topic."""
    anna = tg.person(7)
    anna.says("/support")
    await _sees(anna, "Опишите")
    said = anna.says(text)

    def shown() -> Accepted | None:
        return next((sent for sent in tg.journal if sent.chat == DESK and sent.text == text), None)

    copy = await wait_until(shown, 30, "the report is at the desk")
    return anna, said, tg.person(20).at(DESK, copy.thread)


async def test_from_report_to_rating(bot: BotBench, tg: FakeTelegram) -> None:
    anna, said, vera = await _reported(tg, "It does not work")
    card = await _sees(vera, "Anna")
    claims = vera.presses(card, "Claim"), tg.person(21).at(DESK, vera.thread).presses(card, "Claim")
    answers = await wait_until(
        lambda: (
            all(vera.answer(claim) is not None for claim in claims)
            and [vera.answer(claim).get("text") for claim in claims]
        )  # type: ignore[union-attr]
    )
    assert answers == [None, "Vera Specialist has it already"] or answers == [
        "",
        "Vera Specialist has it already",
    ]

    question = vera.says("Which page?", reply_to=(await _sees(vera, "It does not work")).message_id)
    asked = await _sees(anna, "Which page?")
    assert asked.reply_to == said
    anna.sends("photo", "this one", reply_to=asked.message_id)
    assert (await _sees(vera, "this one")).reply_to == question
    vera.album("photo", "photo", caption="like this?")
    shown = await _sees(anna, "like this?")
    await wait_until(lambda: len([sent for sent in anna.sees() if sent.album == shown.album]) == 2)
    anna.edits(said, "It does not work at all")
    await _sees(vera, "It does not work at all")
    vera.says("// a hard one")
    vera.says("Done, please look")
    await _sees(anna, "Done, please look")

    vera.presses(card, "Close")
    stars = await wait_until(lambda: next((sent for sent in anna.sees() if len(sent.buttons) == 5), None))
    anna.presses(stars, "★★★★★")
    await _sees(vera, "★★★★★")
    tickets = (await bot.call("GET", "/v1/tickets"))["items"]
    assert [(one["status"], one["rating"], one["closed_by"]) for one in tickets] == [
        ("closed", 5, "operator")
    ]
    assert not [text for text in anna.reads() if "Specialist" in text or "hard" in text]


async def test_only_what_is_closed_is_rated(bot: BotBench, tg: FakeTelegram) -> None:
    anna, _, vera = await _reported(tg, "It does not work")
    card = await _sees(vera, "Anna")
    (ticket,) = (await bot.call("GET", "/v1/tickets"))["items"]
    early = anna.calls_back(tg.chat(7).messages[anna.sees()[-1].message_id], f"rate:{ticket['id']}:5")
    answer = await wait_until(lambda: anna.answer(early), message="an answer to who rates early")
    assert "открыто" in answer["text"]
    vera.presses(card, "Close")
    stars = await wait_until(lambda: next((sent for sent in anna.sees() if len(sent.buttons) == 5), None))
    await bot.call("POST", f"/v1/tickets/{ticket['id']}/reopen")
    again = anna.presses(stars, "★")
    answer = await wait_until(lambda: anna.answer(again), message="an answer to who rates an open one")
    assert "открыто" in answer["text"]
    await bot.settled()
    assert (await bot.call("GET", f"/v1/tickets/{ticket['id']}"))["rating"] is None
    await bot.call("POST", f"/v1/tickets/{ticket['id']}/close")
    anna.presses(stars, "★★")
    await _sees(vera, "★★")
    assert (await bot.call("GET", f"/v1/tickets/{ticket['id']}"))["rating"] == 2


async def test_an_answer_to_a_notification(bot: BotBench, tg: FakeTelegram) -> None:
    anna = tg.person(7)
    anna.starts()
    await wait_until(anna.reads)
    sent = await bot.call(
        "POST", "/v1/notifications", {"title": "Order 17", "body": "is late", "sender": "TG", "to": "7"}, 202
    )
    notice = await _sees(anna, "is late")
    anna.says("Why is that?", reply_to=notice.message_id)
    card = await wait_until(
        lambda: next((one for one in tg.journal if one.chat == DESK and one.buttons), None)
    )
    assert "Order 17" in card.text
    assert sent["id"] in card.text
    (ticket,) = (await bot.call("GET", "/v1/tickets"))["items"]
    one = await bot.call("GET", f"/v1/tickets/{ticket['id']}")
    assert one["notification_id"] == sent["id"]
    assert [hop["status"] for hop in one["answers"]["trail"]] == ["sent"]


async def test_the_person_blocks_the_bot_in_the_middle(bot: BotBench, tg: FakeTelegram) -> None:
    anna, _, vera = await _reported(tg, "It does not work")
    anna.blocks()
    vera.says("Are you there?")
    await _sees(vera, "blocked the bot")
    anna.unblocks()
    anna.says("I am back")
    await _sees(vera, "I am back")
    vera.says("Good")
    await _sees(anna, "Good")


async def test_the_topic_is_deleted_under_it(bot: BotBench, tg: FakeTelegram) -> None:
    anna, _, vera = await _reported(tg, "It does not work")
    await _sees(anna, "Номер")
    vera.deletes_topic(vera.thread or 0)
    anna.says("one")
    anna.says("two")

    def moved() -> list[int]:
        said = [one for one in tg.journal if one.chat == DESK and one.text in ("one", "two")]
        return [one.thread or 0 for one in said] if [one.text for one in said] == ["one", "two"] else []

    threads = await wait_until(moved, 30, "both are in the new topic")
    assert len(set(threads)) == 1
    assert vera.thread not in threads
    tg.person(20).at(DESK, threads[0]).says("I see both")
    await _sees(anna, "I see both")


async def test_closing_the_topic_closes_the_ticket(bot: BotBench, tg: FakeTelegram) -> None:
    anna, _, vera = await _reported(tg, "It does not work")
    vera.closes_topic(vera.thread or 0)
    stars = await wait_until(lambda: next((sent for sent in anna.sees() if len(sent.buttons) == 5), None))
    assert stars
    await wait_until(lambda: (tg.chat(DESK).topics or {})[vera.thread or 0] == "closed")
