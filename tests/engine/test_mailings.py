"""Mailings on a real database: everybody once, held in a second, watched, counted."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from service.audience.people import QuietHours
from service.audience.topics import Topics
from service.delivery.holds import HOLD_SECONDS
from service.delivery.housekeeping import ESCALATION_LOCK
from service.delivery.planning import Defaults
from service.errors import MailingRefused, MailingState
from service.mailings.progress import Progress, progress_of
from service.mailings.runner import RETRY_SECONDS
from service.mailings.uploads import upload
from service.senders.base import BaseSender, Gone, Message, Outcome, Refused, Retry
from tests.engine.conftest import Bench, ScriptedSender, StartBench
from tests.engine.test_devices import Phones, devices
from tests.engine.test_people import contacts, people
from tests.support.mailings import MailingBench, fill_people
from tests.support.triggers import TriggerBench
from tests.support.waiting import wait_until

Begin = Callable[..., Awaitable[tuple[Bench, MailingBench]]]


@pytest.fixture
async def begin(start_bench: StartBench) -> AsyncIterator[Begin]:
    """`begin(sender, …, rows_ahead=…)`: an engine with a runner of mailings; several are replicas."""
    runners: list[MailingBench] = []

    async def start(
        *senders: BaseSender,
        defaults: Defaults | None = None,
        engine: dict[str, Any] | None = None,
        **settings: Any,
    ) -> tuple[Bench, MailingBench]:
        bench = await start_bench(*senders, defaults=defaults, **(engine or {}))
        table = {sender.name: sender for sender in senders}
        mailing = MailingBench(bench.engine, bench.database, table, defaults=defaults, **settings)
        mailing.runner.start()
        runners.append(mailing)
        return bench, mailing

    yield start
    for mailing in runners:
        await mailing.runner.close()


class FirstRefused(ScriptedSender):
    """Refuses the address `first` at once."""

    async def send(self, message: Message) -> Outcome:
        return Refused(reason="no") if message.address == "first" else await super().send(message)


async def open_rows(bench: Bench) -> int:
    count = await bench.database.pool.fetchval(
        "SELECT count(*) FROM delivery WHERE status IN ('queued', 'sending')"
    )
    return int(count)


async def test_everybody_gets_it_once_from_two_replicas(begin: Begin) -> None:
    sender = ScriptedSender()
    bench, mailing = await begin(sender, rows_ahead=200, batch_people=50)
    _, other = await begin(sender, rows_ahead=200, batch_people=50)
    await fill_people(bench.database, 1_000)
    await people(bench, muted={"contacts": contacts(("TG", "m")), "muted": True}, lost={"contacts": []})
    row = await mailing.until(await mailing.start(), "finished")
    assert (row["planned"], row["made"]) == (1_002, 1_002)
    tally = await mailing.tally(row["id"])
    assert (tally.sent, tally.suppressed) == (1_000, Counter(muted=1, no_contact=1))
    made = [each.registry.get_sample_value("mailing_recipients_made_total") for each in (mailing, other)]
    assert sum(filter(None, made)) == 1_002
    assert Counter(call.address for call in sender.calls) == Counter({f"a{n}": 1 for n in range(1_000)})


async def test_rows_are_made_a_bounded_number_ahead(begin: Begin) -> None:
    sender = ScriptedSender(concurrency=5)
    sender.gate.clear()
    bench, mailing = await begin(sender, rows_ahead=60, batch_people=20)
    await fill_people(bench.database, 300)
    mailing_id = await mailing.start()
    await wait_until(lambda: len(sender.calls) == 5)

    async def full() -> bool:
        return await open_rows(bench) == 60

    await wait_until(full)
    sender.gate.set()
    await mailing.until(mailing_id, "finished")
    assert len(sender.calls) == 300


async def test_a_pause_stops_what_is_leased_too_and_a_resume_goes_on(begin: Begin) -> None:
    sender = ScriptedSender(concurrency=3)
    sender.gate.clear()
    bench, mailing = await begin(sender, rows_ahead=100)
    other, _ = await begin(sender, rows_ahead=100)
    await fill_people(bench.database, 250)
    mailing_id = await mailing.start()
    await wait_until(lambda: len(sender.calls) >= 3)
    began = time.monotonic()
    stopped = await mailing.mailings.pause(mailing_id, "somebody asked")
    assert time.monotonic() - began < 5
    assert (stopped.status, stopped.sent) == ("paused", 0)
    assert stopped.under_way == len(sender.calls)
    sender.gate.set()
    await wait_until(lambda: bench.engine.dispatchers["TG"].in_flight == 0)
    under_way = len(sender.calls)
    urgent = await bench.accept("urgent", to="a240", priority="urgent")
    await bench.until(urgent, "sent")
    bulk = await bench.accept("also bulk", to="a240", priority="bulk")
    await bench.until(bulk, "sent")  # what is held is in nobody's way
    assert Counter(sender.bodies)["hello"] == under_way
    with pytest.raises(MailingState):
        await mailing.mailings.start(mailing_id)
    await mailing.mailings.resume(mailing_id)
    await mailing.until(mailing_id, "finished")
    got = Counter(call.address for call in sender.calls if call.body == "hello")
    assert got == Counter({f"a{n}": 1 for n in range(250)})
    assert await bench.database.pool.fetchval("SELECT count(*) FROM hold") == 0
    assert other.engine.dispatchers["TG"].in_flight == 0


async def test_a_retry_of_a_paused_mailing_waits_too(begin: Begin) -> None:
    sender = ScriptedSender()
    sender.answer("hello", Retry(reason="busy"))
    sender.gate.clear()
    bench, mailing = await begin(sender)
    await fill_people(bench.database, 1)
    mailing_id = await mailing.start()
    await wait_until(lambda: len(sender.calls) == 1)
    await mailing.mailings.pause(mailing_id, "")
    sender.gate.set()

    async def held() -> bool:
        return bool(
            await bench.database.pool.fetchval(
                "SELECT due_at > now() + interval '1 year' FROM delivery WHERE attempt = 1 AND status = 'queued'"
            )
        )

    await wait_until(held)
    assert len(sender.calls) == 1
    await mailing.mailings.resume(mailing_id)
    await mailing.until(mailing_id, "finished")
    assert [call.attempt for call in sender.calls] == [1, 2]


async def test_a_cancel_ends_what_waits_and_says_what_was_sent(begin: Begin) -> None:
    sender = ScriptedSender(concurrency=3)
    bench, mailing = await begin(sender, rows_ahead=50)
    await fill_people(bench.database, 200)
    sender.gate.clear()
    mailing_id = await mailing.start()
    await wait_until(lambda: len(sender.calls) == 3)
    stopped = await mailing.mailings.cancel(mailing_id)
    assert (stopped.status, stopped.under_way) == ("cancelled", 3)
    sender.gate.set()
    row = await mailing.until(mailing_id, "cancelled")
    tally = await mailing.tally(mailing_id)
    assert tally.sent == 3 == len(sender.calls)
    assert tally.cancelled == row["made"] - 3
    assert await bench.database.pool.fetchval("SELECT count(*) FROM hold") == 0
    for refused in (mailing.mailings.resume, mailing.mailings.cancel):
        with pytest.raises(MailingState):
            await refused(mailing_id)


async def test_a_cancel_ends_the_later_link_of_a_chain_that_waits_long(begin: Begin) -> None:
    tg, hook = FirstRefused(), ScriptedSender("WEBHOOK")
    tg.gate.clear()
    hook.answer("hello", Retry(reason="busy", retry_after=3600))
    bench, mailing = await begin(tg, hook, rows_ahead=10, batch_people=10)
    await people(bench, first={"contacts": contacts(("TG", "first"), ("WEBHOOK", "w"))})
    await fill_people(bench.database, 20)
    content = {"body": "hello", "sender": ["TG", "WEBHOOK"]}
    mailing_id = await mailing.start(content=content, limits={"failed": 1, "blocked": 1})

    async def passed_by() -> bool:
        """The count has gone on beyond the row of the second link."""
        return bool(
            await bench.database.pool.fetchval(
                """SELECT true FROM delivery d JOIN mailing m USING (notification_id)
                WHERE d.position = 1 AND d.status = 'queued' AND d.attempt = 1 AND m.counted_to > d.id"""
            )
        )

    await wait_until(passed_by)
    await mailing.mailings.cancel(mailing_id)
    tg.gate.set()
    await mailing.until(mailing_id, "cancelled", 10)
    tally = await mailing.tally(mailing_id)
    assert (tally.failed.total(), tally.sent) == (0, len(tg.calls))


async def test_failures_over_the_limit_pause_it_and_say_why(begin: Begin) -> None:
    sender = ScriptedSender(concurrency=5)
    sender.answer("hello", *[Refused(reason="no"), Gone(reason="blocked")] * 200)
    bench, mailing = await begin(sender, rows_ahead=100, batch_people=20)
    await fill_people(bench.database, 400)
    mailing_id = await mailing.start(limits={"failed": 0.3, "blocked": 1})
    row = await mailing.until(mailing_id, "paused")
    assert "failed; the limit is 30.0%" in row["reason"]
    failed = len(sender.calls)
    assert failed < 400
    sender.script.clear()
    await mailing.mailings.resume(mailing_id)
    await mailing.until(mailing_id, "finished")
    tally = await mailing.tally(mailing_id)
    assert (tally.sent, tally.failed.total()) == (400 - failed, failed)


async def test_a_canary_goes_first_and_waits_for_a_person(begin: Begin) -> None:
    sender = ScriptedSender()
    bench, mailing = await begin(sender)
    await fill_people(bench.database, 100)
    mailing_id = await mailing.start(canary={"recipients": 10, "approval": True})

    async def waits() -> bool:
        row = await mailing.mailings.get(mailing_id)
        return row["canary"] == "approval" and row["made"] == 10

    await wait_until(waits)
    assert len(sender.calls) == 10
    await mailing.mailings.approve(mailing_id)
    await mailing.until(mailing_id, "finished")
    assert len(sender.calls) == 100


async def test_what_remains_is_people_where_they_have_several_devices(begin: Begin) -> None:
    phones = Phones()
    bench, mailing = await begin(phones)
    names = [f"p{number}" for number in range(6)]
    await people(bench, **{name: {"contacts": []} for name in names})
    for name in names:
        await devices(bench, name, f"{name}-a", f"{name}-b")
    content = {"body": "hello", "sender": "PUSH"}
    mailing_id = await mailing.start(content=content, canary={"recipients": 4, "approval": True})

    async def progress() -> Progress:
        row, parts = await mailing.mailings.get(mailing_id), await mailing.mailings.parts(mailing_id)
        return progress_of(row, parts, mailing.planner)

    async def waits() -> bool:
        return (await progress()).waits_for == "approval"

    await wait_until(waits)
    seen = await progress()
    assert (seen.planned, seen.made, seen.tally.sent, seen.remaining) == (6, 4, 4, 2)
    await mailing.mailings.approve(mailing_id)
    await mailing.until(mailing_id, "finished")
    assert (await progress()).remaining == 0


async def test_a_person_whose_old_devices_are_dead_was_reached(begin: Begin) -> None:
    phones = Phones()
    bench, mailing = await begin(phones)
    names = [f"p{number}" for number in range(6)]
    await people(bench, **{name: {"contacts": []} for name in names})
    for name in names:
        await devices(bench, name, f"{name}-old", f"{name}-older", f"{name}-new")
        phones.dead |= {f"{name}-old", f"{name}-older"}
    mailing_id = await mailing.start(content={"body": "hello", "sender": "PUSH"}, canary={"share": 0.5})
    await mailing.until(mailing_id, "finished")
    tally = await mailing.tally(mailing_id)
    assert (tally.sent, tally.failed.total(), len(phones.calls)) == (6, 0, 18)


async def test_whom_no_device_reached_counts_once(begin: Begin) -> None:
    phones = Phones()
    bench, mailing = await begin(phones)
    await people(bench, **{name: {"contacts": []} for name in ("gone", "mixed", "erased")})
    await devices(bench, "gone", "g1", "g2")
    await devices(bench, "mixed", "m1", "m2")
    await devices(bench, "erased", "e1", "e2")
    phones.dead |= {"g1", "g2", "m1"}
    phones.refusing.add("m2")
    phones.sick = {"e1": 100, "e2": 100}
    content = {"body": "hello", "sender": "PUSH"}
    mailing_id = await mailing.start(content=content, limits={"failed": 1, "blocked": 1})

    async def counted() -> bool:
        return (await mailing.tally(mailing_id)).ended == 2

    await wait_until(counted)
    erased = await bench.database.pool.fetchval("SELECT id FROM recipient WHERE external_id = 'erased'")
    assert await bench.engine.operations.forget(erased) == 2
    await mailing.until(mailing_id, "finished")
    tally = await mailing.tally(mailing_id)
    assert (tally.failed, tally.erased, tally.sent) == (Counter(gone=1, refused=1), 1, 0)


async def test_a_sick_canary_stops_it(begin: Begin) -> None:
    sender = ScriptedSender()
    sender.answer("hello", *[Gone(reason="blocked")] * 4)
    bench, mailing = await begin(sender)
    await fill_people(bench.database, 100)
    mailing_id = await mailing.start(canary={"share": 0.1})
    row = await mailing.until(mailing_id, "paused")
    assert row["reason"] == "the canary: 40.0% of 10 were blocked; the limit is 30.0%"
    assert (row["made"], len(sender.calls)) == (10, 10)
    await mailing.mailings.resume(mailing_id)
    await mailing.until(mailing_id, "finished")
    assert len(sender.calls) == 100


def _zone_where_it_is(hour: int) -> str:
    offset = (hour - datetime.now(UTC).hour + 12) % 24 - 12
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


async def test_a_window_by_each_zone(begin: Begin) -> None:
    sender = ScriptedSender()
    bench, mailing = await begin(sender, defaults=Defaults(zone=_zone_where_it_is(12)))
    await fill_people(bench.database, 30, prefix="noon")
    await fill_people(bench.database, 40, prefix="night", zone=_zone_where_it_is(3))
    mailing_id = await mailing.start(window={"from": "10:00", "until": "15:00"})
    await wait_until(lambda: len(sender.calls) == 30)

    async def looked() -> bool:
        row = await mailing.mailings.get(mailing_id)
        return bool(row["look_at"] - row["now"] > timedelta(seconds=20))

    await wait_until(looked)
    row = await mailing.mailings.get(mailing_id)
    assert (row["status"], row["planned"], row["made"]) == ("running", 70, 30)
    # One moves to where it is open, another from there to where the walk has not been: each gets it once.
    await bench.database.pool.execute("UPDATE recipient SET zone = NULL WHERE external_id LIKE 'night%'")
    night = "UPDATE recipient SET zone = $1 WHERE external_id = 'noon0'"
    await bench.database.pool.execute(night, _zone_where_it_is(3))
    await bench.database.pool.execute("UPDATE mailing_part SET done = true WHERE zone <> '*'")
    await bench.database.pool.execute("UPDATE mailing SET look_at = now()")
    bench.engine.wakeups.say("mailing", "")
    await mailing.until(mailing_id, "finished")
    assert await bench.database.pool.fetchval("SELECT count(DISTINCT recipient_id) FROM delivery") == 70
    assert len(sender.calls) == 70


async def test_its_own_rate_is_kept_over_a_pause(begin: Begin) -> None:
    sender = ScriptedSender()
    bench, mailing = await begin(sender, cap_ahead_seconds=0.5)
    await fill_people(bench.database, 60)
    mailing_id = await mailing.start(rate=40)
    await wait_until(lambda: len(sender.calls) >= 15)
    await mailing.mailings.pause(mailing_id, "")
    await mailing.mailings.resume(mailing_id)
    await mailing.until(mailing_id, "finished")
    times = sorted(call.at for call in sender.calls)
    assert len(times) == 60
    for first, last in zip(times, times[20:], strict=False):
        assert last - first > 20 / 40 * 0.8


async def test_several_take_turns(begin: Begin) -> None:
    sender = ScriptedSender(rate=200.0)
    bench, mailing = await begin(sender, rows_ahead=40, batch_people=10)
    await fill_people(bench.database, 200)
    first = await mailing.start(content={"body": "one", "sender": "TG"})
    second = await mailing.start(content={"body": "two", "sender": "TG"})
    await wait_until(lambda: len(sender.calls) >= 200)
    counts = Counter(sender.bodies[:200])
    assert min(counts["one"], counts["two"]) > 50
    await mailing.until(first, "finished")
    await mailing.until(second, "finished")


async def test_a_chain_counts_each_person_once(begin: Begin) -> None:
    tg, hook = ScriptedSender(), ScriptedSender("WEBHOOK")
    tg.answer("hello", Gone(reason="blocked"), Refused(reason="no"))
    bench, mailing = await begin(tg, hook)
    await people(
        bench,
        **{f"p{n}": {"contacts": contacts(("TG", f"a{n}"), ("WEBHOOK", f"w{n}"))} for n in range(2)},
        only={"contacts": contacts(("WEBHOOK", "x"))},
    )
    mailing_id = await mailing.start(
        content={"body": "hello", "sender": ["TG", "WEBHOOK"]}, limits={"failed": 1, "blocked": 1}
    )
    await mailing.until(mailing_id, "finished")
    tally = await mailing.tally(mailing_id)
    assert (tally.sent, tally.failed.total(), len(tg.calls), len(hook.calls)) == (3, 0, 2, 3)


async def test_it_is_not_over_before_the_next_sender_had_its_turn(begin: Begin) -> None:
    phones, tg = Phones(), ScriptedSender()
    phones.refuses_all = True
    bench, mailing = await begin(phones, tg)
    await people(bench, anna={"contacts": contacts(("TG", "t1"))})
    await devices(bench, "anna", "a", "b")
    async with bench.database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", ESCALATION_LOCK)
        mailing_id = await mailing.start(content={"body": "hello", "sender": ["PUSH", "TG"]})

        async def counted() -> bool:
            row = await mailing.mailings.get(mailing_id)
            failed = "SELECT max(finished_at) FROM delivery HAVING count(finished_at) = 2"
            at = await bench.database.pool.fetchval(failed)
            return at is not None and row["counted_at"] > at

        await wait_until(counted)
        assert (await mailing.mailings.get(mailing_id))["status"] == "running"
    await mailing.until(mailing_id, "finished")
    assert [call.address for call in tg.calls] == ["t1"]
    assert (await mailing.tally(mailing_id)).failed.total() == 0


async def test_a_topic_and_a_list(begin: Begin) -> None:
    sender = ScriptedSender()
    bench, mailing = await begin(sender)
    await fill_people(bench.database, 20)
    topics = Topics(bench.database)
    await topics.put("news", "News")
    await topics.subscribe_many("news", [f"p{n}" for n in range(5)])
    await mailing.until(await mailing.start(audience={"topic": "news"}), "finished")
    await mailing.until(await mailing.start(audience={"recipients": ["p7", "p9", "nobody"]}), "finished")
    assert sorted(call.address for call in sender.calls) == sorted(["a0", "a1", "a2", "a3", "a4", "a7", "a9"])
    with pytest.raises(MailingRefused):
        await mailing.start(audience={"topic": "none"})


async def test_an_uploaded_list_stays_as_long_as_a_trigger_is_for_it(begin: Begin) -> None:
    bench, mailing = await begin(ScriptedSender())
    await mailing.runner.close()
    await fill_people(bench.database, 3)

    async def given() -> AsyncIterator[bytes]:
        yield b"p0\np1\n"

    used, unused = await upload(bench.database, given()), await upload(bench.database, given())
    triggers = TriggerBench(bench.engine, bench.database, senders={"TG": ScriptedSender()})
    draft = {"name": "m", "content": {"body": "hello", "sender": "TG"}}
    action = {"mailing": {**draft, "audience": {"uploaded": str(used.list_id).upper()}}}
    trigger = await triggers.make({"kind": "cron", "expression": "0 9 * * *"}, action=action)
    await bench.database.pool.execute("UPDATE audience_list SET created_at = now() - interval '2 days'")

    async def kept() -> list[UUID]:
        while await mailing.retiring.step():
            pass
        rows = await bench.database.pool.fetch("SELECT DISTINCT list_id FROM audience_member")
        return [row["list_id"] for row in rows]

    assert unused.members == used.members == 2
    assert await kept() == [used.list_id]
    await triggers.triggers.pause(trigger)
    assert await kept() == [used.list_id]
    await triggers.triggers.delete(trigger)
    assert await kept() == []


async def test_one_that_cannot_begin_says_why(begin: Begin) -> None:
    bench, mailing = await begin(ScriptedSender())
    topics = Topics(bench.database)
    await topics.put("news", "News")
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    mailing_id = await mailing.start(audience={"topic": "news"}, start_at=later)
    await mailing.until(mailing_id, "scheduled")
    await topics.delete("news")
    row = await mailing.until(mailing_id, "failed")
    assert "'news' is not a topic" in row["reason"]


async def test_numbers_survive_the_deliveries(begin: Begin) -> None:
    bench, mailing = await begin(ScriptedSender(), engine={"retention_days": 1e-9})
    await fill_people(bench.database, 30)
    mailing_id = await mailing.start()
    await mailing.until(mailing_id, "finished")
    await mailing.runner.close()
    while await bench.engine.housekeeping.retire():
        pass
    assert await bench.database.pool.fetchval("SELECT count(*) FROM delivery") == 30  # they are the mailing's
    await bench.database.pool.execute("UPDATE mailing SET ended_at = now() - interval '31 days'")
    while await mailing.retiring.step():
        pass
    for table in ("delivery", "notification"):
        assert await bench.database.pool.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert (await mailing.tally(mailing_id)).sent == 30


async def test_what_cannot_be_cleaned_up_is_tried_again_after_a_pause(
    start_bench: StartBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = await start_bench(ScriptedSender())
    mailing = MailingBench(bench.engine, bench.database, {})
    await bench.database.pool.execute("ALTER TABLE audience_list RENAME TO elsewhere")
    try:
        mailing.runner.start()

        def said() -> list[float]:
            return [one.created for one in caplog.records if one.name == "service.mailings.runner"]

        await wait_until(lambda: len(said()) >= 2)
        assert said()[1] - said()[0] > RETRY_SECONDS / 2
    finally:
        await mailing.runner.close()
        await bench.database.pool.execute("ALTER TABLE elsewhere RENAME TO audience_list")


async def test_an_escalation_of_a_paused_mailing_waits_and_a_cancel_ends_them_all(begin: Begin) -> None:
    tg, hook = ScriptedSender(), ScriptedSender("WEBHOOK")
    bench, mailing = await begin(tg, hook)
    await people(
        bench, **{f"p{n}": {"contacts": contacts(("TG", f"a{n}"), ("WEBHOOK", f"w{n}"))} for n in range(2)}
    )
    later = {"contacts": contacts(("TG", "late"), ("WEBHOOK", "w")), "time_zone": "UTC"}
    quiet = datetime.now(UTC)
    later["quiet_hours"] = f"{quiet:%H:%M}-{quiet - timedelta(hours=1):%H:%M}"
    await people(bench, late=later)
    mailing_id = await mailing.start(content={"body": "b", "sender": ["TG", "WEBHOOK"], "escalate_after": 60})
    await wait_until(lambda: len(tg.calls) == 2)

    async def escalating() -> bool:
        return await count("escalate_at IS NOT NULL") == 2

    async def count(condition: str) -> int:
        return int(await bench.database.pool.fetchval(f"SELECT count(*) FROM delivery WHERE {condition}"))

    await wait_until(escalating)
    await mailing.mailings.pause(mailing_id, "")
    await bench.database.pool.execute("UPDATE delivery SET escalate_at = now() WHERE address = 'a0'")

    async def held() -> bool:
        return await count("position = 1 AND status = 'queued' AND due_at > now() + interval '1 year'") == 1

    await wait_until(held)
    assert hook.calls == []
    await mailing.mailings.resume(mailing_id)
    await wait_until(lambda: [call.address for call in hook.calls] == ["w0"])
    await mailing.mailings.cancel(mailing_id)
    await mailing.until(mailing_id, "cancelled")
    assert await count("escalate_at IS NOT NULL") == 0
    tally = await mailing.tally(mailing_id)
    assert (tally.sent, tally.cancelled) == (2, 1)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("rate", [None, 500.0])
async def test_what_a_closing_window_leaves_waits_for_the_next_day(
    begin: Begin, rate: float | None, paused: bool
) -> None:
    sender = ScriptedSender(concurrency=1)
    sender.gate.clear()
    bench, mailing = await begin(sender)
    await fill_people(bench.database, 20)
    now = datetime.now(UTC)
    window = {"from": f"{now - timedelta(hours=3):%H:%M}", "until": f"{now + timedelta(hours=2):%H:%M}"}
    mailing_id = await mailing.start(window=window, **({} if rate is None else {"rate": rate}))
    await wait_until(lambda: len(sender.calls) == 1)

    async def made() -> bool:
        return (await mailing.mailings.get(mailing_id))["made"] == 20

    await wait_until(made)
    if paused:
        await mailing.mailings.pause(mailing_id, "over the closing")
    await mailing.runner.close()
    # As if the window had closed an hour ago, and nobody had looked since.
    closes = f"{now - timedelta(hours=1):%H:%M}"
    await bench.database.pool.execute(
        """UPDATE mailing SET draft = jsonb_set(draft::jsonb, '{window,until}', to_jsonb($1::text))::json,
        counted_at = now() - interval '2 hours', look_at = now()""",
        closes,
    )
    bench.engine.dispatchers["TG"].hush(10)  # what is leased goes back, as where a sender is slow

    async def given_back() -> bool:
        counted = "SELECT count(*) FROM delivery WHERE status = 'queued'"
        return bool(await bench.database.pool.fetchval(counted) == 19)

    await wait_until(given_back)
    if paused:
        await mailing.mailings.resume(mailing_id)
    mailing.runner.start()
    opens = (now + timedelta(hours=21)).replace(second=0, microsecond=0)

    async def put_off() -> bool:
        rows = await bench.database.pool.fetch("SELECT due_at FROM delivery WHERE status = 'queued'")
        shift = timedelta(seconds=0 if rate is None else HOLD_SECONDS)
        return len(rows) == 19 and {row["due_at"] - shift for row in rows} == {opens}

    await wait_until(put_off)
    sender.gate.set()

    async def later() -> bool:
        row = await mailing.mailings.get(mailing_id)
        return row["later"] == 19 == len(row["open"])

    await wait_until(later)
    assert len(sender.calls) == 1
    await mailing.mailings.cancel(mailing_id)
    await mailing.until(mailing_id, "cancelled")


async def test_a_window_within_the_quiet_hours_is_refused(begin: Begin) -> None:
    _, mailing = await begin(ScriptedSender(), defaults=Defaults(quiet=QuietHours.parse("09:00-21:00")))
    with pytest.raises(MailingRefused, match="no time of the day"):
        await mailing.write_down(window={"from": "10:00", "until": "20:00"})
