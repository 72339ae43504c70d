"""What the fault tests share: sizes, a PostgreSQL that may be killed, producers that never give up, and counting."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from service.db.embedded import EmbeddedPostgres
from service.db.migrate import migrate
from tests.fakes.webhook import SECRET
from tests.support.postgres import run_apart
from tests.support.service import ROOT, Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_blocking, wait_until

FULL = os.environ.get("FAULTS") == "full"
FULL_TIMEOUT = 3_600 if FULL else 180

# Crashed workers' rows come back soon, so that a test need not wait for minutes.
QUICK = {
    "DELIVERY_LEASE_SECONDS": "5",
    "DELIVERY_SEND_TIMEOUT_SECONDS": "2",
    "DELIVERY_HOUSEKEEPING_SECONDS": "0.5",
    "DELIVERY_POLL_SECONDS": "0.5",
    "DELIVERY_RETRY_DELAYS_SECONDS": "0.2,0.5,1,1,1,2,2,2,2,2,2,2,2,2,2",
    "CONSOLE_ENABLED": "false",
}
UNPACED = {"TG_RATE": "0", "TG_CHAT_RATE": "0", "TG_GROUP_RATE": "0"}
# A message that no queue takes yet counts as not published, too.
BROKER_AWAY = (
    OSError,
    TimeoutError,
    aio_pika.exceptions.AMQPError,
    aiormq.exceptions.AMQPError,
    RuntimeError,
)

Message = dict[str, Any]


def size(small: int, full: int) -> int:
    """How much of something this run does."""
    return full if FULL else small


class CrashablePostgres:
    """A PostgreSQL server of one test's own; killing it loses nothing that was committed."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._server = EmbeddedPostgres(folder, {"fsync": "off", **(settings or {})})
        self.url = self._server.start()
        run_apart(migrate(self.url))

    @property
    def data(self) -> Path:
        return self._server.data

    def stop(self) -> None:
        """An orderly stop: connections are cut, transactions rolled back."""
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        """SIGKILL of the server; its children follow by themselves."""
        pid = int((self._server.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        wait_blocking(lambda: not Path(f"/proc/{pid}").exists(), 10, "the server is dead")
        self._server.stop()

    def pids(self) -> list[int]:
        """The server and its children, the server first."""
        leader = int((self._server.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        return [leader, *map(int, children)]


async def query(url: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """Rows of one statement, over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
        return rows
    finally:
        await connection.close()


async def execute(url: str, sql: str) -> None:
    """Statements without results, over a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def value(url: str, sql: str, *arguments: object) -> Any:
    return (await query(url, sql, *arguments))[0][0]


# --- publishing ----------------------------------------------------------------------------------


async def publish_rabbit(url: str, queue: str, messages: Sequence[tuple[Message, str | None]]) -> None:
    """Publish with confirms, each message with its `message_id`; again what was not confirmed when the node fell."""
    waiting = list(range(len(messages)))
    while waiting:
        try:
            # Not longer: RabbitMQ takes connections before it serves them.
            async with asyncio.timeout(60):
                waiting = await _publish_once(url, queue, messages, waiting)
        except BROKER_AWAY:
            await asyncio.sleep(0.3)


async def _publish_once(
    url: str, queue: str, messages: Sequence[tuple[Message, str | None]], waiting: list[int]
) -> list[int]:
    connection = await aio_pika.connect(url, timeout=5)
    try:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)

        async def one(number: int) -> int | None:
            body, message_id = messages[number]
            message = aio_pika.Message(
                json.dumps(body).encode(),
                message_id=message_id,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            try:
                await channel.default_exchange.publish(message, routing_key=queue, timeout=10)
            except (*BROKER_AWAY, asyncio.CancelledError):
                return number
            return None

        left: list[int] = []
        for start in range(0, len(waiting), 100):
            some = await asyncio.gather(*(one(number) for number in waiting[start : start + 100]))
            left += [number for number in some if number is not None]
            if left:
                return left + waiting[start + 100 :]
        return left
    finally:
        await connection.close()


async def publish_kafka(bootstrap: str, topic: str, messages: Sequence[Message]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=False)
    await producer.start()
    try:
        for start in range(0, len(messages), 500):
            sent = [
                await producer.send(topic, json.dumps(body).encode())
                for body in messages[start : start + 500]
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()


# --- events --------------------------------------------------------------------------------------


@asynccontextmanager
async def recorded_events(url: str, name: str, exchange: str = "notifications.events") -> AsyncIterator[str]:
    """A durable queue that keeps every event from now on. Gives its name."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        kept = await channel.declare_exchange(exchange, "topic", durable=True)
        queue = await channel.declare_queue(name, durable=True)
        await queue.bind(kept, "#")
    yield name
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        await channel.queue_delete(name)


async def drained(url: str, name: str) -> list[dict[str, Any]]:
    """Everything in a queue, in order; it is empty afterwards."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        count = (await channel.declare_queue(name, passive=True)).declaration_result.message_count or 0
        if not count:
            return []
        await channel.set_qos(2_000)
        queue = await channel.get_queue(name, ensure=False)
        items: list[dict[str, Any]] = []
        async with queue.iterator(no_ack=True, timeout=10) as messages:
            async for message in messages:
                items.append(json.loads(message.body))
                if len(items) >= count:
                    break
    return items


async def queue_depth(url: str, name: str) -> int:
    """Messages in a queue that are ready, that is, not in a consumer's hands."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        return (await channel.declare_queue(name, passive=True)).declaration_result.message_count or 0


class RecordedTopic:
    """What came to a Kafka topic; in order within each notification."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.items: list[dict[str, Any]] = []
        self._recording = asyncio.create_task(self._record())

    async def _record(self) -> None:
        # All along, since the mock keeps only the last megabytes.
        async for record in self._consumer:
            self.items.append(json.loads(record.value))

    async def complete(self) -> list[dict[str, Any]]:
        """Everything until now."""
        ends = await self._consumer.end_offsets(self._consumer.assignment())

        async def read() -> bool:
            return all([await self._consumer.position(place) >= end for place, end in ends.items()])

        await wait_until(read, 60, "the topic is read to its end")
        return self.items

    async def close(self) -> None:
        self._recording.cancel()
        await asyncio.gather(self._recording, return_exceptions=True)
        await self._consumer.stop()


@asynccontextmanager
async def recorded_topic(bootstrap: str, topic: str) -> AsyncIterator[RecordedTopic]:
    """Record a Kafka topic from now on."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="latest")
    await consumer.start()
    await consumer.seek_to_end()
    recorded = RecordedTopic(consumer)
    try:
        yield recorded
    finally:
        await recorded.close()


@dataclass(frozen=True)
class EventCheck:
    """What the events of a run say."""

    notifications: int
    published: int
    repeated: int
    types: Mapping[str, int]


def check_events(
    events: Iterable[Mapping[str, Any]], expected: set[str], *, last: str = "sent"
) -> EventCheck:
    """Each notification's changes are all there and in order once repeats (same event_id) are dropped."""
    kept: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, str] = {}
    published = repeated = 0
    for event in events:
        if event["id"] not in expected:
            continue
        published += 1
        content = json.dumps(event, sort_keys=True)
        if event["event_id"] in seen:
            assert seen[event["event_id"]] == content, "one event_id, two contents"
            repeated += 1
            continue
        seen[event["event_id"]] = content
        kept[event["id"]].append(event["type"])
    assert kept.keys() == expected, f"{len(expected - kept.keys())} notifications without any event"
    wrong = {key: types for key, types in kept.items() if not _is_story(types, last)}
    assert not wrong, f"{len(wrong)} in the wrong order or incomplete: {list(wrong.items())[:5]}"
    return EventCheck(
        len(kept), published, repeated, Counter(type_ for types in kept.values() for type_ in types)
    )


def _is_story(types: Sequence[str], last: str) -> bool:
    between = {"requeued", "retrying", "throttled"}
    return types[0] == "accepted" and types[-1] == last and set(types[1:-1]) <= between


# --- kills ---------------------------------------------------------------------------------------


@dataclass
class Kill:
    """What a kill interrupted: texts the provider had accepted and the tables do not know as sent."""

    unsettled: Counter[str]
    started: set[str] = field(default_factory=set)


async def kill_and_look(service: Service, telegram: TelegramProcess, url: str) -> Kill:
    """SIGKILL, then count what was in flight, from the provider's journal and the tables."""
    await asyncio.to_thread(service.kill)
    await wait_until(lambda: _left_database(url), 20, "PostgreSQL has noticed the crash")
    # What was written into a socket before the kill may still be answered.
    await wait_until(_quiet(telegram), 10, "the fake has read everything")
    rows = await query(
        url,
        """SELECT n.content ->> 'body' AS body, d.status, d.started FROM delivery d
        JOIN notification n ON n.id = d.notification_id""",
    )
    sent = Counter(row["body"] for row in rows if row["status"] == "sent")
    accepted = Counter(await asyncio.to_thread(telegram.texts))
    known = {row["body"] for row in rows if row["status"] == "sending"}
    unsettled = Counter({text: 1 for text in accepted if not sent[text] and text in known})
    started = {row["body"] for row in rows if row["status"] == "sending" and row["started"]}
    return Kill(unsettled, started)


async def _left_database(url: str) -> bool:
    count = await value(
        url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE $1",
        "notifications%",
    )  # fmt: skip
    return bool(count == 0)


def _quiet(telegram: TelegramProcess) -> Callable[[], Awaitable[bool]]:
    last = -1

    async def quiet() -> bool:
        nonlocal last
        before, last = last, (await asyncio.to_thread(telegram.counts))["calls"]
        return before == last

    return quiet


async def arrived(telegram: TelegramProcess, expected: set[str], deadline: float) -> Counter[str]:
    """Wait until the provider has every text; how often it has each."""

    async def all_there() -> bool:
        counts = await asyncio.to_thread(telegram.counts)
        return bool(counts["accepted"] - counts["duplicates"] >= len(expected))

    try:
        await wait_until(all_there, deadline)
    except AssertionError:
        texts = set(await asyncio.to_thread(telegram.texts))
        missing = sorted(expected - texts)
        raise AssertionError(f"{len(missing)} of {len(expected)} did not arrive: {missing[:5]}") from None
    texts = Counter(await asyncio.to_thread(telegram.texts))
    assert texts.keys() == expected, "texts that nobody sent"
    return texts


async def settled(url: str, deadline: float = 30) -> None:
    """Wait until no delivery is queued or sending and every event has left the outbox."""
    left: dict[str, int] = {}

    async def done() -> bool:
        nonlocal left
        rows = await query(
            url,
            """SELECT status AS what, count(*) FROM delivery WHERE status IN ('queued', 'sending') GROUP BY status
            UNION ALL SELECT 'outbox', count(*) FROM outbox HAVING count(*) > 0""",
        )
        left = {row["what"]: row["count"] for row in rows}
        return not left

    try:
        await wait_until(done, deadline)
    except AssertionError:
        raise AssertionError(f"not settled and reported within {deadline:g} s: {left}") from None


def repeats(texts: Mapping[str, int]) -> int:
    return sum(count - 1 for count in texts.values())


def tell(what: str, **figures: object) -> None:
    """One line of figures, shown with `-s` and in the report of a failure."""
    print(
        f"\n  {what}: " + ", ".join(f"{name.replace('_', ' ')} {figure}" for name, figure in figures.items())
    )


class WebhookProcess:
    """The fake receiver of webhooks in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fakes.webhook"]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[1]

    @property
    def env(self) -> dict[str, str]:
        """What the service needs to use it."""
        return {"WEBHOOK_SECRET": SECRET, "WEBHOOK_DEFAULT_URL": self.url, "WEBHOOK_ALLOW_PRIVATE": "true"}

    def calls(self) -> list[dict[str, Any]]:
        """The journal: see `tests.fakes.webhook.Call`."""
        with urllib.request.urlopen(self.url.replace("/hook", "/control/journal"), timeout=10) as answer:
            calls: list[dict[str, Any]] = json.load(answer)
        return calls

    def bodies(self) -> list[str]:
        return [call["payload"]["data"]["body"] for call in self.calls() if call["accepted"]]

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        if self._process.stdout:
            self._process.stdout.close()


async def post_batch(service: Service, messages: Sequence[Message]) -> None:
    """Hand in messages over HTTP, 5,000 at a time; every one is accepted."""
    for start in range(0, len(messages), 5_000):
        batch = {"items": messages[start : start + 5_000]}
        answer = await service.acall("POST", "/v1/notifications/batch", batch, timeout=120)
        assert answer.status < 300, answer.body[:2_000]
        assert all(item["accepted"] for item in answer.json()["items"]), answer.body[:2_000]


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
