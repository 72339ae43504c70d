"""A provider says that a chat has moved: the contacts of its people follow."""

from service.senders.base import Sent
from tests.engine.conftest import Bench, ScriptedSender, StartBench
from tests.engine.test_people import contacts, people, told
from tests.support.waiting import wait_until


async def _addresses(bench: Bench, name: str) -> list[tuple[str, bool]]:
    rows = await bench.database.pool.fetch(
        """SELECT c.address, c.active FROM contact c JOIN recipient r ON r.id = c.recipient_id
        WHERE r.external_id = $1 ORDER BY c.position, c.id""",
        name,
    )
    return [(row["address"], row["active"]) for row in rows]


async def test_contacts_follow_a_chat_that_moved(start_bench: StartBench) -> None:
    sender, hook = ScriptedSender(), ScriptedSender("WEBHOOK")
    bench = await start_bench(sender, hook)
    await people(
        bench,
        anna={"contacts": contacts(("TG", "old"), ("WEBHOOK", "old"))},
        boris={"contacts": contacts(("TG", "new"), ("TG", "old"))},
        clara={"contacts": contacts(("TG", "other"))},
    )
    sender.answer("hello", Sent(parts=("1",), address="new"), Sent(parts=("2",), address="new"))
    sent = await bench.accept_all(["hello", "hello"], to="old")
    for each in sent:
        await bench.until(each, "sent")
    assert await _addresses(bench, "anna") == [("new", True), ("old", True)]
    assert await _addresses(bench, "boris") == [("new", True), ("old", False)]
    assert await _addresses(bench, "clara") == [("other", True)]
    reason = await bench.database.pool.fetchval("SELECT inactive_reason FROM contact WHERE NOT active")
    assert reason == "it has moved to new"
    await bench.until(await told(bench, body="next", to={"recipient": "anna"}), "sent")
    assert sender.calls[-1].address == "new"


async def test_two_chats_of_a_person_that_became_one(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    await people(bench, anna={"contacts": contacts(("TG", "first"), ("TG", "second"))})
    sender.gate.clear()
    for address in ("first", "second"):
        sender.answer(address, Sent(parts=("1",), address="new"))
        await bench.accept(address, to=address)
    await wait_until(lambda: len(sender.calls) == 2)
    sender.gate.set()

    async def settled() -> bool:
        return sorted(active for _, active in await _addresses(bench, "anna")) == [False, True]

    await wait_until(settled)
    assert ("new", True) in await _addresses(bench, "anna")
