"""Devices of a recipient: what is for the person goes to each of them, and on when none took it."""

import asyncio
from datetime import UTC, datetime, timedelta

from service.audience.devices import Device, Devices
from service.audience.profile import Profile
from service.audience.recipients import Recipients
from service.audience.topics import Topics
from service.delivery.intake import Accepted
from service.delivery.listing import DeadFilter, Listing
from service.senders.base import Capabilities, Gone, Message, Outcome, Refused, Retry
from tests.engine.conftest import Bench, ScriptedSender, StartBench
from tests.engine.test_people import contacts, deliveries, people, told
from tests.support.waiting import wait_until

PUSH = Capabilities(ordered=False, devices=True)


class Phones(ScriptedSender):
    """Answers by token: what `dead` names is gone, what `sick` names fails so many times before."""

    def __init__(self, name: str = "PUSH") -> None:
        super().__init__(name, capabilities=PUSH)
        self.dead: set[str] = set()
        self.refusing: set[str] = set()
        self.refuses_all = False
        self.sick: dict[str, int] = {}

    async def send(self, message: Message) -> Outcome:
        sent = await super().send(message)
        if self.sick.get(message.address):
            self.sick[message.address] -= 1
            return Retry(reason="later")
        if message.address in self.dead:
            return Gone(reason="the app was removed")
        if self.refuses_all or message.address in self.refusing:
            return Refused(reason="no")
        return sent


async def devices(bench: Bench, external_id: str, *tokens: str, sender: str = "PUSH", most: int = 20) -> None:
    registry = Devices(bench.database, most=most)
    for token in tokens:
        assert await registry.register(external_id, sender, Device(token)) is not None


async def tokens_of(bench: Bench, external_id: str) -> list[str]:
    return [row["address"] for row in await Devices(bench.database, most=20).of(external_id)]


async def by_address(bench: Bench, notification: Accepted) -> dict[str, tuple[int, str]]:
    return {row["address"]: (row["position"], row["status"]) for row in await deliveries(bench, notification)}


async def until(bench: Bench, notification: Accepted, **expected: tuple[int, str]) -> None:
    async def reached() -> bool:
        return await by_address(bench, notification) == expected

    await wait_until(reached, 15, f"deliveries are {expected}")


async def test_every_active_device_gets_it_once_and_a_dead_one_is_left_out_next_time(
    start_bench: StartBench,
) -> None:
    phones, tg = Phones(), ScriptedSender()
    bench = await start_bench(phones, tg)
    await people(bench, anna={"contacts": contacts(("TG", "t1"))})
    await devices(bench, "anna", "a", "b", "c")
    phones.dead.add("b")
    first = await told(bench, body="one", sender="PUSH", to={"recipient": "anna"})
    await until(bench, first, a=(0, "sent"), b=(0, "failed"), c=(0, "sent"))
    second = await told(bench, body="two", sender=["PUSH", "TG"], to={"recipient": "anna"})
    await until(bench, second, a=(0, "sent"), c=(0, "sent"))
    assert sorted(call.address for call in phones.calls) == ["a", "a", "b", "c", "c"]
    assert tg.calls == []
    shown, _ = await Listing(bench.database).notification(first.id) or (None, [])
    assert shown["status"] == "sent"
    dead = await Listing(bench.database).dead_letters(DeadFilter(), None, 50)
    assert dead.rows == [], "the person has it"


async def test_the_next_sender_takes_over_once_when_no_device_took_it(start_bench: StartBench) -> None:
    phones, tg = Phones(), ScriptedSender()
    bench = await start_bench(phones, tg)
    await people(bench, anna={"contacts": contacts(("TG", "t1"))})
    await devices(bench, "anna", "a", "b", "c")
    phones.dead.add("a")
    phones.refusing |= {"b", "c"}
    phones.sick = {"c": 1}
    sent = await told(bench, body="x", sender=["PUSH", "TG"], to={"recipient": "anna"})
    await until(bench, sent, a=(0, "failed"), b=(0, "failed"), c=(0, "failed"), t1=(1, "sent"))
    assert len(tg.calls) == 1
    await asyncio.gather(*(bench.engine.operations.retry(sent.id) for _ in range(2)))
    await until(bench, sent, a=(0, "failed"), b=(0, "failed"), c=(0, "failed"), t1=(1, "sent"))
    assert len(tg.calls) == 1


async def test_replicas_that_see_devices_fail_at_once_take_over_once(start_bench: StartBench) -> None:
    benches = []
    for _ in range(3):
        phones = Phones()
        phones.refuses_all = True
        benches.append(await start_bench(phones, ScriptedSender()))
    bench = benches[0]
    names = [f"p{number}" for number in range(30)]
    await people(bench, **{name: {"contacts": contacts(("TG", name))} for name in names})
    for name in names:
        await devices(bench, name, *(f"{name}-{number}" for number in range(8)))
    for name in names:
        await told(bench, body="x", sender=["PUSH", "TG"], to={"recipient": name})

    async def done() -> bool:
        return await bench.database.pool.fetchval(
            "SELECT count(*) FROM delivery WHERE sender = 'TG' AND status = 'sent'"
        ) == len(names)

    await wait_until(done, 30, "everybody has it by TG")
    assert await bench.database.pool.fetchval("SELECT count(*) FROM delivery WHERE sender = 'TG'") == len(
        names
    )


async def test_a_chain_may_end_in_several_devices(start_bench: StartBench) -> None:
    phones, tg = Phones(), ScriptedSender()
    bench = await start_bench(phones, tg)
    await people(bench, anna={"contacts": contacts(("TG", "t1"))})
    await devices(bench, "anna", "a", "b")
    tg.answer("x", Refused(reason="no"))
    sent = await told(bench, body="x", sender=["TG", "PUSH"], to={"recipient": "anna"})
    await until(bench, sent, t1=(0, "failed"), a=(1, "sent"), b=(1, "sent"))


async def test_what_nobody_acknowledged_on_any_device_escalates_once(start_bench: StartBench) -> None:
    phones, tg = Phones(), ScriptedSender()
    bench = await start_bench(phones, tg)
    await people(bench, anna={"contacts": contacts(("TG", "t1"))})
    await devices(bench, "anna", "a", "b")
    fields = {"sender": ["PUSH", "TG"], "to": {"recipient": "anna"}}
    seen = await told(bench, body="seen", escalate_after=3600, **fields)
    await until(bench, seen, a=(0, "sent"), b=(0, "sent"))
    rows = await deliveries(bench, seen)
    await bench.engine.operations.acknowledge(rows[1]["id"])
    assert all(row["escalate_at"] is None for row in await deliveries(bench, seen))
    ignored = await told(bench, body="ignored", escalate_after=3600, **fields)
    await until(bench, ignored, a=(0, "sent"), b=(0, "sent"))
    await bench.database.pool.execute(
        "UPDATE delivery SET escalate_at = now() WHERE escalate_at IS NOT NULL AND notification_id = $1",
        ignored.id,
    )
    await until(bench, ignored, a=(0, "sent"), b=(0, "sent"), t1=(1, "sent"))
    (call,) = tg.calls
    assert call.body.startswith("ignored")
    await wait_until(lambda: bench.publisher.types(ignored.id).count("escalated") == 1)


async def test_a_topic_reaches_every_device_and_falls_back_for_each_person(start_bench: StartBench) -> None:
    phones, tg = Phones(), ScriptedSender()
    bench = await start_bench(phones, tg)
    await people(
        bench,
        anna={"contacts": contacts(("TG", "t1"))},
        boris={"contacts": contacts(("TG", "t2"))},
    )
    await devices(bench, "anna", "a", "b")
    await devices(bench, "boris", "c", "d")
    phones.refusing |= {"c", "d"}
    topics = Topics(bench.database)
    await topics.put("news", "News")
    await topics.subscribe_many("news", ["anna", "boris"])
    sent = await told(bench, body="x", sender=["PUSH", "TG"], to={"topic": "news"})
    await until(
        bench, sent,
        a=(0, "sent"), b=(0, "sent"), c=(0, "failed"), d=(0, "failed"), t2=(1, "sent"),
    )  # fmt: skip


async def test_mutes_and_erasure_are_about_all_devices(start_bench: StartBench) -> None:
    phones = Phones()
    bench = await start_bench(phones)
    await people(bench, anna={"mutes": [{"sender": "PUSH"}]})
    await devices(bench, "anna", "a", "b")
    muted = await told(bench, body="x", sender="PUSH", to={"recipient": "anna"})
    assert muted.suppressed == "sender_muted"
    assert [row["status"] for row in await deliveries(bench, muted)] == ["suppressed"]
    await Recipients(bench.database).upsert({"anna": Profile(mutes=())})
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = await told(bench, body="x", sender="PUSH", to={"recipient": "anna"}, send_at=tomorrow)
    assert len(await deliveries(bench, later)) == 2
    await Recipients(bench.database).upsert({"anna": Profile(muted=True)})
    person = await Recipients(bench.database).get("anna")
    assert await bench.engine.operations.respect(person["id"]) == 2
    assert await bench.engine.operations.forget(person["id"]) == 3
    assert await deliveries(bench, later) == []


async def test_a_token_follows_the_person_who_registered_it_last(start_bench: StartBench) -> None:
    phones = Phones()
    bench = await start_bench(phones)
    await people(bench, anna={"contacts": contacts(("PUSH", "t"))}, boris={})
    await devices(bench, "anna", "t")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    secret = await told(bench, body="secret", sender="PUSH", to={"recipient": "anna"}, send_at=tomorrow)
    registry = Devices(bench.database, most=20)
    found = await asyncio.gather(*(registry.register("boris", "PUSH", Device("t")) for _ in range(5)))
    assert sum(one is not None and one.created for one in found) == 1
    assert (await tokens_of(bench, "anna"), await tokens_of(bench, "boris")) == ([], ["t"])
    await bench.database.pool.execute(
        "UPDATE delivery SET send_at = now(), due_at = now(), attempt = 1 WHERE notification_id = $1",
        secret.id,
    )
    await until(bench, secret, t=(0, "suppressed"))
    assert phones.calls == []


async def test_a_repeat_is_answered_as_before_when_one_device_is_not_the_persons_any_more(
    start_bench: StartBench,
) -> None:
    bench = await start_bench(Phones())
    await people(bench, anna={})
    await devices(bench, "anna", "a", "b")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    fields = {
        "body": "x",
        "id": "order-1",
        "sender": "PUSH",
        "to": {"recipient": "anna"},
        "send_at": tomorrow,
    }
    first = await told(bench, **fields)
    await bench.database.pool.execute("DELETE FROM contact WHERE address = 'b'")
    await bench.database.pool.execute("UPDATE delivery SET send_at = now(), due_at = now(), attempt = 1")
    await until(bench, first, a=(0, "sent"), b=(0, "suppressed"))
    again = await told(bench, **fields)
    assert (again.id, again.duplicate, again.suppressed) == (first.id, True, None)


async def test_two_people_who_register_one_token_at_once_do_not_both_get_it(start_bench: StartBench) -> None:
    bench = await start_bench(Phones())
    names = [f"p{number}" for number in range(10)]
    await people(bench, **{name: {} for name in names})
    registry = Devices(bench.database, most=20)
    await asyncio.gather(*(registry.register(name, "PUSH", Device("shared")) for name in names * 3))
    owners = [name for name in names if await tokens_of(bench, name)]
    assert len(owners) == 1


async def test_what_waits_for_a_device_goes_to_its_new_token(start_bench: StartBench) -> None:
    phones = Phones()
    bench = await start_bench(phones)
    await people(bench, anna={})
    await devices(bench, "anna", "old", "other")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    sent = await told(bench, body="x", sender="PUSH", to={"recipient": "anna"}, send_at=tomorrow)
    rows = await Devices(bench.database, most=20).of("anna")
    (device_id,) = [row["id"] for row in rows if row["address"] == "old"]
    rotated = await bench.engine.operations.rotate_device("anna", device_id, "PUSH", Device("new"))
    assert rotated is not None and rotated.row["address"] == "new"
    await bench.database.pool.execute(
        "UPDATE delivery SET send_at = now(), due_at = now(), attempt = 1 WHERE notification_id = $1", sent.id
    )
    await until(bench, sent, new=(0, "sent"), other=(0, "sent"))


async def test_devices_are_bounded_and_a_synchronisation_leaves_them_alone(start_bench: StartBench) -> None:
    bench = await start_bench(Phones(), ScriptedSender())
    await people(bench, anna={"contacts": contacts(("TG", "1"))})
    await devices(bench, "anna", "a", "b", "c", most=3)
    await bench.database.pool.execute(
        "UPDATE contact SET active = false, inactive_at = now(), inactive_reason = 'gone' WHERE address = 'b'"
    )
    await devices(bench, "anna", "d", most=3)
    assert await tokens_of(bench, "anna") == ["d", "c", "a"]
    await devices(bench, "anna", "e", most=3)
    assert await tokens_of(bench, "anna") == ["e", "d", "c"]
    await people(bench, anna={"contacts": contacts(("TG", "2"))})
    person = await Recipients(bench.database).get("anna")
    assert [address for address in ("1", "2", "c", "d", "e") if f'"{address}"' in person["contacts"]] == [
        "2", "c", "d", "e",
    ]  # fmt: skip
