"""A provider that does nothing but throttle, as a proxy before a dead server: it has an end."""

from datetime import timedelta

from service.delivery.operations import DeadLetterFilter
from service.senders.base import Retry, Scope, Throttled
from tests.engine.conftest import ScriptedSender, StartBench
from tests.support.waiting import wait_until

HALF_A_SECOND = timedelta(seconds=0.5) / timedelta(hours=1)
BAD_GATEWAY = Throttled(reason="HTTP 502", code="502", retry_after=0.1, scope=Scope.ADDRESS)


async def test_what_is_only_throttled_fails_at_last_and_the_chain_goes_on(start_bench: StartBench) -> None:
    hook, tg = ScriptedSender("WEBHOOK"), ScriptedSender()
    hook.answer("hello", *[BAD_GATEWAY] * 100)
    bench = await start_bench(hook, tg, throttled_max_hours=HALF_A_SECOND)
    sent = await bench.accept(
        "hello", sender=["WEBHOOK", "TG"], to={"addresses": {"WEBHOOK": "w", "TG": "t"}}
    )
    await bench.until(sent, "failed", "sent")
    assert len(hook.calls) > 2
    assert [call.address for call in tg.calls] == ["t"]
    row = await bench.database.pool.fetchrow("SELECT * FROM delivery WHERE sender = 'WEBHOOK'")
    assert (row["error_kind"], row["error_code"], row["attempt"]) == ("throttled", "502", 0)
    assert row["error_text"].startswith("throttled for ")
    assert row["error_text"].endswith("(DELIVERY_THROTTLED_MAX_HOURS): HTTP 502")
    types = ["accepted", *["throttled"] * (len(hook.calls) - 1), "failed", "sent"]
    await wait_until(lambda: bench.publisher.types(sent.id) == types)


async def test_another_answer_and_a_redrive_begin_the_time_anew(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender, throttled_max_hours=HALF_A_SECOND, retry_delays_seconds=(0.1,) * 20)
    sender.answer("mixed", *[BAD_GATEWAY, BAD_GATEWAY, Retry(reason="HTTP 500")] * 4)
    await bench.until(await bench.accept("mixed", to="mixed"), "sent")
    sender.answer("later", *[BAD_GATEWAY] * 100)
    failed = await bench.accept("later", to="later")
    await bench.until(failed, "failed")
    sender.answer("later", BAD_GATEWAY)
    assert await bench.engine.operations.redrive(DeadLetterFilter(error_kind="throttled"), dry_run=False) == 1
    await bench.until(failed, "sent")
