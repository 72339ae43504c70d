"""Management: cancel, retry, dead letters, rejections, leases of lost workers, retention."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from service.contract import ContractError, FieldProblem
from service.delivery.intake import Accepted
from service.delivery.operations import CancelResult, DeadLetterFilter
from service.senders.base import Refused, Retry
from tests.engine.conftest import ScriptedSender, StartBench
from tests.support.waiting import wait_until


async def test_cancel_stops_what_waits(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    waiting = await bench.accept("a", send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert await bench.engine.operations.cancel(waiting.id) == CancelResult(1, 0, 0)
    assert await bench.statuses(waiting) == ["cancelled"]
    assert await bench.engine.operations.cancel(waiting.id) == CancelResult(0, 0, 1)
    assert await bench.engine.operations.cancel(uuid4()) is None
    await wait_until(lambda: bench.publisher.types(waiting.id) == ["accepted", "cancelled"])


async def test_cancelling_the_head_of_an_address_lets_the_next_go(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    sender.answer("a", Retry(reason="x", retry_after=3600))
    bench = await start_bench(sender)
    head, second = await bench.accept("a"), await bench.accept("b")
    await wait_until(lambda: len(sender.calls) == 1)
    await bench.until(head, "queued")
    await bench.engine.operations.cancel(head.id)
    await bench.until(second, "sent", deadline=5)
    assert sender.bodies == ["a", "b"]


async def test_dead_letters_are_counted_first_and_then_sent_again(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    for body in ("a", "b"):
        sender.answer(body, Refused(reason="chat not found", code="400"))
    bench = await start_bench(sender)
    failed = [await bench.accept("a"), await bench.accept("b")]
    for accepted in failed:
        await bench.until(accepted, "failed")
    operations = bench.engine.operations
    assert await operations.redrive(DeadLetterFilter(error_code="500"), dry_run=False) == 0
    chosen = DeadLetterFilter(sender="TG", error_kind="refused")
    assert await operations.redrive(chosen, dry_run=True) == 2
    assert [await bench.statuses(accepted) for accepted in failed] == [["failed"], ["failed"]]
    assert await operations.redrive(chosen, dry_run=False) == 2
    for accepted in failed:
        await bench.until(accepted, "sent")
    assert await operations.redrive(chosen, dry_run=True) == 0


async def test_retry_begins_at_the_end_of_a_chain(start_bench: StartBench) -> None:
    first, second = ScriptedSender(), ScriptedSender("WEBHOOK")
    first.answer("a", Refused(reason="x"))
    second.answer("a", Refused(reason="y"))
    bench = await start_bench(first, second)
    accepted = await bench.accept("a", sender=["TG", "WEBHOOK"])
    await bench.until(accepted, "failed", "failed")
    assert await bench.engine.operations.retry(accepted.id) == 1
    await bench.until(accepted, "failed", "sent")
    assert (len(first.calls), len(second.calls)) == (1, 2)


async def test_a_rejection_is_kept_reported_and_replayed_once_corrected(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    problem = FieldProblem(field="bdy", problem="is not a field", code="extra_forbidden")
    raw = b'{"bdy": "a", "sender": "TG"}\xff'
    rejection = await bench.engine.intake.reject(raw, source="rabbit:q", problems=[problem])
    await wait_until(lambda: any(event["id"] == str(rejection) for event in bench.publisher.published))
    report = bench.publisher.published[-1]
    assert (report["encoding"], report["size"], report["reason"]) == (
        "base64",
        len(raw),
        "bdy: is not a field",
    )
    with pytest.raises(ContractError):
        await bench.engine.operations.replay(rejection)
    corrected = b'{"body": "a", "sender": "TG"}'
    accepted = await bench.engine.operations.replay(rejection, corrected)
    assert isinstance(accepted, Accepted)
    repeated = await bench.engine.operations.replay(rejection, corrected)
    assert isinstance(repeated, Accepted)
    assert (repeated.id, repeated.duplicate) == (accepted.id, True)
    await bench.until(accepted, "sent")
    assert await bench.engine.operations.replay(uuid4()) is None


async def test_rows_of_a_lost_worker_are_taken_over(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    await bench.engine.operations.pause("TG", "while the table is prepared")
    resent, held, unbegun = [
        await bench.accept(body, on_unknown=policy)
        for body, policy in (("a", "resend"), ("b", "hold"), ("c", "hold"))
    ]
    await bench.database.pool.execute(
        """UPDATE delivery SET status = 'sending', lease_token = gen_random_uuid(), lease_until = now(),
            started = notification_id <> $1""",
        unbegun.id,
    )
    await bench.engine.operations.resume("TG")
    await bench.until(resent, "sent")
    await bench.until(held, "unknown")
    await bench.until(unbegun, "sent")
    assert sorted(sender.bodies) == ["a", "c"]
    assert await bench.log(resent) == ["requeued"]


async def test_events_survive_a_broker_that_refuses_and_keep_their_order(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    bench.publisher.refusals = 2
    accepted = await bench.accept("a")
    await wait_until(lambda: bench.publisher.types(accepted.id) == ["accepted", "sent"])

    async def empty() -> bool:
        return await bench.database.pool.fetchval("SELECT count(*) FROM outbox") == 0

    await wait_until(empty)


async def test_retention_removes_finished_notifications_only(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender, retention_days=1e-9)
    finished = await bench.accept("a")
    await bench.until(finished, "sent")
    waiting = await bench.accept("b", send_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())

    async def only_one_left() -> bool:
        while await bench.engine.housekeeping.retire():
            pass
        rows = await bench.database.pool.fetch("SELECT id FROM notification")
        return [row["id"] for row in rows] == [waiting.id]

    await wait_until(only_one_left)
    assert await bench.statuses(waiting) == ["queued"]
    assert await bench.statuses(finished) == []
