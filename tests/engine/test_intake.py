"""Acceptance: what is stored, what is a repeat, what is refused."""

import asyncio

from service.delivery.intake import Accepted, Refusal
from tests.engine.conftest import ScriptedSender, StartBench
from tests.support.waiting import wait_until


async def test_an_accepted_message_is_sent_once_and_reported(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    accepted = await bench.accept("disk full", metadata={"order": 17})
    await bench.until(accepted, "sent")
    await wait_until(lambda: bench.publisher.types(accepted.id) == ["accepted", "sent"])
    assert sender.bodies == ["disk full"]
    assert bench.publisher.published[-1]["metadata"] == {"order": 17}
    assert bench.publisher.published[-1]["provider_message_ids"] == ["m1"]


async def test_the_same_id_and_content_is_answered_with_the_first(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    first = await bench.accept("a", id="k")
    again = await bench.accept("a", id="k")
    assert again == Accepted(first.id, "k", duplicate=True)
    other = await bench.engine.intake.accept(bench.submission("b", id="k"))
    assert isinstance(other, Refusal)
    assert other.code == "id_conflict"
    await bench.until(first, "sent")
    assert sender.bodies == ["a"]


async def test_one_id_many_times_at_once_is_one_message(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    one, two = await start_bench(sender), await start_bench(sender, works=False)
    answers = await asyncio.gather(*(bench.accept("a", id="k") for bench in (one, two) * 20))
    assert len({answer.id for answer in answers}) == 1
    assert sum(not answer.duplicate for answer in answers) == 1
    await one.until(answers[0], "sent")
    assert sender.bodies == ["a"]


async def test_a_redelivery_by_the_transport_is_recognised(start_bench: StartBench) -> None:
    bench = await start_bench(ScriptedSender())
    first = await bench.accept("a", dedup_key="kafka:t/0/1")
    assert (await bench.accept("a", dedup_key="kafka:t/0/1")).id == first.id


async def test_a_transport_id_used_for_other_content_identifies_nothing(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    first = await bench.accept("a", dedup_key="amqp:q:1")
    second = await bench.accept("b", dedup_key="amqp:q:1")
    assert second.id != first.id
    await bench.until(second, "sent")
    assert sorted(sender.bodies) == ["a", "b"]


async def test_an_unknown_sender_and_a_missing_address_are_refused_by_field(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.default_address = None
    bench = await start_bench(sender)
    unknown = await bench.engine.intake.accept(bench.submission("a", sender="TQ"))
    assert isinstance(unknown, Refusal)
    assert (unknown.code, unknown.problems[0].field) == ("unknown_sender", "sender")
    assert "TG" in unknown.problems[0].problem
    nowhere = await bench.engine.intake.accept(bench.submission("a"))
    assert isinstance(nowhere, Refusal)
    assert (nowhere.code, nowhere.problems[0].field) == ("no_address", "to")


async def test_a_batch_keeps_its_order_and_its_answers(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender, batch_rows=7)
    bodies = [str(number) for number in range(40)]
    answers = await bench.accept_all(bodies)
    await wait_until(lambda: len(sender.calls) == 40)
    assert sender.bodies == bodies
    assert len({answer.id for answer in answers}) == 40


async def test_a_process_without_workers_leaves_the_sending_to_others(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    await start_bench(sender, poll_seconds=30.0)
    api_only = await start_bench(ScriptedSender(), works=False)
    accepted = await api_only.accept("a")
    await api_only.until(accepted, "sent", deadline=5)  # by word, long before the poll
    assert sender.bodies == ["a"]


async def test_content_that_a_text_column_cannot_hold_survives(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    accepted = await bench.accept("nul \0 and 𝕌nicode عربى", metadata={"k": "\0"})
    await bench.until(accepted, "sent")
    assert sender.bodies == ["nul \0 and 𝕌nicode عربى"]
