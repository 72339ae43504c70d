"""Recipients, topics, templates and acknowledgements, through the whole engine."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

import asyncpg

from service.audience.people import QuietHours
from service.audience.profile import Profile
from service.audience.recipients import Recipients
from service.audience.topics import Topics
from service.content.drafts import TemplateDraft
from service.content.store import Templates
from service.contract import parse_request
from service.delivery.intake import Accepted, Refusal, Submission
from service.delivery.planning import Defaults
from service.senders.base import Capabilities, Gone, Refused
from tests.engine.conftest import Bench, ScriptedSender, StartBench
from tests.support.engines import LINKS, PUBLIC_URL
from tests.support.order_paid import PEOPLE, TEMPLATE
from tests.support.waiting import wait_until


async def people(bench: Bench, **profiles: Mapping[str, Any]) -> None:
    await Recipients(bench.database).upsert({name: Profile(**profile) for name, profile in profiles.items()})


def contacts(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"sender": sender, "address": address} for sender, address in pairs]


async def tell(bench: Bench, **fields: Any) -> Accepted | Refusal:
    request = parse_request(json.dumps(fields))
    return await bench.engine.intake.accept(Submission(request, "test"))


async def told(bench: Bench, **fields: Any) -> Accepted:
    answer = await tell(bench, **fields)
    assert isinstance(answer, Accepted), answer
    return answer


async def deliveries(bench: Bench, notification: Accepted) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await bench.database.pool.fetch(
        "SELECT * FROM delivery WHERE notification_id = $1 ORDER BY id", notification.id
    )
    return rows


def quiet_now() -> QuietHours:
    """Hours that hold now, for two hours yet."""
    now = datetime.now(UTC)
    return QuietHours((now - timedelta(hours=1)).time(), (now + timedelta(hours=2)).time())


def minutes(moment: time) -> str:
    return f"{moment:%H:%M}"


async def test_a_recipient_is_reached_by_their_own_contacts_in_their_order(start_bench: StartBench) -> None:
    tg, hook = ScriptedSender(), ScriptedSender("WEBHOOK")
    bench = await start_bench(tg, hook)
    await people(bench, anna={"contacts": contacts(("WEBHOOK", "w1"), ("TG", "t1"))})
    hook.answer("hello", Refused(reason="no"))
    sent = await told(bench, body="hello", to={"recipient": "anna"})
    await bench.until(sent, "failed", "sent")
    assert [call.address for call in (*hook.calls, *tg.calls)] == ["w1", "t1"]
    await wait_until(lambda: "sent" in bench.publisher.types(sent.id))
    assert {event["recipient"] for event in bench.publisher.published} == {"anna"}


async def test_a_named_sender_uses_that_contact_and_what_cannot_be_reached_is_refused(
    start_bench: StartBench,
) -> None:
    tg, hook = ScriptedSender(), ScriptedSender("WEBHOOK")
    bench = await start_bench(tg, hook)
    await people(bench, anna={"contacts": contacts(("WEBHOOK", "w1"))})
    await bench.until(await told(bench, body="b", sender="WEBHOOK", to={"recipient": "anna"}), "sent")
    for fields, code, field in (
        ({"sender": "TG", "to": {"recipient": "anna"}}, "no_contact", "to.recipient"),
        ({"to": {"recipient": "nobody"}}, "unknown_recipient", "to.recipient"),
        ({"to": {"topic": "nothing"}}, "unknown_topic", "to.topic"),
        ({"sender": "VK", "to": {"recipient": "anna"}}, "unknown_sender", "sender"),
    ):
        answer = await tell(bench, body="b", **fields)
        assert isinstance(answer, Refusal), answer
        assert (answer.code, answer.problems[0].field) == (code, field)


async def test_what_somebody_muted_is_suppressed_with_its_reason_everywhere(start_bench: StartBench) -> None:
    bench = await start_bench(ScriptedSender(), defaults=Defaults(critical=frozenset({"security"})))
    await people(
        bench,
        anna={"contacts": contacts(("TG", "1")), "mutes": [{"category": "news"}]},
        boris={"contacts": contacts(("TG", "2")), "muted": True},
    )
    news = await told(bench, body="b", to={"recipient": "anna"}, category="news")
    assert news.suppressed == "category_muted"
    (row,) = await deliveries(bench, news)
    assert (row["status"], row["error_kind"], row["error_code"]) == (
        "suppressed", "suppressed", "category_muted",
    )  # fmt: skip
    await wait_until(lambda: bench.publisher.types(news.id) == ["suppressed"])
    (event,) = [event for event in bench.publisher.published if event["id"] == str(news.id)]
    assert event["error"]["code"] == "category_muted"
    assert (await told(bench, body="b", to={"recipient": "boris"}, category="news")).suppressed == "muted"
    alarm = await told(bench, body="b", to={"recipient": "boris"}, category="security")
    assert alarm.suppressed is None
    await bench.until(alarm, "sent")


async def test_what_waits_is_stopped_when_it_is_not_wanted_any_more(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    await people(bench, anna={"contacts": contacts(("TG", "1"))})
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    news = await told(bench, body="n", to={"recipient": "anna"}, category="news", send_at=tomorrow)
    orders = await told(bench, body="o", to={"recipient": "anna"}, category="orders", send_at=tomorrow)
    await people(bench, anna={"mutes": [{"category": "news"}]})
    (waiting,) = await deliveries(bench, news)
    assert await bench.engine.operations.respect(waiting["recipient_id"]) == 1
    assert (await bench.statuses(news), await bench.statuses(orders)) == (["suppressed"], ["queued"])
    await wait_until(lambda: bench.publisher.types(news.id) == ["accepted", "suppressed"])
    assert await bench.log(news) == ["suppressed"]


async def test_quiet_hours_put_off_and_critical_categories_pass(start_bench: StartBench) -> None:
    quiet = quiet_now()
    sender = ScriptedSender()
    bench = await start_bench(sender, defaults=Defaults(critical=frozenset({"security"})))
    hours = f"{minutes(quiet.start)}-{minutes(quiet.end)}"
    await people(bench, anna={"contacts": contacts(("TG", "1")), "quiet_hours": hours, "time_zone": "UTC"})
    calm = await told(bench, body="calm", to={"recipient": "anna"}, category="news")
    alarm = await told(bench, body="alarm", to={"recipient": "anna"}, category="security")
    await bench.until(alarm, "sent")
    (row,) = await deliveries(bench, calm)
    assert row["status"] == "queued"
    assert timedelta(hours=1, minutes=55) < row["send_at"] - datetime.now(UTC) <= timedelta(hours=2)
    assert sender.bodies == ["alarm"]


async def test_a_retry_that_falls_into_quiet_hours_waits_for_their_end(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender)
    await people(bench, anna={"contacts": contacts(("TG", "1")), "time_zone": "UTC"})
    async with bench.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO notification (id, source, content, route, created_at)"
            """ VALUES ($1, 'test', '{"body": "late"}', '[["TG", "1", 0, "1"]]', now())""",
            "01940000-0000-7000-8000-000000000001",
        )
        quiet = quiet_now()
        facts = {"locale": "en", "zone": "UTC", "quiet": f"{minutes(quiet.start)}-{minutes(quiet.end)}"}
        await connection.execute(
            """INSERT INTO delivery (notification_id, position, sender, address, priority, status, hold_unknown,
            behind, started, spacing, pacing_key, send_at, due_at, attempt, lost_leases, created_at, facts)
            VALUES ($1, 0, 'TG', '1', 2, 'queued', false, false, false, 0, '1', now(), now(), 1, 0, now(), $2)""",
            "01940000-0000-7000-8000-000000000001",
            json.dumps(facts),
        )
    later = await told(bench, body="later", sender="TG", to="1")
    await bench.until(later, "sent", deadline=5)  # it is in nobody's way

    async def put_off() -> bool:
        left = await bench.database.pool.fetchval(
            "SELECT extract(epoch FROM send_at - now()) FROM delivery WHERE facts IS NOT NULL"
        )
        return bool(left > 3600)

    await wait_until(put_off)
    assert sender.bodies == ["later"]


async def test_a_topic_reaches_each_subscriber_once_in_batches(start_bench: StartBench) -> None:
    tg, hook = ScriptedSender(), ScriptedSender("WEBHOOK")
    one, two = await start_bench(tg, hook), await start_bench(tg, hook)
    count = 1_203
    profiles = {
        f"p{n}": {"contacts": contacts(("TG" if n % 3 else "WEBHOOK", f"a{n}")), "muted": n == 7}
        for n in range(count)
    }
    profiles["p8"] = {"contacts": []}
    await people(one, **profiles)
    topics = Topics(one.database)
    await topics.put("news", "News")
    await topics.subscribe_many("news", list(profiles))
    sent = await told(two, body="extra", to={"topic": "news"})

    async def all_done() -> bool:
        rows = await deliveries(one, sent)
        return len(rows) == count and all(row["finished_at"] is not None for row in rows)

    await wait_until(all_done, 60, "every subscriber has a finished delivery")
    rows = await deliveries(one, sent)
    ended = {row["error_code"]: row["status"] for row in rows}
    assert ended == {None: "sent", "muted": "suppressed", "no_contact": "suppressed"}
    assert len({row["recipient_id"] for row in rows}) == count
    assert sorted(call.address for call in (*tg.calls, *hook.calls)) == sorted(
        f"a{n}" for n in range(count) if n not in (7, 8)
    )
    assert await one.database.pool.fetchval("SELECT count(*) FROM fan_out") == 0


async def test_a_dead_address_makes_the_contact_inactive(start_bench: StartBench) -> None:
    tg, hook = ScriptedSender(), ScriptedSender("WEBHOOK")
    bench = await start_bench(tg, hook)
    await people(bench, anna={"contacts": contacts(("TG", "1"), ("WEBHOOK", "w"))})
    tg.answer("first", Gone(reason="bot was blocked by the user"))
    await bench.until(await told(bench, body="first", to={"recipient": "anna"}), "failed", "sent")
    row = await bench.database.pool.fetchrow("SELECT * FROM contact WHERE sender = 'TG'")
    assert row is not None
    assert (row["active"], row["inactive_reason"]) == (False, "bot was blocked by the user")
    await bench.until(await told(bench, body="second", to={"recipient": "anna"}), "sent")
    assert hook.bodies == ["first", "second"]


BUTTONS = Capabilities(buttons=True)


async def test_what_nobody_acknowledges_escalates(start_bench: StartBench) -> None:
    tg, hook = ScriptedSender(capabilities=BUTTONS), ScriptedSender("WEBHOOK")
    bench = await start_bench(tg, hook)
    await people(
        bench,
        anna={"contacts": contacts(("TG", "1"), ("WEBHOOK", "w1")), "locale": "ru"},
        boris={"contacts": contacts(("TG", "2"), ("WEBHOOK", "w2"))},
    )
    seen = await told(bench, body="seen", to={"recipient": "anna"}, escalate_after=60)
    missed = await told(bench, body="missed", to={"recipient": "boris"}, escalate_after=60)
    await bench.until(seen, "sent")
    await bench.until(missed, "sent")
    button = tg.messages[0].buttons[-1]
    assert button.text == "Подтвердить"
    token = button.url.removeprefix(f"{PUBLIC_URL}/acknowledge/")
    assert await bench.engine.operations.acknowledge(int(LINKS.read("acknowledge", token)))
    await bench.database.pool.execute("UPDATE delivery SET escalate_at = now() WHERE escalate_at IS NOT NULL")
    await bench.until(missed, "sent", "sent")
    assert hook.bodies[0].startswith("missed")
    assert await bench.statuses(seen) == ["sent"]
    await wait_until(lambda: "escalated" in bench.publisher.types(missed.id))
    await wait_until(lambda: "acknowledged" in bench.publisher.types(seen.id))


async def test_a_category_brings_a_link_to_leave_it(start_bench: StartBench) -> None:
    tg, hook = ScriptedSender(capabilities=BUTTONS), ScriptedSender("WEBHOOK")
    bench = await start_bench(tg, hook, defaults=Defaults(critical=frozenset({"security"})))
    await people(bench, anna={"contacts": contacts(("TG", "1"), ("WEBHOOK", "w")), "locale": "ru"})
    for sender, category in (("TG", "news"), ("WEBHOOK", "news"), ("TG", "security"), ("TG", None)):
        fields = {} if category is None else {"category": category}
        sent = await told(bench, body="b", sender=sender, to={"recipient": "anna"}, **fields)
        await bench.until(sent, "sent")
    assert [[button.text for button in message.buttons] for message in tg.messages] == [
        ["Отписаться"],
        [],
        [],
    ]
    assert hook.bodies[0].startswith(f"b\n\nОтписаться: {PUBLIC_URL}/unsubscribe/")


async def test_order_17_was_paid_in_ten_peoples_own_words(start_bench: StartBench) -> None:
    senders = [ScriptedSender(name) for name in ("TG", "WEBHOOK", "CONSOLE")]
    bench = await start_bench(*senders)
    await Templates(bench.database).save(TemplateDraft(**TEMPLATE).version("order-paid"), "test")
    await people(
        bench,
        **{
            f"p{n}": {
                "locale": person.locale,
                "time_zone": person.zone,
                "contacts": contacts((person.sender, f"a{n}")),
            }
            for n, person in enumerate(PEOPLE)
        },
    )
    for n, person in enumerate(PEOPLE):
        sent = await told(bench, template="order-paid", params=person.params, to={"recipient": f"p{n}"})
        await bench.until(sent, "sent")
    got = {message.address: message for sender in senders for message in sender.messages}
    assert [(got[f"a{n}"].title, got[f"a{n}"].body) for n in range(len(PEOPLE))] == [
        (person.title, person.body) for person in PEOPLE
    ]
    wrong = await tell(bench, template="order-paid", params={"order": "17"}, to={"recipient": "p0"})
    assert isinstance(wrong, Refusal)
    assert {problem.field for problem in wrong.problems} == {
        "params.order", "params.items", "params.total", "params.at",
    }  # fmt: skip
    unknown = await tell(bench, template="order-lost", to={"recipient": "p0"})
    assert isinstance(unknown, Refusal)
    assert unknown.code == "unknown_template"


async def test_a_template_that_fails_ends_its_delivery_alone(start_bench: StartBench) -> None:
    sender = ScriptedSender()
    bench = await start_bench(sender, send_timeout_seconds=5.0, lease_seconds=30.0)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    for key, body in (("loops", loops), ("pulls", "{{ n.__class__ }}"), ("good", "Hi {{ n }}")):
        draft = TemplateDraft(
            default_locale="en",
            params=[{"name": "n", "type": "integer", "example": 1}],
            variants=[{"locale": "en", "title": "", "body": body}],
        )
        await Templates(bench.database).save(draft.version(key), "test")
    bad = [
        await told(bench, template=key, params={"n": 1}, sender="TG", to=str(i))
        for i, key in enumerate(("loops", "pulls"))
    ]
    good = [await told(bench, template="good", params={"n": n}, sender="TG", to="9") for n in range(5)]
    for one in good:
        await bench.until(one, "sent")
    for one in bad:
        await bench.until(one, "failed", deadline=20)
        (row,) = await deliveries(bench, one)
        assert row["error_code"].startswith("template_")
    assert sender.bodies == [f"Hi {n}" for n in range(5)]


async def test_planning_costs_the_same_statements_for_one_and_for_a_thousand(start_bench: StartBench) -> None:
    bench = await start_bench(ScriptedSender(), works=False)
    await Templates(bench.database).save(TemplateDraft(**TEMPLATE).version("order-paid"), "test")
    await people(bench, **{f"p{n}": {"contacts": contacts(("TG", f"a{n}"))} for n in range(1_000)})
    params = PEOPLE[0].params

    async def statements(count: int) -> int:
        """How many statements the pool's connections run while so many requests are planned."""
        seen: list[str] = []
        pool = bench.database.pool
        async with asyncio.timeout(30):
            connections = [await pool.acquire() for _ in range(pool.get_size())]
            for connection in connections:
                connection.add_query_logger(lambda query: seen.append(query.query))
            for connection in connections:
                await pool.release(connection)
            answers = [
                parse_request(
                    json.dumps({"template": "order-paid", "params": params, "to": {"recipient": f"p{n}"}})
                )
                for n in range(count)
            ]
            await bench.engine.intake.accept_many([Submission(answer, "test") for answer in answers])
        # Not the driver's own, wake-ups, and the states that are looked at by the clock.
        ours = [query for query in seen if "FROM" in query and "typeinfo" not in query]
        return len([query for query in ours if "sender_state" not in query])

    assert await statements(1) == await statements(1_000) == 2
