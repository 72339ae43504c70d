"""What every transport has to do, whatever broker is behind it: one list of scenarios, a rig a broker.

The service is the real one, in this process, on a real PostgreSQL; the broker is a real server.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from service.app import App, build
from service.broker_settings import KafkaSettings, RabbitSettings
from service.contract import Bounds, FieldProblem
from service.delivery.events import OutgoingEvent
from service.delivery.intake import Accepted, Refusal, Submission
from service.settings import DatabaseSettings, Settings
from service.transports import Transport, build_transports
from service.transports import arrivals as arrivals_module
from service.triggers.rules import TriggerDraft
from tests.support.waiting import wait_until

SEED = b'{"title": "Backup failed", "body": "disk full", "sender": "CONSOLE"}'

BROKEN = {
    "nothing at all": (b"", "json_invalid"),
    "half of a JSON": (b'{"title": "Backup', "json_invalid"),
    "binary junk": (bytes(range(256)) * 8, "json_invalid"),
    "UTF-16": (SEED.decode().encode("utf-16"), "json_invalid"),
    "not an object": (b'["title", "body"]', "model_type"),
    "a wrong type": (b'{"title": 5, "body": "disk full", "sender": "CONSOLE"}', "string_type"),
    "no body": (b'{"title": "Backup failed", "sender": "CONSOLE"}', "missing"),
    "a misspelt field": (
        b'{"title": "Backup failed", "bdy": "x", "body": "y", "sender": "CONSOLE"}',
        "extra_forbidden",
    ),
    "an unknown sender": (b'{"title": "Backup failed", "body": "x", "sender": "PIGEON"}', "unknown_sender"),
    "deep nesting": (b"[" * 100_000, "json_invalid"),
}


class TransportRig(ABC):
    """One broker, and a producer and a listener on it that know nothing of the service."""

    name: ClassVar[str]
    huge_bytes: ClassVar[int]
    """Size of the largest broken message; what this broker takes at most."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The groups of `Settings` that make the service use this broker."""

    @abstractmethod
    async def publish(self, *bodies: bytes) -> None:
        """Publish in order, as a producer that sets nothing but the body."""

    @abstractmethod
    async def publish_events(self, *bodies: bytes) -> None:
        """The same, to where events for triggers go."""

    @abstractmethod
    async def publish_oddly(self, body: bytes) -> None:
        """Publish four times, with headers and properties that nobody should use."""

    @abstractmethod
    async def untaken(self) -> int:
        """Messages that the service would get again if it started now; asked while it is not running."""

    @abstractmethod
    async def events(self, channel: str) -> list[bytes]:
        """Everything published on `notifications.events` or `notifications.rejected` since the rig began."""

    @abstractmethod
    async def dead_letters(self) -> list[bytes]:
        """Bodies that were put aside."""

    @abstractmethod
    def down(self) -> None: ...

    @abstractmethod
    def up(self) -> None: ...


@dataclass
class Running:
    """The service of one test."""

    app: App
    rig: TransportRig

    @property
    def transport(self) -> Transport:
        (transport,) = self.app.transports
        return transport

    async def connected(self) -> None:
        await wait_until(lambda: self.transport.ready, 60, f"{self.rig.name} is connected")

    async def rows(self, sql: str) -> list[asyncpg.Record]:
        return list(await self.app.database.pool.fetch(sql))

    async def accepted(self, count: int) -> list[asyncpg.Record]:
        """The notifications, in the order of acceptance, when there are so many."""

        async def enough() -> list[asyncpg.Record] | None:
            rows = await self.rows("SELECT * FROM notification ORDER BY id")
            return rows if len(rows) >= count else None

        rows = await wait_until(enough, 60, f"{count} notifications")
        assert len(rows) == count
        return rows

    async def rejected(self, count: int) -> list[asyncpg.Record]:
        async def enough() -> list[asyncpg.Record] | None:
            rows = await self.rows("SELECT * FROM rejection ORDER BY at, id")
            return rows if len(rows) >= count else None

        rows = await wait_until(enough, 60, f"{count} rejections")
        assert len(rows) == count
        return rows

    async def published(self, channel: str, count: int) -> list[dict[str, Any]]:
        async def enough() -> list[bytes] | None:
            found = await self.rig.events(channel)
            return found if len(found) >= count else None

        return [json.loads(body) for body in await wait_until(enough, 60, f"{count} messages on {channel}")]


@dataclass
class BuggyDoor:
    """An intake that fails on one message, as a bug would make it."""

    bounds: Bounds = field(default_factory=Bounds)
    taken: list[str] = field(default_factory=list)

    async def accept_many(
        self, submissions: Sequence[Submission], *, wait: bool = False
    ) -> list[Accepted | Refusal]:
        if any(submission.request.body == "poison" for submission in submissions):
            raise ZeroDivisionError("division by zero")
        self.taken += [submission.request.body for submission in submissions]
        return [Accepted(uuid4(), None, duplicate=False) for _ in submissions]

    async def reject(self, raw: bytes, *, source: str, problems: Sequence[FieldProblem]) -> UUID:
        raise AssertionError("nothing here is to be rejected")


async def keep_publishing(transport: Transport) -> None:
    """What the engine's relay does, without a pause."""
    while True:
        try:
            await transport.publish("events", [OutgoingEvent("sent", "load", b"{}")] * 50)
        except Exception:  # noqa: BLE001 - the broker is away
            await asyncio.sleep(0.01)


def message(body: str, **fields: object) -> bytes:
    return json.dumps({"title": "", "body": body, "sender": "CONSOLE", **fields}).encode()


def settings_of(rig: TransportRig, database_url: str) -> Settings:
    groups: dict[str, Any] = {
        "rabbit": RabbitSettings(host=None),
        "kafka": KafkaSettings(bootstrap_servers=()),
    }
    return Settings(database=DatabaseSettings(url=SecretStr(database_url)), **{**groups, **rig.settings()})


@asynccontextmanager
async def running(rig: TransportRig, database_url: str) -> AsyncIterator[Running]:
    app = build(settings_of(rig, database_url))
    await app.start()
    try:
        yield Running(app, rig)
    finally:
        await app.stop()


class TransportSuite:
    """The scenarios. A subclass has a fixture `rig`."""

    async def test_the_seeds_message_is_accepted_sent_and_reported(
        self, rig: TransportRig, database_url: str
    ) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish(SEED)
            (row,) = await service.accepted(1)
            assert row["source"].startswith(f"{rig.name}:")
            events = await service.published("events", 2)
        assert [event["type"] for event in events] == ["accepted", "sent"]
        assert {event["id"] for event in events} == {str(row["id"])}
        assert await rig.untaken() == 0

    async def test_broken_messages_are_rejections_and_good_ones_between_them_arrive(
        self, rig: TransportRig, database_url: str
    ) -> None:
        huge = b'"' + b"x" * (rig.huge_bytes - 2) + b'"'
        broken = [*(body for body, _ in BROKEN.values()), huge]
        mixed = [part for number, body in enumerate(broken) for part in (message(f"good {number}"), body)]
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish(*mixed)
            await service.accepted(len(broken))
            rejections = {row["raw"]: row for row in await service.rejected(len(broken))}
            assert set(rejections) == set(broken)
            for what, (body, code) in BROKEN.items():
                (problem, *_) = json.loads(rejections[body]["problems"])
                assert problem["code"] == code, what
                assert rejections[body]["reason"], what
            reports = await service.published("rejected", len(broken))
        assert {report["id"] for report in reports} == {str(row["id"]) for row in rejections.values()}
        assert all(report["source"].startswith(f"{rig.name}:") for report in reports)
        assert await rig.untaken() == 0
        assert await rig.dead_letters() == []

    async def test_events_fire_triggers_and_broken_ones_are_rejections(
        self, rig: TransportRig, database_url: str
    ) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            waiting = TriggerDraft.model_validate(
                {
                    "name": "paid",
                    "schedule": {"kind": "event", "event": "order.paid"},
                    "action": {"notification": {"body": "paid", "sender": "CONSOLE"}},
                }
            )
            trigger = await service.app.triggers.make(waiting)
            paid, broken = b'{"event": "order.paid", "recipient": "42"}', b'{"evnt": "order.paid"}'
            known = b'{"event": "order.paid", "id": "17"}'
            await rig.publish_events(paid, broken, known, known, paid)
            rows = await service.accepted(3)
            assert {row["source"] for row in rows} == {f"trigger:{trigger}"}
            (rejection,) = await service.rejected(1)
            await service.published("rejected", 1)
        assert rejection["source"].startswith(f"{rig.name}-events:")
        problems = {problem["field"]: problem["code"] for problem in json.loads(rejection["problems"])}
        assert problems == {"event": "missing", "evnt": "extra_forbidden"}

    async def test_odd_properties_do_not_matter(self, rig: TransportRig, database_url: str) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish_oddly(message("oddly"))
            await rig.publish(message("usual"))
            await service.accepted(5)
        assert await rig.untaken() == 0

    async def test_an_id_said_twice_is_one_notification(self, rig: TransportRig, database_url: str) -> None:
        same = message("once", id="backup-17")
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish(same, same, message("last"))
            assert {row["request_id"] for row in await service.accepted(2)} == {"backup-17", None}
            await rig.publish(message("something else", id="backup-17"))
            (row,) = await service.rejected(1)
        assert json.loads(row["problems"])[0]["code"] == "id_conflict"

    async def test_order_is_kept(self, rig: TransportRig, database_url: str) -> None:
        bodies = [f"number {number}" for number in range(200)]
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish(*(message(body) for body in bodies))
            rows = await service.accepted(len(bodies))
        assert [json.loads(row["content"])["body"] for row in rows] == bodies

    async def test_a_broker_that_is_down_at_start(self, rig: TransportRig, database_url: str) -> None:
        rig.down()
        try:
            async with running(rig, database_url) as service:
                await wait_until(lambda: service.transport.detail != "not connected yet", 30, "a reason")
                assert not service.transport.ready
                assert "guest" not in service.transport.detail
                # The engine works all the same, and its events wait.
                request = arrivals_module.parse_request(message("over HTTP"))
                assert isinstance(await service.app.intake.accept(Submission(request, "http")), Accepted)
                rig.up()
                await service.connected()
                await rig.publish(message("at last"))
                await service.accepted(2)
                events = await service.published("events", 4)
            assert sorted(event["type"] for event in events) == ["accepted", "accepted", "sent", "sent"]
        finally:
            rig.up()

    async def test_a_broker_that_goes_away_and_comes_back(self, rig: TransportRig, database_url: str) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish(message("before"))
            await service.accepted(1)
            await service.published("events", 2)
            rig.down()
            try:
                await wait_until(lambda: not service.transport.ready, 60, "it is noticed")
                request = arrivals_module.parse_request(message("meanwhile"))
                await service.app.intake.accept(Submission(request, "http"))
            finally:
                rig.up()
            await service.connected()
            await rig.publish(message("after"))
            rows = await service.accepted(3)
            events = await service.published("events", 6)
        for row in rows:
            assert [e["type"] for e in events if e["id"] == str(row["id"])] == ["accepted", "sent"]

    async def test_a_broker_that_goes_away_in_the_middle_of_work(
        self, rig: TransportRig, database_url: str
    ) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            load = asyncio.create_task(keep_publishing(service.transport))
            await rig.publish(*(message(f"number {number}", id=str(number)) for number in range(500)))
            await wait_until(lambda: service.rows("SELECT 1 FROM notification LIMIT 1"), 30, "the first")
            rig.down()
            try:
                await wait_until(lambda: not service.transport.ready, 60, "it is noticed")
            finally:
                rig.up()
            await service.connected()
            await service.accepted(500)
            assert not load.done(), "the loss looked like an order to stop"
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
        assert await rig.untaken() == 0

    async def test_nothing_is_acknowledged_before_its_commit(
        self, rig: TransportRig, database_url: str
    ) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            blocker = await asyncpg.connect(database_url)
            try:
                async with blocker.transaction():
                    await blocker.execute("LOCK TABLE notification IN ACCESS EXCLUSIVE MODE")
                    await rig.publish(message("waits"))
                    await wait_until(lambda: service.app.engine.ledger.waiting_entries, 30, "it has arrived")
                    # Cut the connection while the commit is under way.
                    await service.transport.close()
                    assert await rig.untaken() == 1
            finally:
                await blocker.close()
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish(message("and one more"))
            rows = await service.accepted(2)
        assert [json.loads(row["content"])["body"] for row in rows] == ["waits", "and one more"]
        assert await rig.untaken() == 0

    async def test_a_stop_finishes_what_is_under_way(self, rig: TransportRig, database_url: str) -> None:
        bodies = [message(f"number {number}") for number in range(300)]
        async with running(rig, database_url) as service:
            await service.connected()
            await rig.publish(*bodies)
            await wait_until(lambda: service.rows("SELECT 1 FROM notification LIMIT 1"), 30, "the first")
        taken = 300 - await rig.untaken()
        async with running(rig, database_url) as service:
            await service.connected()
            await service.accepted(300)
        assert taken > 0
        assert await rig.untaken() == 0

    async def test_events_are_published_in_their_order(self, rig: TransportRig, database_url: str) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            sent = [OutgoingEvent("sent", "one subject", b'{"n": %d}' % number) for number in range(2500)]
            await service.transport.publish("events", sent)
            found = await service.published("events", len(sent))
        assert [event["n"] for event in found] == list(range(len(sent)))

    async def test_a_message_that_breaks_the_engine_is_put_aside(
        self, rig: TransportRig, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(arrivals_module, "INSIST_PAUSES_SECONDS", (0.0, 0.0))
        door = BuggyDoor()
        (transport,) = build_transports(settings_of(rig, database_url), door)
        run = asyncio.create_task(transport.run())
        try:
            await wait_until(lambda: transport.ready, 60, "it is connected")
            await rig.publish(message("good"), message("poison"), message("better"))
            await wait_until(rig.dead_letters, 30, "a dead letter")
            await wait_until(lambda: len(door.taken) == 2, 30, "the others")
        finally:
            await transport.stop_intake()
            await transport.close()
            await run
        assert await rig.dead_letters() == [message("poison")]
        assert sorted(door.taken) == ["better", "good"]
        assert await rig.untaken() == 0
