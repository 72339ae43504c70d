"""The engine in this process, on a real PostgreSQL, with a sender that does what a test tells it."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.content.rendering import Renderer
from service.contract import parse_request
from service.db.database import Database
from service.delivery.engine import Engine
from service.delivery.events import Channel, OutgoingEvent
from service.delivery.intake import Accepted, Submission
from service.delivery.planning import Defaults
from service.senders.base import BaseSender, Capabilities, Limits, Message, Outcome, Sent
from service.settings import DeliverySettings, TemplateSettings
from tests.support.engines import make_engine
from tests.support.waiting import wait_until


@dataclass
class Call:
    address: str
    body: str
    at: float
    attempt: int
    parts_done: tuple[str, ...]


class ScriptedSender(BaseSender):
    """Answers `Sent`, or for a body what was queued for it; keeps every call."""

    default_address = "default"

    def __init__(
        self,
        name: str = "TG",
        *,
        rate: float | None = None,
        spacing: float = 0.0,
        concurrency: int | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.name = name  # type: ignore[misc]
        self.limits = Limits(rate=rate, concurrency=concurrency)
        self.capabilities = capabilities or Capabilities()  # type: ignore[misc]
        self.spacing = spacing
        self.script: dict[str, deque[Outcome]] = {}
        self.calls: list[Call] = []
        self.messages: list[Message] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def answer(self, body: str, *outcomes: Outcome) -> None:
        """The next calls with that body get these outcomes; later ones succeed."""
        self.script[body] = deque(outcomes)

    def address_spacing(self, address: str) -> float:
        return self.spacing

    async def send(self, message: Message) -> Outcome:
        self.calls.append(
            Call(message.address, message.body, time.monotonic(), message.attempt, message.parts_done)
        )
        self.messages.append(message)
        await self.gate.wait()
        outcomes = self.script.get(message.body)
        return outcomes.popleft() if outcomes else Sent(parts=(f"m{len(self.calls)}",))

    @property
    def bodies(self) -> list[str]:
        return [call.body for call in self.calls]


@dataclass
class RecordingPublisher:
    """A broker in memory that may refuse."""

    name: str = "rabbit"
    ready: bool = True
    refusals: int = 0
    published: list[dict[str, Any]] = field(default_factory=list)

    async def publish(self, channel: Channel, events: Sequence[OutgoingEvent]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("the broker went away")
        self.published += [json.loads(event.body) for event in events]

    def types(self, notification_id: object) -> list[str]:
        return [event["type"] for event in self.published if event.get("id") == str(notification_id)]


class Bench:
    """An engine and everything a test asks of it."""

    def __init__(self, engine: Engine, database: Database, publisher: RecordingPublisher) -> None:
        self.engine = engine
        self.database = database
        self.publisher = publisher

    def submission(self, body: str, *, dedup_key: str | None = None, **fields: Any) -> Submission:
        request = {"title": "t", "body": body, "sender": "TG", **fields}
        return Submission(parse_request(json.dumps(request)), "test", dedup_key)

    async def accept(self, body: str, **fields: Any) -> Accepted:
        answer = await self.engine.intake.accept(self.submission(body, **fields))
        assert isinstance(answer, Accepted), answer
        return answer

    async def accept_all(self, bodies: Sequence[str], **fields: Any) -> list[Accepted]:
        answers = await self.engine.intake.accept_many([self.submission(body, **fields) for body in bodies])
        accepted = [answer for answer in answers if isinstance(answer, Accepted)]
        assert len(accepted) == len(bodies), answers
        return accepted

    async def statuses(self, notification: Accepted) -> list[str]:
        rows = await self.database.pool.fetch(
            "SELECT status FROM delivery WHERE notification_id = $1 ORDER BY position", notification.id
        )
        return [row["status"] for row in rows]

    async def until(self, notification: Accepted, *statuses: str, deadline: float = 15) -> None:
        async def reached() -> bool:
            return await self.statuses(notification) == list(statuses)

        await wait_until(reached, deadline, f"deliveries are {statuses}")

    async def log(self, notification: Accepted) -> list[str]:
        rows = await self.database.pool.fetch(
            """SELECT l.event FROM delivery_log l JOIN delivery d ON d.id = l.delivery_id
            WHERE d.notification_id = $1 ORDER BY l.id""",
            notification.id,
        )
        return [row["event"] for row in rows]


FAST = {
    "poll_seconds": 0.2,
    "housekeeping_seconds": 0.1,
    "lease_seconds": 6.0,
    "send_timeout_seconds": 2.0,
    "retry_delays_seconds": (0.05, 0.1),
    "drain_timeout_seconds": 3.0,
}
StartBench = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def start_bench(database_url: str) -> AsyncIterator[StartBench]:
    """`start_bench(sender, …, lease_seconds=…)`; several are replicas on one database."""
    benches: list[Bench] = []

    renderers: list[Renderer] = []

    async def start(
        *senders: BaseSender, works: bool = True, defaults: Defaults | None = None, **settings: Any
    ) -> Bench:
        database = Database(database_url)
        await database.open()
        table: Mapping[str, BaseSender] = {sender.name: sender for sender in senders}
        publisher = RecordingPublisher()
        renderer = Renderer(TemplateSettings())
        await renderer.start()
        engine = make_engine(
            database,
            table,
            DeliverySettings(**{**FAST, **settings}),
            works=works,
            defaults=defaults,
            renderer=renderer,
        )
        renderers.append(renderer)
        await engine.start([publisher])
        bench = Bench(engine, database, publisher)
        benches.append(bench)
        return bench

    yield start
    for bench in benches:
        await bench.engine.stop()
        await bench.database.close()
    for renderer in renderers:
        await renderer.close()
