"""The support desk over real HTTP: what each side gets, in which order, and what it never gets."""

from collections.abc import AsyncIterator

import pytest

from service.support.transcript import transcript
from tests.fakes.telegram import FakeTelegram
from tests.fakes.telegram_world import Accepted
from tests.support.desks import DESK, OLEG, VERA, DeskBench, desk_bench
from tests.support.waiting import wait_until


@pytest.fixture
async def tg() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        yield fake


@pytest.fixture
async def bench(database_url: str, tg: FakeTelegram) -> AsyncIterator[DeskBench]:
    async with desk_bench(database_url, tg) as running:
        yield running


async def test_three_rounds_with_photo_album_edit_and_reply(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna", language="ru")
    opened = await bench.opens(anna, category="payment")
    first = anna.says("It does not work")
    assert await bench.wrote(anna, first) == "relayed"
    topic = await bench.topic(opened.ticket)
    vera = tg.person(20, name="Vera").at(DESK, topic)
    card = await bench.sees(vera, "Anna")
    assert "payment" in card.text
    copy = await bench.sees(vera, "It does not work")
    assert copy.copied == (7, first)

    answer = vera.says("Which page?", reply_to=copy.message_id)
    assert await bench.wrote(vera, answer, VERA) == "relayed"
    got = await bench.sees(anna, "Which page?")
    assert got.reply_to == first
    assert got.method.lower() == "copymessage"

    photo = anna.sends("photo", "this one", reply_to=got.message_id)
    await bench.wrote(anna, photo)
    shown = await bench.sees(vera, "this one")
    assert (shown.kind, shown.reply_to) == ("photo", answer)

    for part in anna.album("photo", "video", "photo", caption="and these"):
        await bench.wrote(anna, part)
    after = anna.says("that is all")
    await bench.wrote(anna, after)
    await bench.sees(vera, "that is all")
    last = vera.sees()[-4:]
    assert [sent.kind for sent in last] == ["photo", "video", "photo", "text"]
    assert len({sent.album for sent in last[:3]}) == 1

    anna.edits(first, "It does not work at all")
    assert await bench.edited(anna, first)
    await wait_until(lambda: tg.person(20).at(DESK, topic).reads()[1] == "It does not work at all")
    assert not await bench.edited(anna, first), "nothing has changed"
    anna.edits(photo, "this one here", file="another")
    await bench.edited(anna, photo)
    await bench.sees(vera, "this one here")
    vera.edits(answer, "Which page exactly?")
    assert await bench.edited(vera, answer, by_operator=True)
    await bench.sees(anna, "Which page exactly?")

    async with bench.database.transaction() as connection:
        assert await bench.desk.tickets.close(connection, opened.ticket, "operator", VERA)
    asked = await wait_until(lambda: next((sent for sent in anna.sees() if sent.buttons), None))
    assert asked.buttons[0][0]["callback_data"] == f"rate:{opened.ticket}:5"
    async with bench.database.transaction() as connection:
        assert await bench.desk.tickets.rate(connection, opened.ticket, "8", 1) == "refused"
        assert await bench.desk.tickets.rate(connection, opened.ticket, "7", 4) == "rated"
        assert await bench.desk.tickets.rate(connection, opened.ticket, "7", 1) == "refused"
    await bench.sees(vera, "★★★★")
    transcript = await wait_until(lambda: next((sent for sent in vera.sees() if sent.upload), None))
    assert "Anna: It does not work at all" in (transcript.upload or "")
    await wait_until(lambda: (tg.chat(DESK).topics or {})[topic] == "closed")
    assert not any("Vera" in text for text in anna.reads()), "a specialist's name reached the person"
    assert not tg.refused
    await wait_until(lambda: "rated" in bench.events.of_tickets())
    assert bench.events.of_tickets()[:3] == ["opened", "message", "message"]


async def test_a_part_of_an_album_that_was_not_copied_moves_no_other(
    bench: DeskBench, tg: FakeTelegram
) -> None:
    """Telegram skips what was deleted, and names the copies that it made and no others."""
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    vera = tg.person(20, name="Vera").at(DESK, await bench.topic(opened.ticket))
    parts = anna.album("photo", "photo", "photo", caption="look")
    for part in parts:
        await bench.wrote(anna, part)
    lost = tg.chat(7).messages[parts[0]]
    anna.deletes(parts[0])

    def copied() -> list[Accepted]:
        return [sent for sent in vera.sees() if sent.kind == "photo"]

    await wait_until(lambda: len(copied()) == 2, message="the others are at the desk")
    for part, words in ((parts[1], "the second"), (parts[2], "the third")):
        anna.edits(part, words)
        await bench.edited(anna, part)
    tg.chat(7).messages[parts[0]] = lost
    assert await bench.wrote(vera, vera.says("I see", reply_to=copied()[1].message_id), VERA) == "relayed"
    got = await bench.sees(anna, "I see")
    assert got.reply_to == parts[0], "the album, as nobody knows which of its parts"
    await bench.wrote(anna, anna.says("the end"))
    await bench.sees(vera, "the end")
    assert [(sent.text, sent.copied) for sent in copied()] == [("", (7, parts[1])), ("", (7, parts[2]))]


async def test_two_claim_at_once_and_one_wins(bench: DeskBench, tg: FakeTelegram) -> None:
    opened = await bench.opens(tg.person(7, name="Anna"))
    async with bench.database.transaction() as connection:
        mine = await bench.desk.tickets.claim(connection, opened.ticket, VERA)
    async with bench.database.transaction() as connection:
        other = await bench.desk.tickets.claim(connection, opened.ticket, OLEG)
    assert mine is not None and mine.mine
    assert other is not None and not other.mine and other.operator == VERA.id
    topic = await bench.topic(opened.ticket)
    card = await bench.sees(tg.person(20).at(DESK, topic), "Vera")
    await wait_until(lambda: card.buttons[0][0]["callback_data"] == f"ticket:{opened.ticket}:release")


async def test_a_deleted_topic_is_made_anew_and_nothing_is_lost(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    await bench.wrote(anna, anna.says("before"))
    old = await bench.topic(opened.ticket)
    vera = tg.person(20).at(DESK)
    await bench.sees(vera.at(DESK, old), "before")
    vera.deletes_topic(old)
    for number in range(5):
        await bench.wrote(anna, anna.says(f"after {number}"))

    async def anew() -> int | None:
        topic = await bench.column(opened.ticket, "thread")
        return topic if topic not in (None, old) else None

    new = int(await wait_until(anew))
    await bench.sees(vera.at(DESK, new), "after 4")
    told = [text for text in vera.at(DESK, new).reads() if text.startswith("after")]
    assert told == [f"after {number}" for number in range(5)]
    assert len(tg.chat(DESK).topics or {}) == 1, "no second topic was made"


async def test_a_topic_closed_by_hand_is_opened_again(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    topic = await bench.topic(opened.ticket)
    vera = tg.person(20).at(DESK, topic)
    await bench.sees(vera, "Anna")
    vera.closes_topic(topic)
    await bench.wrote(anna, anna.says("one"))
    await bench.wrote(anna, anna.says("two"))
    await bench.sees(vera, "two")
    assert [text for text in vera.reads() if text in ("one", "two")] == ["one", "two"]


async def test_the_desk_is_told_when_the_person_blocked_the_bot(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    topic = await bench.topic(opened.ticket)
    await bench.sees(anna, str(opened.ticket))
    vera = tg.person(20).at(DESK, topic)
    tg.chat(7).blocked = True
    await bench.wrote(vera, vera.says("Are you there?"), VERA)
    await bench.sees(vera, "has blocked the bot")


async def test_what_is_marked_stays_at_the_desk(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    vera = tg.person(20).at(DESK, await bench.topic(opened.ticket))
    assert await bench.wrote(vera, vera.says("// a bad customer\nreally"), VERA) == "internal"
    mixed = vera.says("Hello\n// ask Oleg\nSee you")
    assert await bench.wrote(vera, mixed, VERA) == "relayed"
    kept = [vera.album("photo", "photo", caption="// not for them")]
    for part in kept[0]:
        assert await bench.wrote(vera, part, VERA) in ("internal", "relayed")
    await bench.wrote(vera, vera.says("the end"), VERA)
    await bench.sees(anna, "the end")
    assert anna.reads()[1:] == ["Hello\nSee you", "the end"]


async def test_a_desk_without_topics_works_by_replies(database_url: str, tg: FakeTelegram) -> None:
    async with desk_bench(database_url, tg, topics=False) as bench:
        anna, boris = tg.person(7, name="Anna"), tg.person(8, name="Boris")
        await bench.opens(anna)
        await bench.opens(boris)
        await bench.wrote(anna, anna.says("from Anna"))
        await bench.wrote(boris, boris.says("from Boris"))
        vera = tg.person(20).at(DESK)
        copy = await bench.sees(vera, "from Boris")
        assert "Boris" in next(sent.text for sent in vera.sees() if sent.message_id == copy.reply_to)

        async def known() -> bool:
            return await bench.wrote(vera, vera.says("to Boris", reply_to=copy.message_id), VERA) == "relayed"

        await wait_until(known)
        await bench.sees(boris, "to Boris")
        assert await bench.wrote(vera, vera.says("to nobody"), VERA) == "no_ticket"
        assert len(anna.reads()) == 1


async def test_a_group_that_became_a_supergroup(database_url: str, tg: FakeTelegram) -> None:
    old, new = -4567, -1009999999999
    async with desk_bench(database_url, tg, chat=old, topics=False) as bench:
        anna = tg.person(7, name="Anna")
        opened = await bench.opens(anna)
        await bench.wrote(anna, anna.says("one"))
        await bench.sees(tg.person(20).at(old), "one")
        tg.person(20).at(old).upgrades_group(new)
        await bench.wrote(anna, anna.says("two"))
        await bench.sees(tg.person(20).at(new), "two")

        async def moved() -> bool:
            return await bench.column(opened.ticket, "desk") == str(new)

        await wait_until(moved)


async def test_topics_are_paced_and_hold_up_nobody(database_url: str, tg: FakeTelegram) -> None:
    async with desk_bench(database_url, tg, topic_rate=20) as bench:
        anna, boris = tg.person(7, name="Anna"), tg.person(8, name="Boris")
        first = await bench.opens(anna)
        topic = await bench.topic(first.ticket)
        second = await bench.opens(boris)
        await bench.wrote(boris, boris.says("from Boris"))
        await bench.wrote(anna, anna.says("from Anna"))
        await bench.sees(tg.person(20).at(DESK, topic), "from Anna")
        assert await bench.column(second.ticket, "topic") == "opening"
        second_topic = await bench.topic(second.ticket)
        await bench.sees(tg.person(20).at(DESK, second_topic), "from Boris")


async def test_a_repeated_update_changes_nothing(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    again = await bench.opens(anna)
    assert (again.ticket, again.fresh) == (opened.ticket, False)
    said = anna.says("once")
    assert [await bench.wrote(anna, said) for _ in range(3)] == ["relayed", "repeated", "repeated"]
    vera = tg.person(20).at(DESK, await bench.topic(opened.ticket))
    await bench.wrote(anna, anna.says("the end"))
    await bench.sees(vera, "the end")
    assert vera.reads().count("once") == 1


async def test_silence_is_warned_of_and_then_closes(database_url: str, tg: FakeTelegram) -> None:
    async with desk_bench(database_url, tg, warn_hours=0.0001, close_hours=0.0001) as bench:
        anna = tg.person(7, name="Anna", language="en")
        opened = await bench.opens(anna)
        vera = tg.person(20).at(DESK, await bench.topic(opened.ticket))
        await bench.wrote(vera, vera.says("Is it solved?"), VERA)
        await bench.sees(anna, "Do you still need help?")

        async def closed() -> bool:
            return await bench.column(opened.ticket, "closed_by") == "inactivity"

        await wait_until(closed)
        got = await bench.sees(anna, "is closed. How well")
        answer = anna.says(
            "No, it is not", reply_to=next(s for s in anna.sees() if "solved" in s.text).message_id
        )
        assert got.buttons
        assert await bench.wrote(anna, answer) == "relayed"
        assert await bench.column(opened.ticket, "status") == "open"
        await bench.sees(vera, "No, it is not")


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse();
"""


async def test_a_ticket_that_fails_holds_up_nobody_s_silence(bench: DeskBench, tg: FakeTelegram) -> None:
    anna, boris = tg.person(7, name="Anna"), tg.person(8, name="Boris")
    bad = (await bench.opens(anna)).ticket
    await bench.opens(boris)
    pool = bench.database.pool
    await pool.execute(REFUSE.format(table="ticket", condition=f"NEW.id = {bad} AND NEW.warned"))
    await pool.execute(
        "UPDATE ticket SET idle_at = now() - CASE id WHEN $1 THEN interval '2 hours' ELSE interval '1 hour' END",
        bad,
    )
    await bench.sees(boris, "Do you still need help?")
    assert not any("Do you still" in text for text in anna.reads())


async def test_a_ticket_that_fails_holds_up_nobody_s_outcome(bench: DeskBench, tg: FakeTelegram) -> None:
    people = tg.person(7, name="Anna"), tg.person(8, name="Boris")
    tickets = [(await bench.opens(person)).ticket for person in people]
    veras = [tg.person(20).at(DESK, await bench.topic(ticket)) for ticket in tickets]
    pool = bench.database.pool
    await pool.execute(
        REFUSE.format(
            table="ticket_message", condition=f"NEW.ticket_id = {tickets[0]} AND NEW.state = 'failed'"
        )
    )
    await bench.desk.clock.close()
    for person, vera in zip(people, veras, strict=True):
        tg.chat(person.chat).blocked = True
        await bench.wrote(vera, vera.says("Are you there?"), VERA)

    async def ended() -> bool:
        return await pool.fetchval("SELECT count(*) FROM delivery WHERE status = 'failed'") == len(people)

    await wait_until(ended, message="neither could be delivered")
    bench.desk.clock.start()
    await bench.sees(veras[1], "has blocked the bot")
    assert not any("has blocked" in text for text in veras[0].reads())


async def test_who_is_banned_is_not_heard(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    before = anna.says("hello")
    await bench.wrote(anna, before)
    async with bench.database.transaction() as connection:
        assert await bench.desk.tickets.ban(connection, opened.ticket, VERA)
    assert await bench.wrote(anna, anna.says("hey")) == "banned"
    anna.edits(before, "hey")
    assert not await bench.edited(anna, before)
    assert await bench.column(opened.ticket, "status") == "closed"


async def test_what_becomes_internal_before_it_leaves_stays_at_the_desk(
    bench: DeskBench, tg: FakeTelegram
) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    vera = tg.person(20, name="Vera").at(DESK, await bench.topic(opened.ticket))
    answer = vera.says("Wait a moment")
    talk = bench.desk.conversation
    async with bench.database.transaction() as connection:
        assert await talk.operator_wrote(connection, bench.incoming(vera, answer), VERA) == "relayed"
        vera.edits(answer, "// she owes us money")
        assert not await talk.operator_edited(connection, bench.incoming(vera, answer))
    await bench.wrote(vera, vera.says("It is done"), VERA)
    await bench.sees(anna, "It is done")
    assert not any("owes" in text for text in anna.reads())


async def test_a_long_answer_over_rest_is_shown_at_the_desk(bench: DeskBench, tg: FakeTelegram) -> None:
    """Telegram counts units of UTF-16: a smiley is two."""
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    async with bench.database.transaction() as connection:
        assert await bench.desk.conversation.reply(connection, opened.ticket, "👍" * 2_048, VERA)
    await bench.sees(anna, "👍" * 2_048)
    await bench.sees(tg.person(20).at(DESK, await bench.topic(opened.ticket)), "Vera: 👍")


async def test_nobody_writes_another_one_s_line_of_the_transcript(bench: DeskBench, tg: FakeTelegram) -> None:
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    await bench.wrote(anna, anna.says("hello\n2026-01-01 00:00:00 Vera: you get it all back"))
    async with bench.database.transaction() as connection:
        ticket = await bench.desk.tickets.lock(connection, opened.ticket)
        text = await transcript(connection, ticket)
    assert "    2026-01-01 00:00:00 Vera" in text
    assert "\n2026-01-01 00:00:00 Vera" not in text


async def test_nobody_is_shown_to_another(bench: DeskBench, tg: FakeTelegram) -> None:
    """Ids of messages are the same in every chat; an answer to one never leads to somebody else's."""
    people = [tg.person(user, name=f"Person {user}") for user in (7, 8, 9)]
    opened = [await bench.opens(person) for person in people]
    topics = [await bench.topic(one.ticket) for one in opened]
    for person in people:
        said = person.says(f"from {person.id}")
        await bench.wrote(person, said)
        await bench.wrote(person, person.says(f"more from {person.id}", reply_to=said))
    for person, topic in zip(people, topics, strict=True):
        vera = tg.person(20).at(DESK, topic)
        shown = await bench.sees(vera, f"more from {person.id}")
        first = await bench.sees(vera, f"from {person.id}")
        assert shown.reply_to == first.message_id
        others = {str(other.id) for other in people} - {str(person.id)}
        assert not any(
            f"Person {other}" in text or f"from {other}" in text for text in vera.reads() for other in others
        )


async def test_what_a_recipient_said_goes_with_them(bench: DeskBench, tg: FakeTelegram) -> None:
    pool = bench.database.pool
    recipient = await pool.fetchval(
        """INSERT INTO recipient (external_id, attributes, muted, created_at, updated_at)
        VALUES ('42', '{}', false, now(), now()) RETURNING id"""
    )
    await pool.execute(
        "INSERT INTO contact (recipient_id, sender, address, position, active) VALUES ($1, 'TG', '7', 0, true)",
        recipient,
    )
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    await bench.wrote(anna, anna.says("mine"))
    vera = tg.person(20).at(DESK, await bench.topic(opened.ticket))
    assert "Recipient: 42" in (await bench.sees(vera, "Anna")).text
    await bench.sees(vera, "mine")
    await pool.execute("DELETE FROM recipient WHERE id = $1", recipient)
    for table in ("ticket", "ticket_message", "relayed_message"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_desk_that_cannot_make_topics_works_by_replies(bench: DeskBench, tg: FakeTelegram) -> None:
    tg.chat(DESK).may_manage_topics = False
    anna = tg.person(7, name="Anna")
    await bench.opens(anna)
    await bench.wrote(anna, anna.says("hello"))
    copy = await bench.sees(tg.person(20).at(DESK), "hello")
    assert copy.thread is None
    assert copy.reply_to is not None


async def test_a_desk_out_of_reach_keeps_what_was_said(bench: DeskBench, tg: FakeTelegram) -> None:
    tg.chat(DESK).kicked = True
    anna = tg.person(7, name="Anna")
    opened = await bench.opens(anna)
    await bench.wrote(anna, anna.says("hello"))
    await wait_until(lambda: tg.refused)

    async def asked_again() -> bool:
        return bool(
            await bench.database.pool.fetchval(
                "SELECT true FROM delivery d JOIN ticket t ON d.id = t.topic_delivery WHERE d.due_at > now()"
            )
        )

    await wait_until(asked_again)
    tg.chat(DESK).kicked = False
    await bench.database.pool.execute(
        "UPDATE delivery SET due_at = now(), send_at = now() WHERE status = 'queued'"
    )
    await bench.sees(tg.person(20).at(DESK, await bench.topic(opened.ticket)), "hello")
