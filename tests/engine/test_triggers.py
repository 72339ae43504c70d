"""Triggers on a real PostgreSQL, by a clock that the tests set."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.contract import DomainEvent
from service.triggers import queries, rules
from service.triggers.events import Arrived
from service.triggers.rules import TriggerDraft
from service.triggers.store import LAST_ID, NameTakenError
from service.triggers.timing import Clock
from tests.engine.conftest import ScriptedSender, StartBench
from tests.support.triggers import START, TriggerBench
from tests.support.waiting import wait_until

MINUTE = timedelta(minutes=1)
HOURLY = {"kind": "cron", "expression": "0 * * * *"}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("cron", {"expression": "0 * * * *"}),
    ("interval", {"every_seconds": 60}),
    ("once", {"at": "2027-01-01T12:00:00Z"}),
    ("interval", {"every_seconds": 3600}),
]


@pytest.fixture
async def bench(start_bench: StartBench) -> AsyncIterator[TriggerBench]:
    sender = ScriptedSender()
    started = await start_bench(sender, works=False)
    return TriggerBench(started.engine, started.database, senders={"TG": sender})


def moments(*texts: str) -> list[datetime]:
    return [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]


async def test_once_fires_once_and_is_finished(bench: TriggerBench) -> None:
    trigger = await bench.make({"kind": "once", "at": "2027-01-01T12:00:00Z"})
    await bench.pass_time(hours=11)
    assert await bench.notifications(trigger) == 0
    await bench.pass_time(hours=2)
    assert await bench.made_at(trigger) == moments("2027-01-01T12:00:00")
    assert await bench.state(trigger) == "finished"
    await bench.pass_time(days=400)
    assert await bench.notifications(trigger) == 1


async def test_an_interval_counts_from_its_start(bench: TriggerBench) -> None:
    trigger = await bench.make(
        {"kind": "interval", "every_seconds": 600},
        start_at="2027-01-01T00:05:00Z",
        end_at="2027-01-01T00:30:00Z",
    )
    await bench.pass_time(hours=1)
    expected = moments("2027-01-01T00:05:00", "2027-01-01T00:15:00", "2027-01-01T00:25:00")
    assert await bench.made_at(trigger) == expected
    assert await bench.state(trigger) == "finished"


async def test_an_interval_without_a_start_counts_from_when_it_was_made(bench: TriggerBench) -> None:
    trigger = await bench.make({"kind": "interval", "every_seconds": 60})
    await bench.pass_time(minutes=3)
    assert await bench.made_at(trigger) == [START + MINUTE * n for n in (1, 2, 3)]


async def test_most_runs(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY, max_runs=3)
    await bench.pass_time(days=1)
    assert await bench.made_at(trigger) == [START + timedelta(hours=n) for n in (1, 2, 3)]
    assert await bench.state(trigger) == "finished"


async def test_jitter_delays_and_never_hastens(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY, jitter_seconds=600)
    await bench.pass_time(days=2)
    runs = await bench.runs(trigger)
    late = [(run["fired_at"] - run["occurrence"]).total_seconds() for run in runs]
    assert [run["occurrence"] for run in runs[:47]] == [START + timedelta(hours=n) for n in range(1, 48)]
    assert all(0 <= seconds <= 600 for seconds in late)
    assert len(set(late)) > 40


async def test_an_occurrence_that_many_ask_for_is_fired_once(bench: TriggerBench) -> None:
    triggers = [await bench.make(HOURLY, f"number {n}") for n in range(20)]
    await bench.pass_time(minutes=59)
    bench.now += MINUTE
    due = await bench.due()
    assert len(due) == 20
    await asyncio.gather(*(bench.firing.fire_batch(due[n:] + due[:n]) for n in range(8)))
    await bench.firing.fire_batch(due + due)
    for trigger in triggers:
        assert await bench.made_at(trigger) == [START + timedelta(hours=1)]
        assert await bench.notifications(trigger) == 1


async def test_an_occurrence_that_is_asked_for_twice_at_once_is_fired_once(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY)
    bench.now += timedelta(hours=1)
    due = await bench.due()
    await bench.firing.fire_batch(due + due)
    assert len(await bench.runs(trigger)) == 1


async def test_what_is_asked_for_together_is_fired_in_few_transactions(bench: TriggerBench) -> None:
    for number in range(150):
        await bench.make(HOURLY, f"number {number}")
    bench.now += timedelta(hours=1)
    due = await bench.due()
    bench.firing.start()
    await asyncio.gather(*(bench.firing.fire(*moment) for moment in due))
    await bench.firing.close()
    times = await bench.database.pool.fetch("SELECT xmin, count(*) FROM trigger_run GROUP BY 1")
    assert sorted(row["count"] for row in times) == [50, 100]


async def test_a_page_of_one_state_is_a_range_of_an_index(bench: TriggerBench) -> None:
    names = [f"number {number}" for number in range(4)]
    wanted = [
        await bench.make({"kind": kind, **rest}, name)
        for name, (kind, rest) in zip(names, KINDS, strict=True)
    ]
    await bench.database.pool.execute("UPDATE trigger SET state = 'failed'")
    await bench.database.pool.execute(
        """INSERT INTO trigger (id, name, kind, draft, state, anchor_at, runs, created_at, updated_at)
        SELECT gen_random_uuid(), 'of many ' || n, t.kind, t.draft, 'active', now(), 0, now(), now()
        FROM trigger t, generate_series(1, 10000) n WHERE t.name = 'number 0'"""
    )
    await bench.database.pool.execute("ANALYZE trigger")
    newest = wanted[::-1]
    first = await bench.triggers.page("failed", None, None, 3)
    rest = await bench.triggers.page("failed", None, first.next, 3)
    assert [row["id"] for row in (*first.rows, *rest.rows)] == newest
    cron = await bench.triggers.page("failed", "cron", None, 3)
    assert [row["kind"] for row in cron.rows] == ["cron"]
    assert (await bench.triggers.page("failed", "event", None, 3)).rows == []
    everything = await bench.triggers.page(None, None, None, 500)
    assert [row["id"] for row in everything.rows] == sorted(
        (row["id"] for row in everything.rows), reverse=True
    )
    values = {1: "10", 2: f"'{LAST_ID}'", 3: "ARRAY['failed']", 4: f"ARRAY{list(rules.KINDS)}", 5: "51"}
    asked = re.sub(r"\$(\d)", lambda found: values[int(found[1])], queries.PAGE)
    plan = "\n".join(row[0] for row in await bench.database.pool.fetch("EXPLAIN " + asked))
    assert "trigger_state_kind" in plan, plan
    assert "Seq Scan on trigger" not in plan, plan


# --- what was missed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misfire", "made", "skipped"),
    [
        ({"policy": "skip"}, [9, 10], 1),
        ({"policy": "skip", "max_late_seconds": 180}, [7, 8, 9, 10], 1),
        ({"policy": "once"}, [10], 1),
        ({"policy": "once", "max_late_seconds": 30}, [10], 1),
        ({"policy": "all"}, list(range(1, 11)), 0),
        ({"policy": "all", "max_late_seconds": 300}, [5, 6, 7, 8, 9, 10], 1),
    ],
    ids=str,
)
async def test_ten_minutes_of_downtime(
    bench: TriggerBench, misfire: dict[str, Any], made: list[int], skipped: int
) -> None:
    trigger = await bench.make({"kind": "interval", "every_seconds": 60}, misfire=misfire)
    await bench.jump(minutes=10)
    assert await bench.made_at(trigger) == [START + MINUTE * n for n in made]
    assert sum(run["outcome"] == "skipped" for run in await bench.runs(trigger)) == skipped
    await bench.pass_time(minutes=2)
    assert await bench.made_at(trigger) == [START + MINUTE * n for n in (*made, 11, 12)]


@pytest.mark.parametrize("policy", ["skip", "once", "all"])
async def test_what_is_too_late_is_dropped_and_said(bench: TriggerBench, policy: str) -> None:
    trigger = await bench.make(HOURLY, misfire={"policy": policy, "max_late_seconds": 60})
    await bench.jump(hours=1, minutes=30)
    (run,) = await bench.runs(trigger)
    assert run["outcome"] == "skipped"
    assert "more than 60 s late" in run["error"]
    assert await bench.notifications(trigger) == 0
    row = await bench.triggers.get(trigger)
    assert row["error"] == run["error"]
    assert row["next_fire_at"] == START + timedelta(hours=2)
    await bench.pass_time(hours=1)
    assert (await bench.triggers.get(trigger))["error"] is None


async def test_a_time_that_is_past_already_is_missed(bench: TriggerBench) -> None:
    late = await bench.make({"kind": "once", "at": "2026-12-31T23:59:00Z"}, "late")
    too_late = await bench.make({"kind": "once", "at": "2026-12-01T00:00:00Z"}, "too late")
    await bench.tick()
    assert await bench.notifications(late) == 1
    assert await bench.notifications(too_late) == 0
    assert (await bench.state(late), await bench.state(too_late)) == ("finished", "failed")


async def test_catching_up_goes_in_bounded_steps(bench: TriggerBench) -> None:
    trigger = await bench.make({"kind": "interval", "every_seconds": 1}, misfire={"policy": "all"})
    bench.now += timedelta(seconds=50)
    steps = []
    while due := await bench.due():
        steps.append(len((await bench.firing.fire_batch(due)).results))
    assert steps == [20, 20, 10]
    assert await bench.made_at(trigger) == [START + timedelta(seconds=n) for n in range(1, 51)]


async def test_years_of_downtime_cost_no_walk_through_every_minute() -> None:
    draft = TriggerDraft.model_validate(
        {
            "name": "x",
            "schedule": {"kind": "cron", "expression": "* * * * *"},
            "action": {"notification": {"body": "x", "sender": "TG"}},
        }
    )
    clock = Clock(draft, START)
    now = START + timedelta(days=3650, seconds=30)
    assert clock.newest(START, now) == now - timedelta(seconds=30)


async def test_runs_and_lateness_are_counted(bench: TriggerBench) -> None:
    await bench.make(HOURLY)
    await bench.make(
        HOURLY, "broken", action={"notification": {"template": "none"}}, retry_delays_seconds=[60]
    )
    await bench.make({"kind": "interval", "every_seconds": 60}, "gone by", misfire={"policy": "skip"})
    await bench.make({"kind": "event", "event": "x", "delay_seconds": 60}, "later")
    await bench.make({"kind": "event", "event": "x"}, "at once")
    await bench.happen("x")
    await bench.jump(hours=1, seconds=4)
    await bench.jump(minutes=10)
    counts = {
        labels: bench.registry.get_sample_value(
            "trigger_runs_total", dict(zip(("kind", "outcome"), labels, strict=True))
        )
        for labels in (("cron", "made"), ("cron", "failed"), ("interval", "skipped"), ("event", "made"))
    }
    assert counts == {
        ("cron", "made"): 1, ("cron", "failed"): 2, ("interval", "skipped"): 2, ("event", "made"): 2
    }  # fmt: skip

    def late(kind: str, what: str) -> float | None:
        return bench.registry.get_sample_value(f"trigger_lateness_seconds_{what}", {"kind": kind})

    assert late("event", "count") == 1
    assert late("event", "sum") == 3_544
    assert late("cron", "count") == 3
    first, again = 4 + 4, late("cron", "sum")
    assert again is not None
    assert (
        first + 520 <= again <= first + 560
    )  # the retry was due a minute after the failure, a fifth sooner or later


# --- failures --------------------------------------------------------------------------------------


async def test_a_failure_is_told_tried_again_and_blocks_nobody(bench: TriggerBench) -> None:
    broken = await bench.make(
        HOURLY,
        "broken",
        action={"notification": {"template": "none", "sender": "TG"}},
        retry_delays_seconds=[60],
    )
    good = await bench.make(HOURLY, "good")
    await bench.pass_time(hours=1, minutes=5)
    assert await bench.notifications(good) == 1
    first, second = await bench.runs(broken)
    assert [run["outcome"] for run in (first, second)] == ["failed", "failed"]
    assert "'none' is not a template in use" in first["error"]
    assert timedelta(seconds=48) <= second["fired_at"] - first["fired_at"] <= timedelta(seconds=72)
    assert first["retry_at"] == second["fired_at"]
    assert second["occurrence"] == first["occurrence"]
    assert second["retry_at"] is None
    assert "is not a template" in (await bench.triggers.get(broken))["error"]
    assert await bench.state(broken) == "active"


async def test_a_retry_makes_what_could_not_be_made(bench: TriggerBench) -> None:
    trigger = await bench.make(
        {"kind": "once", "at": "2027-01-01T01:00:00Z"},
        action={"notification": {"body": "x", "to": {"topic": "late"}}},
        max_runs=1,
    )
    await bench.pass_time(hours=1)
    assert await bench.state(trigger) == "active"
    await bench.database.pool.execute(
        "INSERT INTO topic (name, title, created_at) VALUES ('late', 'Late', now())"
    )
    await bench.pass_time(minutes=5)
    assert [run["outcome"] for run in await bench.runs(trigger)] == ["failed", "made"]
    assert await bench.state(trigger) == "finished"


async def test_one_that_failed_for_good(bench: TriggerBench) -> None:
    trigger = await bench.make(
        {"kind": "once", "at": "2027-01-01T01:00:00Z"}, action={"notification": {"body": "x", "sender": "NO"}}
    )
    await bench.pass_time(hours=2)
    assert await bench.state(trigger) == "failed"


async def test_a_rule_that_nobody_can_read_is_put_off_and_blocks_nobody(bench: TriggerBench) -> None:
    spoilt = await bench.make(HOURLY, "spoilt")
    good = await bench.make(HOURLY, "good")
    await bench.database.pool.execute("""UPDATE trigger SET draft = '{"v": 2}' WHERE id = $1""", spoilt)
    bench.now += timedelta(hours=1)
    bench.firing.start()
    await asyncio.gather(*(bench.firing.fire(*moment) for moment in await bench.due()))
    await bench.firing.close()
    assert await bench.notifications(good) == 1
    assert await bench.due() == []
    error = await bench.database.pool.fetchval("SELECT error FROM trigger WHERE id = $1", spoilt)
    assert "ValidationError" in error


# --- management ------------------------------------------------------------------------------------


async def test_pause_and_resume(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY)
    await bench.pass_time(minutes=90)
    assert await bench.triggers.pause(trigger)
    assert (await bench.triggers.get(trigger))["next_fire_at"] is None
    await bench.pass_time(hours=5)
    assert await bench.triggers.resume(trigger)
    await bench.pass_time(hours=1)
    # What would have come while it was paused does not exist.
    assert await bench.made_at(trigger) == [START + timedelta(hours=n) for n in (1, 7)]


async def test_a_pause_comes_before_what_is_asked_for(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY)
    bench.now += timedelta(hours=1)
    due = await bench.due()
    await bench.triggers.pause(trigger)
    await bench.firing.fire_batch(due)
    assert await bench.notifications(trigger) == 0


async def test_a_change_decides_anew_when_it_fires_next(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY)
    await bench.pass_time(minutes=90)
    action = {"notification": {"body": "changed", "sender": "TG"}}
    draft = {"name": "two", "schedule": {"kind": "cron", "expression": "45 * * * *"}, "action": action}
    assert await bench.triggers.change(trigger, TriggerDraft.model_validate(draft))
    await bench.pass_time(hours=1)
    made = await bench.made_at(trigger)
    assert made == [START + timedelta(hours=1), START + timedelta(hours=1, minutes=45)]
    assert (await bench.triggers.get(trigger))["name"] == "two"
    other = await bench.make(HOURLY, "other")
    with pytest.raises(NameTakenError):
        await bench.triggers.change(other, TriggerDraft.model_validate(draft))
    with pytest.raises(NameTakenError):
        await bench.make(HOURLY, "two")


async def test_firing_by_hand_changes_nothing_else(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY, max_runs=1)
    await bench.triggers.pause(trigger)
    run = await bench.firing.fire_now(trigger)
    assert run is not None
    assert (await bench.triggers.run(run))["outcome"] == "made"
    await bench.triggers.resume(trigger)
    await bench.pass_time(hours=3)
    assert await bench.notifications(trigger) == 2


async def test_a_deleted_trigger_fires_no_more(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY)
    bench.now += timedelta(hours=1)
    due = await bench.due()
    assert await bench.triggers.delete(trigger)
    assert not await bench.triggers.delete(trigger)
    await bench.firing.fire_batch(due)
    assert await bench.notifications(trigger) == 0


async def test_old_history_leaves(bench: TriggerBench) -> None:
    trigger = await bench.make(HOURLY)
    await bench.pass_time(hours=3)
    await bench.happen("x", id="known")
    bench.now += timedelta(days=89)
    assert await bench.upkeep.retire() == 1
    assert len(await bench.runs(trigger)) == 3
    bench.now += timedelta(days=2)
    assert await bench.upkeep.retire() == 3
    assert await bench.runs(trigger) == []


# --- events ----------------------------------------------------------------------------------------

PAID = {"kind": "event", "event": "order.paid"}


async def test_an_event_fires_what_waits_for_it(bench: TriggerBench) -> None:
    paid = await bench.make(PAID, "paid")
    other = await bench.make({"kind": "event", "event": "order.lost"}, "other")
    taken = await bench.happen("order.paid")
    assert (taken.fired, taken.waiting, taken.repeat) == (1, 0, False)
    assert (await bench.notifications(paid), await bench.notifications(other)) == (1, 0)
    assert (await bench.happen("nobody.waits")).fired == 0


@pytest.mark.parametrize(
    ("path", "op", "value", "fits"),
    [
        ("data.total", "gt", 10, True),
        ("data.total", "gt", 12.5, False),
        ("data.total", "ge", 12.5, True),
        ("data.total", "lt", "a", False),
        ("data.total", "in", [1, 12.5], True),
        ("data.paid", "eq", True, True),
        ("data.paid", "eq", 1, False),
        ("data.paid", "ne", 1, True),
        ("data.items.1.sku", "eq", "b", True),
        ("data.items.2.sku", "exists", True, False),
        ("data.items.2.sku", "exists", False, True),
        ("data.items.2.sku", "eq", None, False),
        ("data.note", "eq", None, True),
        ("data.name", "ge", "abc", True),
        ("data.absent", "ne", "x", True),
        ("recipient", "eq", "42", True),
        ("id", "exists", True, False),
    ],
)
async def test_conditions(bench: TriggerBench, path: str, op: str, value: Any, fits: bool) -> None:
    trigger = await bench.make({**PAID, "conditions": [{"path": path, "op": op, "value": value}]})
    data = {"total": 12.5, "paid": True, "items": [{"sku": "a"}, {"sku": "b"}], "note": None, "name": "abd"}
    await bench.happen("order.paid", recipient="42", data=data)
    assert await bench.notifications(trigger) == (1 if fits else 0)


async def test_a_repeated_event_does_nothing(bench: TriggerBench) -> None:
    trigger = await bench.make(PAID)
    assert not (await bench.happen("order.paid", id="17")).repeat
    assert (await bench.happen("order.paid", id="17")).repeat
    event = DomainEvent(event="order.paid")
    keyed = [Arrived(event, "kafka:1"), Arrived(event, "kafka:1"), Arrived(event, "kafka:2")]
    assert [taken.repeat for taken in await bench.events.accept_many(keyed)] == [False, True, False]
    assert await bench.notifications(trigger) == 3
    replicas = [bench.events.accept_many([Arrived(event, "kafka:3")]) for _ in range(5)]
    assert sum(taken.fired for (taken,) in await asyncio.gather(*replicas)) == 1


UNPAID = {
    "kind": "event",
    "event": "order.created",
    "delay_seconds": 3600,
    "cancel": {
        "event": "order.paid",
        "by": ["recipient", "data.order"],
        "conditions": [{"path": "data.whole", "op": "ne", "value": False}],
    },
}


async def test_created_but_not_paid_within_an_hour(bench: TriggerBench) -> None:
    trigger = await bench.make(UNPAID)
    for order in (1, 2, 3):
        taken = await bench.happen("order.created", recipient="42", data={"order": order})
        assert taken.waiting == 1
    await bench.pass_time(minutes=30)
    assert (await bench.happen("order.paid", recipient="42", data={"order": 1})).cancelled == 1
    assert (await bench.happen("order.paid", recipient="43", data={"order": 2})).cancelled == 0
    assert (
        await bench.happen("order.paid", recipient="42", data={"order": 3, "whole": False})
    ).cancelled == 0
    assert (await bench.triggers.get(trigger))["waiting"] == 2
    await bench.pass_time(minutes=29)
    assert await bench.notifications(trigger) == 0
    await bench.pass_time(minutes=2)
    assert await bench.notifications(trigger) == 2
    assert (await bench.happen("order.paid", recipient="42", data={"order": 3})).cancelled == 0


async def test_a_paused_trigger_takes_no_events_and_keeps_what_waits(bench: TriggerBench) -> None:
    trigger = await bench.make(UNPAID)
    await bench.happen("order.created", recipient="1", data={"order": 1})
    await bench.triggers.pause(trigger)
    await bench.happen("order.created", recipient="1", data={"order": 2})
    await bench.pass_time(hours=2)
    assert await bench.notifications(trigger) == 0
    await bench.triggers.resume(trigger)
    await bench.tick()
    assert await bench.notifications(trigger) == 1


async def test_an_event_that_meets_a_pause_waits_for_nothing(bench: TriggerBench) -> None:
    trigger = await bench.make(UNPAID)
    pool = bench.database.pool

    async def blocked() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE trigger SET state = 'paused' WHERE id = $1", trigger)
        happening = asyncio.create_task(bench.happen("order.created", recipient="1", data={"order": 1}))
        await wait_until(blocked)
    assert (await happening).waiting == 0
    assert await pool.fetchval("SELECT count(*) FROM trigger_due") == 0


@pytest.mark.parametrize("misfire", [{"policy": "skip"}, {"policy": "once"}], ids=str)
async def test_delays_that_ended_while_it_was_paused_are_due_on_resuming(
    bench: TriggerBench, misfire: dict[str, Any]
) -> None:
    trigger = await bench.make(UNPAID, misfire=misfire)
    await bench.happen("order.created", recipient="1", data={"order": 1})
    await bench.triggers.pause(trigger)
    await bench.pass_time(days=3)
    await bench.triggers.resume(trigger)
    await bench.tick()
    assert [run["outcome"] for run in await bench.runs(trigger)] == ["made"]


async def test_a_delayed_event_that_is_too_late_is_dropped(bench: TriggerBench) -> None:
    trigger = await bench.make(UNPAID, misfire={"policy": "skip", "max_late_seconds": 600})
    await bench.happen("order.created", recipient="1", data={"order": 1})
    await bench.jump(hours=2)
    (run,) = await bench.runs(trigger)
    assert run["outcome"] == "skipped"


async def test_events_count_as_runs(bench: TriggerBench) -> None:
    trigger = await bench.make(PAID, max_runs=3)
    arrived = [Arrived(DomainEvent(event="order.paid")) for _ in range(2)]
    await bench.events.accept_many(arrived)
    assert sum(taken.fired for taken in await bench.events.accept_many(arrived)) == 1
    assert await bench.state(trigger) == "finished"
    assert await bench.notifications(trigger) == 3


async def test_the_time_in_which_events_count(bench: TriggerBench) -> None:
    trigger = await bench.make(PAID, start_at="2027-01-01T01:00:00Z", end_at="2027-01-01T02:00:00Z")
    for _ in range(4):
        await bench.happen("order.paid")
        bench.now += timedelta(minutes=45)
    assert await bench.notifications(trigger) == 1


async def test_recipient_and_params_come_from_the_event(bench: TriggerBench) -> None:
    pool = bench.database.pool
    template = await pool.fetchval(
        "INSERT INTO template (key, created_at) VALUES ('order.paid', now()) RETURNING id"
    )
    await pool.execute(
        """INSERT INTO template_version (template_id, number, author, created_at, default_locale, params, variants)
        VALUES ($1, 1, 'x', now(), 'en', '[{"name": "order", "type": "integer"}, {"name": "shop", "type": "string"}]',
            '[{"locale": "en", "sender": null, "title": "", "body": "{{ order }} in {{ shop }}"}]')""",
        template,
    )
    person = await pool.fetchval(
        """INSERT INTO recipient (external_id, attributes, muted, created_at, updated_at)
        VALUES ('42', '{}', false, now(), now()) RETURNING id"""
    )
    await pool.execute(
        "INSERT INTO contact (recipient_id, sender, address, position, active) VALUES ($1, 'TG', '7', 0, true)",
        person,
    )
    action = {
        "notification": {"template": "order.paid", "params": {"shop": "north"}},
        "to_from": "recipient",
        "params_from": {"order": "data.order.id"},
    }
    trigger = await bench.make(PAID, action=action)
    await bench.happen("order.paid", recipient="42", data={"order": {"id": 17}})
    (run,) = await bench.runs(trigger)
    assert run["error"] is None
    row = await pool.fetchrow(
        """SELECT n.content, d.address FROM notification n JOIN delivery d ON d.notification_id = n.id
        WHERE n.id = $1""",
        run["notification_id"],
    )
    assert row["address"] == "7"
    assert '"order":17' in row["content"]
    assert '"shop":"north"' in row["content"]
    await bench.happen("order.paid", recipient="42")
    await bench.happen("order.paid", recipient="nobody", data={"order": {"id": 1}})
    errors = [run["error"] for run in await bench.runs(trigger)][1:]
    assert errors == ["the event has no data.order.id", "to.recipient: 'nobody' is not a recipient"]


# --- each recipient's own clock ----------------------------------------------------------------------

EVERYBODY = {
    "mailing": {"name": "news", "content": {"body": "news", "sender": "TG"}, "audience": {"everyone": True}}
}
AT_NINE = {"kind": "recipient-cron", "expression": "0 9 * * *"}


async def _person(bench: TriggerBench, external_id: str, zone: str | None) -> None:
    await bench.database.pool.execute(
        """INSERT INTO recipient (external_id, zone, attributes, muted, created_at, updated_at)
        VALUES ($1, $2, '{}', false, now(), now())""",
        external_id,
        zone,
    )


async def _mailings(bench: TriggerBench) -> list[tuple[datetime, list[str]]]:
    rows = await bench.database.pool.fetch(
        """SELECT r.occurrence, m.only_zones FROM trigger_run r JOIN mailing m ON m.id = r.mailing_id
        ORDER BY r.occurrence"""
    )
    return [(row["occurrence"], sorted(row["only_zones"])) for row in rows]


async def test_nine_by_each_recipients_clock(bench: TriggerBench) -> None:
    for number, zone in enumerate((None, "Europe/Moscow", "Asia/Tokyo", "Asia/Tokyo", "UTC")):
        await _person(bench, str(number), zone)
    trigger = await bench.make(AT_NINE, action=EVERYBODY)
    shown = await bench.triggers.preview(
        TriggerDraft.model_validate({"name": "x", "schedule": AT_NINE, "action": EVERYBODY}), None, 4
    )
    assert [zone for zone, _ in shown] == ["Europe/Moscow", "UTC", "Asia/Tokyo", "Europe/Moscow"]
    await bench.pass_time(hours=23)
    tokyo, moscow, utc = moments("2027-01-01T00:00:00", "2027-01-01T06:00:00", "2027-01-01T09:00:00")
    expected = [(moscow, ["Europe/Moscow"]), (utc, ["", "UTC"])]
    assert await _mailings(bench) == expected
    await bench.pass_time(hours=2)
    assert (await _mailings(bench))[2:] == [(tokyo + timedelta(days=1), ["Asia/Tokyo"])]
    assert [run["zone"] for run in await bench.runs(trigger)] == ["Europe/Moscow", "UTC", "Asia/Tokyo"]


@pytest.mark.parametrize("policy", ["skip", "once", "all"])
async def test_most_runs_of_clocks_that_are_due_together(bench: TriggerBench, policy: str) -> None:
    for number, zone in enumerate(("Europe/Moscow", "Europe/Minsk", "Europe/Simferopol")):
        await _person(bench, str(number), zone)
    trigger = await bench.make(AT_NINE, action=EVERYBODY, max_runs=2, misfire={"policy": policy})
    await bench.pass_time(days=1)
    assert len(await _mailings(bench)) == 2
    assert await bench.state(trigger) == "finished"


async def test_zones_come_and_go_with_the_audience(bench: TriggerBench) -> None:
    await _person(bench, "1", "Europe/Moscow")
    trigger = await bench.make(AT_NINE, action=EVERYBODY)
    await bench.pass_time(minutes=1)
    assert await bench.upkeep.look_up_zones() == 0
    await _person(bench, "2", "Asia/Tokyo")
    await bench.database.pool.execute("DELETE FROM recipient WHERE external_id = '1'")
    bench.now += timedelta(minutes=10)
    assert await bench.upkeep.look_up_zones() == 1
    await bench.pass_time(days=1)
    assert [run["zone"] for run in await bench.runs(trigger)] == ["Asia/Tokyo"]
    await bench.database.pool.execute("DELETE FROM recipient")
    assert await bench.upkeep.look_up_zones() == 1
    await _person(bench, "3", "UTC")
    bench.now += timedelta(minutes=11)
    assert await bench.upkeep.look_up_zones() == 1
    await bench.pass_time(days=1)
    assert [run["zone"] for run in await bench.runs(trigger)] == ["Asia/Tokyo", "UTC"]


async def test_a_mailing_that_cannot_go_out_is_a_failed_run(bench: TriggerBench) -> None:
    action = {"mailing": {**EVERYBODY["mailing"], "content": {"template": "none"}}}
    broken = await bench.make(HOURLY, "broken", action=action)
    good = await bench.make(HOURLY, "good")
    await bench.pass_time(hours=1)
    (run,) = await bench.runs(broken)
    assert (run["outcome"], run["mailing_id"]) == ("failed", None)
    assert "none" in run["error"]
    assert await bench.notifications(good) == 1
