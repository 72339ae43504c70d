"""What people and producers do a second time, or while a chain is still under way."""

import asyncio
from dataclasses import replace

from service.audience.topics import Topics
from service.db.ids import uuid7
from service.senders.base import Capabilities, Message, Outcome, Refused
from service.senders.markup import read
from tests.engine.conftest import ScriptedSender, StartBench
from tests.engine.test_people import contacts, deliveries, people, told
from tests.support.engines import PUBLIC_URL
from tests.support.waiting import wait_until

BUTTONS = Capabilities(buttons=True)


async def test_a_repeat_of_what_was_suppressed_says_so_again(start_bench: StartBench) -> None:
    bench = await start_bench(ScriptedSender())
    await people(bench, anna={"contacts": contacts(("TG", "1")), "muted": True})
    first = await told(bench, id="one", body="b", to={"recipient": "anna"})
    assert first.suppressed == "muted"
    await people(bench, anna={"muted": False})
    again = await told(bench, id="one", body="b", to={"recipient": "anna"})
    assert again == replace(first, duplicate=True)


class Slow(ScriptedSender):
    """Refuses when it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.called, self.refuse = asyncio.Event(), asyncio.Event()

    async def send(self, message: Message) -> Outcome:
        self.called.set()
        await self.refuse.wait()
        return Refused(reason="no")


async def test_what_was_acknowledged_goes_no_further_when_the_next_sender_fails(
    start_bench: StartBench,
) -> None:
    tg, hook, console = ScriptedSender(capabilities=BUTTONS), Slow("WEBHOOK"), ScriptedSender("CONSOLE")
    bench = await start_bench(tg, hook, console)
    pairs = contacts(("TG", "1"), ("WEBHOOK", "w"), ("CONSOLE", "c"))
    await people(bench, anna={"contacts": pairs})
    sent = await told(bench, body="b", to={"recipient": "anna"}, escalate_after=60)
    await bench.until(sent, "sent")
    await bench.database.pool.execute("UPDATE delivery SET escalate_at = now()")
    async with asyncio.timeout(15):
        await hook.called.wait()
    (first, _) = await deliveries(bench, sent)
    assert await bench.engine.operations.acknowledge(first["id"])
    hook.refuse.set()
    await bench.until(sent, "sent", "failed")
    await wait_until(lambda: "failed" in bench.publisher.types(sent.id))
    assert console.calls == []


async def test_a_link_survives_markdown(start_bench: StartBench) -> None:
    hook = ScriptedSender("WEBHOOK")
    bench = await start_bench(hook)
    await people(bench, anna={"contacts": contacts(("WEBHOOK", "w"))})
    to = {"recipient": "anna"}
    await bench.until(await told(bench, body="*b*", format="markdown", to=to, category="news"), "sent")
    seen = read(hook.bodies[0], "markdown")
    (link,) = [span for span in seen.spans if span.style == "link"]
    assert link.value.startswith(f"{PUBLIC_URL}/unsubscribe/")
    assert seen.text == f"b\n\nUnsubscribe: {link.value}"


async def test_what_somebody_left_meanwhile_does_not_escalate(start_bench: StartBench) -> None:
    tg, hook = ScriptedSender(capabilities=BUTTONS), ScriptedSender("WEBHOOK")
    bench = await start_bench(tg, hook)
    await people(bench, anna={"contacts": contacts(("TG", "1"), ("WEBHOOK", "w1"))})
    news = await told(bench, body="n", to={"recipient": "anna"}, category="news", escalate_after=60)
    await bench.until(news, "sent")
    await people(bench, anna={"mutes": [{"category": "news"}]})
    await bench.database.pool.execute("UPDATE delivery SET escalate_at = now()")
    await bench.until(news, "sent", "suppressed")
    assert hook.calls == []


async def test_a_chain_passes_over_a_sender_that_was_muted_since(start_bench: StartBench) -> None:
    tg, hook, console = (ScriptedSender(name) for name in ("TG", "WEBHOOK", "CONSOLE"))
    bench = await start_bench(tg, hook, console)
    pairs = contacts(("TG", "1"), ("WEBHOOK", "w"), ("CONSOLE", "c"))
    await people(bench, anna={"contacts": pairs})
    tg.answer("n", Refused(reason="no"))
    tg.gate.clear()
    news = await told(bench, body="n", to={"recipient": "anna"})
    await wait_until(lambda: bool(tg.calls))
    await people(bench, anna={"mutes": [{"sender": "WEBHOOK"}]})
    tg.gate.set()
    await bench.until(news, "failed", "suppressed", "sent")
    assert (len(hook.calls), len(console.calls)) == (0, 1)


async def test_a_repeat_is_known_when_its_contact_is_gone(start_bench: StartBench) -> None:
    bench = await start_bench(ScriptedSender())
    await people(bench, anna={"contacts": contacts(("TG", "1"))})
    first = await told(bench, id="one", body="b", to={"recipient": "anna"})
    await people(bench, anna={"contacts": []})
    assert await told(bench, id="one", body="b", to={"recipient": "anna"}) == replace(first, duplicate=True)


async def test_a_request_that_cannot_be_planned_does_not_hold_up_other_topics(
    start_bench: StartBench,
) -> None:
    bench = await start_bench(ScriptedSender())
    await people(bench, anna={"contacts": contacts(("TG", "1"))})
    topics = Topics(bench.database)
    await topics.put("news", "News")
    await topics.subscribe("news", "anna")
    await bench.database.pool.execute(
        "INSERT INTO fan_out (notification_id, topic, request, after, created_at)"
        """ VALUES ($1, 'news', '{"a_field_of_a_newer_version": 1}', 0, now())""",
        uuid7(0),
    )
    await bench.until(await told(bench, body="n", to={"topic": "news"}), "sent")
