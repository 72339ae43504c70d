"""Broken messages through the brokers: each is a rejection with a reason, none loops, the good ones arrive."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aiokafka import AIOKafkaProducer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import StartService
from tests.faults.support import (
    FULL_TIMEOUT,
    QUICK,
    UNPACED,
    arrived,
    drained,
    query,
    queue_depth,
    recorded_events,
    recorded_topic,
    size,
    tell,
    value,
)
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.service import Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

BROKEN = size(500, 10_000)
EVERY = 10  # one message in so many is good
DEADLINE = size(60, 600)

_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_valid = st.fixed_dictionaries(
    {"title": st.text(max_size=20), "body": st.just("text"), "sender": st.just("TG")}
)
_typo = st.builds(
    lambda valid, name: {**valid, name: 1}, _valid, st.text(min_size=1).map(lambda name: f"x{name}")
)
_missing = st.builds(
    lambda valid, name: {k: v for k, v in valid.items() if k != name},
    _valid,
    st.sampled_from(["body", "sender"]),
)
_wrong_values: Sequence[tuple[str, st.SearchStrategy[Any]]] = (
    ("body", st.sampled_from(["", " ", "\t\n", 7, None, [], {}, "x" * 100_001])),
    ("title", st.sampled_from([7, [], {}, "x" * 1_001])),
    ("sender", st.sampled_from(["", "SMOKE", "tg", 7, [], ["TG"] * 9, "T\x00G"])),
    ("to", st.sampled_from(["", "nobody", {"addresses": {}}, 7, [], "1" * 60, {"recipient": "7"}])),
    ("priority", st.sampled_from(["", "Urgent", "0", 1, None, []])),
    ("format", st.sampled_from(["", "md", 1, None])),
    ("send_at", st.sampled_from(["tomorrow", "2030-01-01", "2030-01-01T00:00:00", 0, -1, []])),
    (
        "buttons",
        st.sampled_from(
            [
                {},
                [1],
                [{"text": "x"}],
                [{"text": "", "url": "https://a.b"}],
                [{"text": "x", "url": "ftp://a"}],
            ]
        ),
    ),
    (
        "attachments",
        st.sampled_from([{}, [1], [{"kind": "film", "url": "https://a.b/c"}], [{"kind": "photo"}]]),
    ),
    ("metadata", st.sampled_from([1, [], "x", {"x": "y" * 5_000}])),
    ("on_unknown", st.sampled_from(["", "ask", 1, None])),
    ("id", st.sampled_from(["", "x" * 129, 7, "a\nb", "a\x00b"])),
    ("category", st.sampled_from(["", "x" * 65, 7, "a\nb"])),
)
_wrong = st.one_of(
    *(
        st.builds(lambda valid, bad, name=name: {**valid, name: bad}, _valid, values)
        for name, values in _wrong_values
    )
)
_as_json = (_typo | _missing | _wrong).map(lambda message: json.dumps(message).encode())
_cut = st.builds(
    lambda valid, share: json.dumps(valid).encode()[: max(0, int(len(json.dumps(valid)) * share) - 1)],
    _valid, st.floats(0, 1),
)  # fmt: skip
_not_an_object = _anything.filter(lambda any_: not isinstance(any_, dict)).map(
    lambda any_: json.dumps(any_).encode()
)
_doubled = _valid.map(lambda valid: json.dumps(valid).encode() * 2)
_encoded = st.builds(
    lambda valid, code: json.dumps(valid).encode(code), _valid, st.sampled_from(["utf-16", "utf-32"])
)
_deep = st.integers(200, 2_000).map(lambda depth: b'{"body":' + b"[" * depth + b"]" * depth + b"}")
broken_message = st.one_of(_as_json, st.binary(max_size=200), _cut, _not_an_object, _doubled, _encoded, _deep)


def _broken_messages(count: int) -> list[bytes]:
    """As many as asked for, the same ones at every run."""
    found: list[bytes] = []

    @settings(
        max_examples=count, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(broken_message)
    def collect(raw: bytes) -> None:
        found.append(raw)

    collect()
    # Few strategies have so many values: the rest repeats what there is.
    return [found[number % len(found)] for number in range(count)]


def _mixed(broken: Sequence[bytes], way: str) -> tuple[list[bytes], set[str]]:
    """The broken messages with good ones between them, and the texts of those."""
    mixed, texts = [], set()
    for number, raw in enumerate(broken):
        mixed.append(raw)
        if number % EVERY == 0:
            texts.add(f"good {way} {number}")
            mixed.append(json.dumps({"body": f"good {way} {number}", "sender": "TG"}).encode())
    return mixed, texts


async def _all_rejected(url: str, source: str, broken: Sequence[bytes]) -> Counter[str]:
    """Wait for as many rejections as there were broken messages: the same ones, each with a reason. The reasons' codes."""

    async def complete() -> bool:
        return bool(
            await value(url, "SELECT count(*) FROM rejection WHERE source LIKE $1", f"{source}%")
            >= len(broken)
        )

    try:
        await wait_until(complete, DEADLINE)
    except AssertionError:
        rows = await query(url, "SELECT raw FROM rejection WHERE source LIKE $1", f"{source}%")
        missing = Counter(broken) - Counter(bytes(row["raw"]) for row in rows)
        raise AssertionError(f"{missing.total()} were not rejected: {list(missing)[:5]}") from None
    rows = await query(url, "SELECT raw, reason, problems FROM rejection WHERE source LIKE $1", f"{source}%")
    assert Counter(bytes(row["raw"]) for row in rows) == Counter(broken)
    assert all(row["reason"] and json.loads(row["problems"]) for row in rows)
    return Counter(problem["code"] for row in rows for problem in json.loads(row["problems"]))


async def _alive(service: Service, part: str) -> bool:
    parts = (await service.acall("GET", "/health/ready", key=None)).json()["parts"]
    return bool(parts[part]["status"] == "ok")


async def test_through_rabbitmq(
    rabbit_node: RabbitNode, database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    queue, broken = f"fuzz-{uuid4()}", _broken_messages(BROKEN)
    mixed, good = _mixed(broken, "rabbit")
    env = {**QUICK, **UNPACED, **telegram.env, **rabbit_node.env, "RABBITMQ_QUEUE_NAME": queue}
    service = await asyncio.to_thread(start_service, env)
    await wait_until(lambda: _alive(service, "rabbit"), 30, "RabbitMQ is connected")
    async with recorded_events(rabbit_node.url, f"rejected-{queue}", "notifications.rejected") as rejected:
        connection = await aio_pika.connect(rabbit_node.url)
        async with connection, connection.channel() as channel:
            for raw in mixed:
                await channel.default_exchange.publish(aio_pika.Message(raw), routing_key=queue)
        codes = await _all_rejected(database_url, "rabbit:", broken)
        await arrived(telegram, good, DEADLINE)
        await _outbox_is_empty(database_url)
        reports = await drained(rabbit_node.url, rejected)
    tell("broken messages, RabbitMQ", rejected=len(broken), good_ones=len(good), kinds=len(codes))
    assert {report["id"] for report in reports} >= await _rejection_ids(database_url)
    assert await queue_depth(rabbit_node.url, queue) == 0
    assert await queue_depth(rabbit_node.url, f"{queue}.dead") == 0
    assert await _alive(service, "rabbit")


async def test_through_kafka(
    kafka_mock: KafkaMock, database_url: str, telegram: TelegramProcess, start_service: StartService
) -> None:
    topic, broken = f"fuzz-{uuid4()}", _broken_messages(BROKEN)
    mixed, good = _mixed(broken, "kafka")
    own = {"KAFKA_TOPIC": topic, "KAFKA_GROUP_ID": topic}
    service = await asyncio.to_thread(
        start_service, {**QUICK, **UNPACED, **telegram.env, **kafka_mock.env, **own}
    )
    async with recorded_topic(kafka_mock.bootstrap, "notifications.rejected") as told:
        producer = AIOKafkaProducer(bootstrap_servers=kafka_mock.bootstrap)
        await producer.start()
        try:
            await asyncio.gather(*[await producer.send(topic, raw) for raw in mixed])
        finally:
            await producer.stop()
        codes = await _all_rejected(database_url, "kafka:", broken)
        await arrived(telegram, good, DEADLINE)
        await _outbox_is_empty(database_url)
        reports = await told.complete()
    tell("broken messages, Kafka", rejected=len(broken), good_ones=len(good), kinds=len(codes))
    assert {report["id"] for report in reports} >= await _rejection_ids(database_url)
    assert await _alive(service, "kafka")


async def _outbox_is_empty(url: str) -> None:
    async def empty() -> bool:
        return bool(await value(url, "SELECT count(*) FROM outbox") == 0)

    await wait_until(empty, 30, "every rejection is reported")


async def _rejection_ids(url: str) -> set[str]:
    return {str(row["id"]) for row in await query(url, "SELECT id FROM rejection")}
