"""PostgreSQL goes away, is full, or takes no more connections: callers are told, brokers keep, nothing is lost."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.conftest import StartService
from tests.faults.conftest import StartPostgres
from tests.faults.support import (
    FULL,
    FULL_TIMEOUT,
    QUICK,
    UNPACED,
    CrashablePostgres,
    Stopwatch,
    arrived,
    drained,
    execute,
    publish_kafka,
    publish_rabbit,
    queue_depth,
    recorded_events,
    repeats,
    settled,
    size,
    tell,
)
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.postgres import run_apart
from tests.support.service import ROOT, Service
from tests.support.telegram import TelegramProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(FULL_TIMEOUT)]

AWAY_SECONDS = size(5, 30)
PREFETCH = 20
THROUGH_BROKERS = 60
PARTITIONS = 4


@dataclass
class Posted:
    """What callers of `POST /v1/notifications` were told."""

    accepted: set[str] = field(default_factory=set)
    refused: list[dict[str, str]] = field(default_factory=list)
    others: list[tuple[int, bytes]] = field(default_factory=list)
    slowest_seconds: float = 0.0


@asynccontextmanager
async def _posting(service: Service, callers: int = 4) -> AsyncIterator[Posted]:
    """Load over HTTP for as long as the block runs; a caller repeats what was refused, under the same id."""
    posted, stop = Posted(), asyncio.Event()

    async def call(name: str) -> None:
        number = 0
        while not stop.is_set():
            began = time.monotonic()
            body = {"id": f"{name}-{number}", "body": f"http {name} {number}", "sender": "TG"}
            answer = await service.acall("POST", "/v1/notifications", {**body, "to": f"9{name}"})
            posted.slowest_seconds = max(posted.slowest_seconds, time.monotonic() - began)
            if answer.status in (HTTPStatus.ACCEPTED, HTTPStatus.OK):
                posted.accepted.add(body["body"])
                number += 1
            elif answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                posted.refused.append(dict(answer.headers))
            else:
                posted.others.append((answer.status, answer.body))
                number += 1
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(call(str(caller))) for caller in range(1, callers + 1)]
    try:
        yield posted
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _ride_through(
    scene: "Scene", outage: AbstractContextManager[None], what: str, *, total: bool = True
) -> None:
    """Load before, during and after the outage; a `total` one lets nothing at all be stored."""
    service, pid, watch = scene.service, scene.service.pid, Stopwatch()
    through = {
        way: [{"body": f"{way} {n}", "sender": "TG", "to": str(100 + n % 7)} for n in range(THROUGH_BROKERS)]
        for way in ("rabbit", "kafka")
    }
    async with _posting(service) as posted:
        await wait_until(lambda: len(posted.accepted) >= 20, 20, "HTTP takes messages")
        with outage:
            watch = Stopwatch()
            await publish_rabbit(
                scene.rabbit.url, scene.name, [(body, str(uuid4())) for body in through["rabbit"]]
            )
            await publish_kafka(scene.kafka.bootstrap, scene.name, through["kafka"])
            await wait_until(lambda: posted.refused, 20, "HTTP answers 503")
            if total:
                await wait_until(lambda: _ready_is(service, HTTPStatus.SERVICE_UNAVAILABLE), 15, "not ready")
                await wait_until(lambda: _kept(scene), 10, "RabbitMQ keeps its messages")
            while watch.seconds < AWAY_SECONDS:
                assert not total or await _kept(scene), "a message was acknowledged"
                await asyncio.sleep(0.5)
            acknowledged = await asyncio.to_thread(_committed, scene.kafka.bootstrap, scene.name)
            assert not total or acknowledged == 0
        lasted, watch, known = watch.seconds, Stopwatch(), len(posted.accepted)
        await wait_until(lambda: len(posted.accepted) >= known + 20, 30, "HTTP takes messages again")
        resumed = watch.seconds
        await wait_until(lambda: _ready_is(service, HTTPStatus.OK), 20, "ready again")
    expected = {body["body"] for bodies in through.values() for body in bodies} | posted.accepted
    texts = await arrived(scene.telegram, expected, 40)
    await settled(scene.postgres.url)
    tell(
        f"PostgreSQL: {what}", seconds=round(lasted), posted=len(posted.accepted), answered_503=len(posted.refused),
        slowest_answer_seconds=round(posted.slowest_seconds, 1), resumed_after_seconds=round(resumed, 1),
        through_brokers=2 * THROUGH_BROKERS, arrived_twice=repeats(texts),
    )  # fmt: skip
    assert (service.running, service.pid) == (True, pid)
    assert not posted.others
    assert all(int(headers["retry-after"]) >= 1 for headers in posted.refused)
    assert repeats(texts) == 0


async def _kept(scene: "Scene") -> bool:
    """RabbitMQ has everything but what is in the service's hands."""
    return await queue_depth(scene.rabbit.url, scene.name) == THROUGH_BROKERS - PREFETCH


async def _ready_is(service: Service, status: HTTPStatus) -> bool:
    return (await service.acall("GET", "/health/ready", key=None)).status == status


def _committed(bootstrap: str, group: str) -> int:
    """Records of the topic that the group has acknowledged."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        partitions = [TopicPartition(group, number) for number in range(PARTITIONS)]
        return sum(max(0, place.offset) for place in consumer.committed(partitions, timeout=10))
    finally:
        consumer.close()


@dataclass
class Scene:
    """The service with everything around it, whose PostgreSQL is about to be of no use."""

    service: Service
    postgres: CrashablePostgres
    telegram: TelegramProcess
    rabbit: RabbitNode
    kafka: KafkaMock
    name: str


StartScene = Callable[..., Awaitable[Scene]]


@pytest.fixture
def start_scene(
    rabbit_node: RabbitNode,
    kafka_mock: KafkaMock,
    start_postgres: StartPostgres,  # set up before the service, so that it ends after it
    telegram: TelegramProcess,
    start_service: StartService,
) -> StartScene:
    """The service on that PostgreSQL, when its brokers are connected."""

    async def start(postgres: CrashablePostgres, env: Mapping[str, str] = MappingProxyType({})) -> Scene:
        name = f"outage-{uuid4()}"
        kafka_mock.create_topic(name, PARTITIONS)
        own = {
            "DATABASE_URL": postgres.url,
            "DELIVERY_INTAKE_TIMEOUT_SECONDS": "2",
            "DELIVERY_LEASE_SECONDS": "60",
            "RABBITMQ_QUEUE_NAME": name,
            "RABBITMQ_PREFETCH": str(PREFETCH),
            "KAFKA_TOPIC": name,
            "KAFKA_GROUP_ID": name,
        }
        whole = {**QUICK, **UNPACED, **rabbit_node.env, **kafka_mock.env, **telegram.env, **own, **env}
        service = await asyncio.to_thread(start_service, whole)
        await wait_until(lambda: _brokers_ready(service), 40, "the brokers are connected")
        return Scene(service, postgres, telegram, rabbit_node, kafka_mock, name)

    return start


async def _brokers_ready(service: Service) -> bool:
    parts = (await service.acall("GET", "/health/ready", key=None)).json()["parts"]
    return all(parts[name]["status"] == "ok" for name in ("rabbit", "kafka"))


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"] if FULL else ["killed", "frozen"])
async def test_postgresql_is_away(
    how: str, crashable_postgres: CrashablePostgres, start_scene: StartScene
) -> None:
    scene = await start_scene(crashable_postgres)
    ways = {"stopped": _stopped, "killed": _killed, "frozen": _frozen}
    await _ride_through(scene, ways[how](crashable_postgres), how)


@contextmanager
def _stopped(postgres: CrashablePostgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def _killed(postgres: CrashablePostgres) -> Iterator[None]:
    postgres.kill()
    try:
        yield
    finally:
        postgres.start()


@contextmanager
def _frozen(postgres: CrashablePostgres) -> Iterator[None]:
    pids = postgres.pids()
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def test_postgresql_restarts_again_and_again(
    crashable_postgres: CrashablePostgres, start_scene: StartScene
) -> None:
    """Whatever the service is doing when its connections break, all its parts go on afterwards."""
    # So that every part is in the middle of a statement now and then.
    busy = {
        "DELIVERY_HOUSEKEEPING_SECONDS": "0.01",
        "DELIVERY_POLL_SECONDS": "0.01",
        "RABBITMQ_PREFETCH": "500",
    }
    scene = await start_scene(crashable_postgres, busy)
    turns = size(4, 40)
    async with recorded_events(scene.rabbit.url, f"events-{scene.name}") as events:
        async with _posting(scene.service, 2) as posted:
            for turn in range(turns):
                known = len(posted.accepted)
                await wait_until(
                    lambda known=known: len(posted.accepted) > known + 5, 20, "HTTP takes messages"
                )
                with _killed(crashable_postgres) if turn % 2 else _stopped(crashable_postgres):
                    pass
            known = len(posted.accepted)
            await wait_until(lambda: len(posted.accepted) > known + 5, 20, "HTTP takes messages")
        # Dispatch, settlement, the clock and the relay: sent, expired and reported.
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat().replace("+00:00", "Z")
        late = {"body": "late", "sender": "TG", "send_at": "2999-01-01T00:00:00Z", "expires_at": soon}
        answer = await scene.service.acall("POST", "/v1/notifications", late)
        assert answer.status == HTTPStatus.ACCEPTED, answer.body
        texts = await arrived(scene.telegram, posted.accepted, 30)
        await settled(scene.postgres.url)
        types = {event["type"] for event in await drained(scene.rabbit.url, events)}
    tell("PostgreSQL restarts", turns=turns, messages=len(texts), arrived_twice=repeats(texts))
    assert {"accepted", "sent", "expired"} <= types
    assert repeats(texts) == 0


async def test_no_connection_is_left(start_postgres: StartPostgres, start_scene: StartScene) -> None:
    """The service loses its connections, and others have taken all there are."""
    postgres = start_postgres({"max_connections": "25", "superuser_reserved_connections": "0"})
    scene = await start_scene(postgres)
    await _ride_through(scene, _crowded(postgres.url), "no connection left")


@contextmanager
def _crowded(url: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.faults.crowd", url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == "taken\n"
        try:
            yield
        finally:
            crowd.kill()


async def test_the_disk_is_full(start_postgres: StartPostgres, start_scene: StartScene) -> None:
    """PostgreSQL's disk is filled by somebody else and freed again; what fits into half-empty pages is still stored."""
    with _small_disk() as folder:
        postgres = start_postgres({"max_wal_size": "48MB", "min_wal_size": "32MB"}, folder)
        scene = await start_scene(postgres)
        try:
            await _ride_through(scene, _full(postgres, folder), "disk full", total=False)
        finally:
            # Before the disk goes.
            await asyncio.to_thread(scene.service.close)
            postgres.stop()


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    """A file system of 200 MB, where this user may mount one; None where not."""
    with tempfile.TemporaryDirectory(prefix="notifications-disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def _full(postgres: CrashablePostgres, folder: Path | None) -> Iterator[None]:
    if folder is None:
        with _refusing(postgres.url):
            yield
        return
    ballast = folder / "ballast"
    _fill(ballast)
    try:
        yield
    finally:
        ballast.unlink()


def _fill(ballast: Path) -> None:
    """Take all the space there is."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4_096):
            pass


@contextmanager
def _refusing(url: str) -> Iterator[None]:
    """Where no disk can be filled, PostgreSQL says what it would say."""
    raising = """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON delivery EXECUTE FUNCTION full_disk()"""
    run_apart(execute(url, raising))
    try:
        yield
    finally:
        run_apart(execute(url, "DROP TRIGGER full_disk ON delivery"))
