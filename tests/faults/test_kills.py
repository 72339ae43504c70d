"""The service is killed again and again, the servers around it restart: everything arrives, and the rest is counted."""

import asyncio
from collections import Counter
from uuid import uuid4

import pytest

from tests.conftest import StartService
from tests.faults.support import (
    FULL,
    FULL_TIMEOUT,
    QUICK,
    UNPACED,
    CrashablePostgres,
    Kill,
    Message,
    Stopwatch,
    arrived,
    check_events,
    drained,
    kill_and_look,
    publish_kafka,
    publish_rabbit,
    query,
    recorded_events,
    recorded_topic,
    repeats,
    settled,
    size,
    tell,
)
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

DEADLINE = size(60, 900)


def _messages(count: int, *, ids: bool, **fields: object) -> list[tuple[Message, str | None]]:
    """Unique texts over 200 chats; every other with an `id` of its own, or all known by message_id only."""
    messages: list[tuple[Message, str | None]] = []
    for number in range(count):
        body = {"body": f"message {number}", "sender": "TG", "to": str(1_000 + number % 200), **fields}
        if ids:
            messages.append(({**body, "id": f"id-{number}"}, None))
        else:
            messages.append((body, f"message-id-{number}"))
    return messages


async def _progress(telegram: TelegramProcess, count: int) -> None:
    async def reached() -> bool:
        return bool((await asyncio.to_thread(telegram.counts))["accepted"] >= count)

    await wait_until(reached, DEADLINE, f"{count} messages have arrived")


async def _notification_ids(url: str) -> set[str]:
    return {str(row["id"]) for row in await query(url, "SELECT id FROM notification")}


@pytest.mark.parametrize("ids", [True, False], ids=["id", "message_id"])
async def test_rabbitmq_and_sigkill(
    ids: bool,
    rabbit_node: RabbitNode,
    crashable_postgres: CrashablePostgres,
    telegram: TelegramProcess,
    start_service: StartService,
) -> None:
    """SIGKILL of the service, restarts of RabbitMQ and PostgreSQL: nothing is lost, and what comes twice was in flight."""
    count, kills = size(1_200, 20_000), size(2 if ids else 1, 10)
    queue, url = f"kills-{uuid4()}", crashable_postgres.url
    env = {
        **QUICK,
        **UNPACED,
        **rabbit_node.env,
        **telegram.env,
        "DATABASE_URL": url,
        "RABBITMQ_QUEUE_NAME": queue,
    }
    messages = _messages(count, ids=ids)
    # Slow enough for calls to be under way at any moment.
    telegram.control("POST", "delay", seconds=0.03)
    service, watch = start_service(env), Stopwatch()
    async with recorded_events(rabbit_node.url, f"events-{queue}") as events_queue:
        publishing = asyncio.create_task(publish_rabbit(rabbit_node.url, queue, messages))
        killed: list[Kill] = []
        for turn in range(kills):
            await _progress(telegram, count * (turn + 1) // (kills + 2))
            killed.append(await kill_and_look(service, telegram, url))
            if FULL and turn == 1:
                await _restart_servers(rabbit_node, crashable_postgres, kill=False)
            await asyncio.to_thread(service.start)
        await _progress(telegram, count * (kills + 1) // (kills + 2))
        if FULL or ids:  # and under a living service
            await _restart_servers(rabbit_node, crashable_postgres, kill=True)
        await publishing
        texts = await arrived(telegram, {body["body"] for body, _ in messages}, DEADLINE)
        await settled(url, DEADLINE)
        events = check_events(await drained(rabbit_node.url, events_queue), await _notification_ids(url))
    in_flight = [sum(kill.unsettled.values()) for kill in killed]
    tell(
        "SIGKILL, RabbitMQ", messages=count, kills=kills, arrived_twice=repeats(texts), in_flight_at_kills=in_flight,
        seconds=round(watch.seconds), events=events.published, events_repeated=events.repeated,
        events_by_type=dict(events.types),
    )  # fmt: skip
    assert events.notifications == count
    assert repeats(texts) <= sum(in_flight)
    allowed = sum((kill.unsettled for kill in killed), Counter[str]())
    assert not {text for text, times in texts.items() if times > 1 + allowed[text]}


async def _restart_servers(rabbit_node: RabbitNode, postgres: CrashablePostgres, *, kill: bool) -> None:
    """RabbitMQ and PostgreSQL at the same time."""

    def restart_postgres() -> None:
        if kill:
            postgres.kill()
        else:
            postgres.stop()
        postgres.start()

    await asyncio.gather(asyncio.to_thread(rabbit_node.restart), asyncio.to_thread(restart_postgres))


async def test_rabbitmq_and_sigterm(
    rabbit_node: RabbitNode, database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    """An orderly stop loses nothing and repeats nothing."""
    count, stops = size(1_000, 20_000), size(1, 10)
    queue = f"stops-{uuid4()}"
    env = {**QUICK, **UNPACED, **rabbit_node.env, **telegram.env, "RABBITMQ_QUEUE_NAME": queue}
    messages = _messages(count, ids=False)
    telegram.control("POST", "delay", seconds=0.03)
    service, watch = start_service(env), Stopwatch()
    publishing = asyncio.create_task(publish_rabbit(rabbit_node.url, queue, messages))
    for turn in range(stops):
        await _progress(telegram, count * (turn + 1) // (stops + 1))
        code = await asyncio.to_thread(service.terminate)
        assert code in (0, -15)
        left = await query(database_url, "SELECT id FROM delivery WHERE status = 'sending'")
        assert not left, "leases outlived an orderly stop"
        await asyncio.to_thread(service.start)
    await publishing
    texts = await arrived(telegram, {body["body"] for body, _ in messages}, DEADLINE)
    tell(
        "SIGTERM, RabbitMQ",
        messages=count,
        stops=stops,
        arrived_twice=repeats(texts),
        seconds=round(watch.seconds),
    )
    assert repeats(texts) == 0


async def test_kafka_and_sigkill(
    kafka_mock: KafkaMock, database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    """The same through Kafka: records are known by topic, partition and offset."""
    count, kills = size(1_000, 20_000), size(1, 10)
    topic = f"kills-{uuid4()}"
    own = {"KAFKA_TOPIC": topic, "KAFKA_GROUP_ID": topic}
    messages = [body for body, _ in _messages(count, ids=False)]
    telegram.control("POST", "delay", seconds=0.03)
    service, watch = start_service({**QUICK, **UNPACED, **kafka_mock.env, **telegram.env, **own}), Stopwatch()
    async with recorded_topic(kafka_mock.bootstrap, "notifications.events") as told:
        publishing = asyncio.create_task(publish_kafka(kafka_mock.bootstrap, topic, messages))
        killed: list[Kill] = []
        for turn in range(kills):
            await _progress(telegram, count * (turn + 1) // (kills + 1))
            killed.append(await kill_and_look(service, telegram, database_url))
            await asyncio.to_thread(service.start)
        await publishing
        texts = await arrived(telegram, {body["body"] for body in messages}, DEADLINE)
        await settled(database_url, DEADLINE)
        ours = await _notification_ids(database_url)
        events = check_events(await told.complete(), ours)
    in_flight = [sum(kill.unsettled.values()) for kill in killed]
    tell(
        "SIGKILL, Kafka", messages=count, kills=kills, arrived_twice=repeats(texts), in_flight_at_kills=in_flight,
        seconds=round(watch.seconds), events=events.published, events_repeated=events.repeated,
    )  # fmt: skip
    assert len(ours) == count
    assert repeats(texts) <= sum(in_flight)


async def test_unknown_outcomes_are_held(
    rabbit_node: RabbitNode, database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    """With `on_unknown: hold` nothing arrives twice, and REST lists exactly what was in flight."""
    count, kills = size(1_000, 20_000), size(1, 10)
    queue = f"held-{uuid4()}"
    env = {**QUICK, **UNPACED, **rabbit_node.env, **telegram.env, "RABBITMQ_QUEUE_NAME": queue}
    messages = _messages(count, ids=True, on_unknown="hold")
    telegram.control("POST", "delay", seconds=0.03)
    service, watch = start_service(env), Stopwatch()
    publishing = asyncio.create_task(publish_rabbit(rabbit_node.url, queue, messages))
    started: set[str] = set()
    unsettled: set[str] = set()
    for turn in range(kills):
        await _progress(telegram, count * (turn + 1) // (kills + 2))
        kill = await kill_and_look(service, telegram, database_url)
        started |= kill.started
        unsettled |= kill.unsettled.keys()
        await asyncio.to_thread(service.start)
    await publishing
    await _all_final(database_url, count)
    texts = Counter(await asyncio.to_thread(telegram.texts))
    held = await _listed_unknown(service, database_url)
    tell(
        "SIGKILL, on_unknown: hold", messages=count, kills=kills, arrived_twice=repeats(texts), held=len(held),
        accepted_by_the_provider_among_them=len(unsettled), seconds=round(watch.seconds),
    )  # fmt: skip
    assert repeats(texts) == 0
    assert unsettled <= started
    assert held == started
    assert texts.keys() | held == {body["body"] for body, _ in messages}


async def _all_final(url: str, count: int) -> None:
    async def final() -> bool:
        rows = await query(url, "SELECT count(*) FROM delivery WHERE status IN ('sent', 'unknown')")
        return bool(rows[0][0] == count)

    await wait_until(final, DEADLINE, "every delivery is sent or unknown")


async def _listed_unknown(service: Service, url: str) -> set[str]:
    """The texts of the deliveries that REST lists as unknown."""
    ids: list[str] = []
    cursor = ""
    while True:
        answer = await service.acall("GET", f"/v1/deliveries?status=unknown&limit=500{cursor}")
        assert answer.status == 200, answer.body
        page = answer.json()
        ids += [item["notification_id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    rows = await query(
        url, "SELECT content ->> 'body' AS body FROM notification WHERE id = ANY($1::text[]::uuid[])", ids
    )
    return {row["body"] for row in rows}
