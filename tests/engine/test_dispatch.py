"""Sending: order, retries, throttling, halting, fallback, unknown outcomes, expiry."""

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

from service.senders.base import Capabilities, Gone, Halted, Refused, Retry, Scope, Throttled, Unknown
from tests.engine.conftest import ScriptedSender, StartBench
from tests.support.waiting import wait_until


async def test_one_address_gets_its_messages_in_order_through_a_retry(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("3", Retry(reason="502"), Retry(reason="502"))
    bench = await start_bench(sender)
    bodies = [str(number) for number in range(30)]
    accepted = await bench.accept_all(bodies)
    await bench.until(accepted[-1], "sent")
    assert sender.bodies == [*bodies[:3], "3", "3", *bodies[3:]]
    assert await bench.log(accepted[3]) == ["retrying", "retrying", "sent"]


async def test_order_holds_over_two_replicas(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("5", Retry(reason="502"))
    benches = [await start_bench(sender), await start_bench(sender)]
    bodies = [str(number) for number in range(40)]
    for number, body in enumerate(bodies):
        last = await benches[number % 2].accept(body)
    await benches[0].until(last, "sent", deadline=30)
    assert list(dict.fromkeys(sender.bodies)) == bodies


async def test_retries_end_in_failure_with_the_last_reason(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("a", *[Retry(reason="503 from the provider", code="503")] * 9)
    bench = await start_bench(sender)
    accepted = await bench.accept("a")
    await bench.until(accepted, "failed")
    assert len(sender.calls) == 3  # one and two retries, as the two delays say
    row = await bench.database.pool.fetchrow("SELECT * FROM delivery WHERE notification_id = $1", accepted.id)
    assert (row["error_kind"], row["error_code"], row["attempt"]) == ("retry", "503", 3)
    await wait_until(
        lambda: bench.publisher.types(accepted.id) == ["accepted", "retrying", "retrying", "failed"]
    )


async def test_a_throttled_address_pauses_alone_and_keeps_its_attempts(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("a1", Throttled(reason="429", retry_after=1.0, scope=Scope.ADDRESS))
    bench = await start_bench(sender)
    first = await bench.accept("a1", to="a")
    second = await bench.accept("a2", to="a")
    other = await bench.accept("b1", to="b")
    await bench.until(other, "sent", deadline=0.9)
    await bench.until(second, "sent")
    assert sender.bodies == ["a1", "b1", "a1", "a2"]
    pause = sender.calls[2].at - sender.calls[0].at
    assert pause >= 1.0
    assert sender.calls[2].attempt == 1
    assert await bench.statuses(first) == ["sent"]


async def test_a_throttled_account_pauses_in_every_replica(start_bench: StartBench) -> None:
    sender, other = ScriptedSender(), ScriptedSender("WEBHOOK")
    sender.answer("a", Throttled(reason="429", retry_after=1.5))
    one, two = await start_bench(sender, other), await start_bench(sender, other)
    await one.accept("a", to="a")
    await wait_until(lambda: len(sender.calls) == 1)
    told_at = time.monotonic()

    async def pausing() -> bool:
        return bool(
            await one.database.pool.fetchval(
                "SELECT next_at > now() FROM pacing_bucket WHERE bucket = 'account:TG'"
            )
        )

    await wait_until(pausing)
    later = [await bench.accept(str(i), to=str(i)) for i in range(5) for bench in (one, two)]
    elsewhere = await two.accept("c", sender="WEBHOOK")
    await two.until(elsewhere, "sent", deadline=1.0)
    await one.until(later[-1], "sent")
    assert min(call.at for call in sender.calls[1:]) - told_at >= 1.4
    assert len(sender.calls) == 12


async def test_a_halted_sender_keeps_its_rows_until_it_is_resumed(start_bench: StartBench) -> None:
    sender, other = ScriptedSender(), ScriptedSender("WEBHOOK")
    sender.answer("a", Halted(reason="Unauthorized"))
    bench = await start_bench(sender, other)
    first = await bench.accept("a")
    await wait_until(lambda: "TG" in bench.engine.states.all())
    second = await bench.accept("b")
    working = await bench.accept("c", sender="WEBHOOK")
    await bench.until(working, "sent")
    assert await bench.statuses(first) == await bench.statuses(second) == ["queued"]
    assert sender.bodies == ["a"]
    assert await bench.engine.operations.resume("TG")
    await bench.until(second, "sent")
    assert sender.bodies == ["a", "a", "b"]
    await wait_until(
        lambda: {"sender.halted", "sender.resumed"} <= {event["type"] for event in bench.publisher.published}
    )


async def test_a_paused_sender_waits_in_every_replica(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    one, two = await start_bench(sender), await start_bench(sender)
    await one.engine.operations.pause("TG", "maintenance")
    await wait_until(lambda: not two.engine.states.works("TG"))
    accepted = await two.accept("a")
    assert await two.engine.operations.resume("TG")
    await two.until(accepted, "sent")
    assert sender.bodies == ["a"]


async def test_the_next_sender_of_a_chain_takes_over_when_one_fails_for_good(start_bench: StartBench) -> None:
    first, second, third = ScriptedSender(), ScriptedSender("WEBHOOK"), ScriptedSender("CONSOLE")
    first.answer("a", Gone(reason="blocked", code="403"))
    second.answer("a", Refused(reason="too long"))
    bench = await start_bench(first, second, third)
    accepted = await bench.accept(
        "a", sender=["TG", "WEBHOOK", "CONSOLE"], to={"addresses": {"WEBHOOK": "elsewhere"}}
    )
    await bench.until(accepted, "failed", "failed", "sent")
    assert [sender.calls[0].address for sender in (first, second, third)] == [
        "default",
        "elsewhere",
        "default",
    ]


async def test_an_unknown_outcome_is_sent_again_by_default(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("a", Unknown(reason="reset"))
    bench = await start_bench(sender)
    await bench.until(await bench.accept("a"), "sent")
    assert len(sender.calls) == 2


async def test_an_unknown_outcome_is_held_when_asked_and_decided_by_a_person(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("a", Unknown(reason="reset"))
    bench = await start_bench(sender)
    accepted = await bench.accept("a", on_unknown="hold")
    await bench.until(accepted, "unknown")
    assert len(sender.calls) == 1
    assert await bench.engine.operations.retry(accepted.id) == 1
    await bench.until(accepted, "sent")
    await wait_until(
        lambda: bench.publisher.types(accepted.id) == ["accepted", "unknown", "requeued", "sent"]
    )


async def test_where_the_provider_drops_repeats_nothing_is_held(start_bench: StartBench) -> None:
    sender = ScriptedSender(capabilities=Capabilities(deduplicates=True))
    sender.answer("a", Unknown(reason="reset"))
    bench = await start_bench(sender)
    await bench.until(await bench.accept("a", on_unknown="hold"), "sent")
    assert len(sender.calls) == 2


async def test_parts_already_accepted_are_handed_to_the_next_attempt(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("a", Retry(reason="502", parts=("p1", "p2")))
    bench = await start_bench(sender)
    await bench.until(await bench.accept("a"), "sent")
    assert [call.parts_done for call in sender.calls] == [(), ("p1", "p2")]


async def test_a_hanging_provider_is_cut_off(start_bench: StartBench) -> None:
    sender, other = ScriptedSender(), ScriptedSender("WEBHOOK")
    bench = await start_bench(sender, other, send_timeout_seconds=0.3)
    sender.gate.clear()
    hanging = await bench.accept("a")
    await bench.until(await bench.accept("b", sender="WEBHOOK"), "sent", deadline=1)
    await wait_until(lambda: len(sender.calls) >= 2)
    sender.gate.set()
    await bench.until(hanging, "sent")


async def test_what_expires_is_not_sent(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    at_once = await bench.accept("a", expires_at=past)
    await bench.until(at_once, "expired")
    await bench.engine.operations.pause("TG", "to let it expire")
    soon = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    waiting = await bench.accept("b", expires_at=soon)
    await bench.until(waiting, "expired")
    assert sender.calls == []
    await wait_until(lambda: bench.publisher.types(waiting.id) == ["accepted", "expired"])


async def test_send_at_is_kept_to_and_holds_up_nobody(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    at = datetime.now(UTC) + timedelta(seconds=0.8)
    later = await bench.accept("later", send_at=at.isoformat())
    now = await bench.accept("now")
    await bench.until(now, "sent", deadline=0.7)
    await bench.until(later, "sent")
    assert datetime.now(UTC) >= at
    assert sender.bodies == ["now", "later"]


async def test_the_account_rate_and_the_address_spacing_are_kept_over_replicas(
    start_bench: StartBench,
) -> None:
    sender = ScriptedSender(rate=50, spacing=0.3)
    one, two = await start_bench(sender), await start_bench(sender)
    accepted = [
        await (one, two)[number % 2].accept(str(number), to=f"chat{number % 12}") for number in range(48)
    ]
    for last in accepted[-12:]:
        await one.until(last, "sent", deadline=30)
    times = sorted(call.at for call in sender.calls)
    assert len(times) == 48
    busiest = max(sum(1 for t in times if start <= t < start + 1) for start in times)
    assert busiest <= 50
    for chat in range(12):
        own = [call.at for call in sender.calls if call.address == f"chat{chat}"]
        assert min(b - a for a, b in itertools.pairwise(own)) >= 0.28


async def test_an_urgent_message_overtakes_a_paced_backlog(start_bench: StartBench) -> None:
    sender = ScriptedSender(rate=40)
    bench = await start_bench(sender)
    await bench.accept_all([str(number) for number in range(400)], priority="bulk")
    await wait_until(lambda: len(sender.calls) >= 20)
    before = len(sender.calls)
    await bench.accept("urgent", priority="urgent")
    await wait_until(lambda: "urgent" in sender.bodies)
    assert sender.bodies.index("urgent") - before <= 12


async def test_a_stop_gives_back_what_has_not_begun(start_bench: StartBench) -> None:
    sender = ScriptedSender(concurrency=2)
    bench = await start_bench(
        sender, send_timeout_seconds=30.0, lease_seconds=60.0, drain_timeout_seconds=30.0
    )
    sender.gate.clear()
    accepted = [await bench.accept(str(number), to=str(number)) for number in range(10)]
    await wait_until(lambda: len(sender.calls) == 2)
    stopping = asyncio.create_task(bench.engine.stop())

    async def statuses() -> list[str]:
        return sorted([(await bench.statuses(one))[0] for one in accepted])

    async def given_back() -> bool:
        return await statuses() == ["queued"] * 8 + ["sending"] * 2

    await wait_until(given_back)
    sender.gate.set()
    await stopping
    assert await statuses() == ["queued"] * 8 + ["sent"] * 2
    assert len(sender.calls) == 2


async def test_a_sick_provider_is_probed_with_single_calls_and_recovers(start_bench: StartBench) -> None:
    sender, other = ScriptedSender(), ScriptedSender("WEBHOOK")
    bodies = [str(number) for number in range(60)]
    for body in bodies:
        sender.answer(body, *[Retry(reason="502")] * 50)
    bench = await start_bench(sender, other, concurrency=10, retry_delays_seconds=(0.1,) * 50)
    accepted = [await bench.accept(body, to=body) for body in bodies]
    await bench.until(await bench.accept("elsewhere", sender="WEBHOOK"), "sent", deadline=2)
    await wait_until(lambda: bench.engine.dispatchers["TG"].sick)
    before = len(sender.calls)
    assert before <= 8 + 10
    await wait_until(lambda: len(sender.calls) >= before + 2)
    probes = [call.at for call in sender.calls[-2:]]
    assert probes[1] - probes[0] > 0.9
    sender.script.clear()
    for one in accepted:
        await bench.until(one, "sent", deadline=20)
    assert not bench.engine.dispatchers["TG"].sick


async def test_one_sick_address_leaves_the_others_alone_where_each_is_its_own(
    start_bench: StartBench,
) -> None:
    sender = ScriptedSender(capabilities=Capabilities(ordered=False, one_provider=False))
    bench = await start_bench(sender, retry_delays_seconds=(0.05,) * 9)
    for number in range(30):
        sender.answer(f"sick {number}", *[Retry(reason="502")] * 9)
    await bench.accept_all([f"sick {number}" for number in range(30)], to="sick")
    await wait_until(lambda: len(sender.calls) >= 8)
    well = await bench.accept_all([f"well {number}" for number in range(30)], to="well")
    for one in well:
        await bench.until(one, "sent", deadline=2)
    to_the_sick = sum(call.address == "sick" for call in sender.calls)
    assert to_the_sick <= 8 + 10 + 2


async def test_pausing_one_lane_of_an_address_pauses_its_urgent_one_too(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    sender.gate.clear()
    sender.answer("a", Throttled(reason="429", retry_after=0.5, scope=Scope.ADDRESS))
    await bench.accept("a", to="x")
    await wait_until(lambda: len(sender.calls) == 1)
    urgent = [await bench.accept(body, to="x", priority="urgent") for body in ("b", "c", "d")]
    sender.gate.set()
    await bench.until(urgent[-1], "sent")
    late = [call.body for call in sender.calls if call.at > sender.calls[0].at + 0.5]
    assert sorted(late) == ["a", "c", "d"]
    assert [body for body in sender.bodies if body in "bcd"] == ["b", "c", "d"]


class TopicSender(ScriptedSender):
    """Addresses GROUP:TOPIC of one group share its limit."""

    def pacing_key(self, address: str) -> str:
        return address.partition(":")[0]


async def test_the_topics_of_a_group_share_its_limit(start_bench: StartBench) -> None:
    sender = TopicSender(spacing=0.4)
    bench = await start_bench(sender)
    accepted = [await bench.accept(str(n), to=f"-1:{n % 3}") for n in range(6)]
    elsewhere = await bench.accept("elsewhere", to="-2:1")
    await bench.until(elsewhere, "sent", deadline=1)
    for one in accepted:
        await bench.until(one, "sent")
    times = [call.at for call in sender.calls if call.address.startswith("-1:")]
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.38
    for topic in range(3):
        own = [call.body for call in sender.calls if call.address == f"-1:{topic}"]
        assert own == sorted(own)


async def test_an_urgent_message_overtakes_a_backlog_that_fills_the_memory(start_bench: StartBench) -> None:
    sender = ScriptedSender(concurrency=2)
    bench = await start_bench(sender, buffer_rows=100, poll_seconds=30.0)
    sender.gate.clear()
    await bench.engine.intake.accept_many(
        [bench.submission(str(n), to=str(n), priority="bulk") for n in range(400)]
    )
    await wait_until(lambda: len(bench.engine.ledger.held) >= 100)
    await bench.accept("urgent", priority="urgent")
    await wait_until(lambda: len(bench.engine.ledger.held) > 100)
    sender.gate.set()
    await wait_until(lambda: "urgent" in sender.bodies)
    assert sender.bodies.index("urgent") <= 4
