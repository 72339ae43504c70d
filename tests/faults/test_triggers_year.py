"""Triggers of all kinds over a simulated year: exactly the firings that a reference computes, which shares no code.

The reference walks through every minute of the time with what the clocks on the walls of three zones show, and
through every event that happens; the service fires by its own functions on a real PostgreSQL.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from service.contract import DomainEvent
from service.db.database import Database
from service.settings import DeliverySettings
from service.triggers.events import Arrived
from tests.engine.conftest import ScriptedSender
from tests.faults.support import FULL, FULL_TIMEOUT, size
from tests.support.engines import make_engine
from tests.support.triggers import TriggerBench
from tests.unit.test_cron import shows

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney")
DEFAULT_ZONE = ZONES[0]
TRIGGERS = size(20, 200)
# All three zones change their clocks in the small span, too: on March 14 and 28 and April 4.
START = datetime(2027, 1, 1, tzinfo=UTC) if FULL else datetime(2027, 3, 8, tzinfo=UTC)
END = START + timedelta(days=size(30, 365))
MINUTE = timedelta(minutes=1)
Fired = tuple[str, str, datetime]
"""A trigger's name, the zone whose clock it goes by, the moment."""


class Walls:
    """For one zone: what the clock shows for the first time in each minute of the year, and what it leaves out."""

    def __init__(self, zone: str) -> None:
        self.minutes: list[tuple[datetime, list[datetime]]] = []
        place, moment = ZoneInfo(zone), START - timedelta(days=1)
        last = furthest = moment.astimezone(place).replace(tzinfo=None)
        while moment < END:
            moment += MINUTE
            wall = moment.astimezone(place).replace(tzinfo=None)
            passed = [last + MINUTE * n for n in range(1, int((wall - last) / MINUTE) + 1)] or [wall]
            if moment > START:
                self.minutes.append((moment, [clock for clock in passed if clock > furthest]))
            last, furthest = wall, max(furthest, wall)

    def cron(self, expression: str) -> Iterator[datetime]:
        minute = expression.split(maxsplit=1)[0]
        fixed = int(minute) if minute.isdigit() else None
        for moment, clocks in self.minutes:
            if any((fixed is None or clock.minute == fixed) and shows(expression, clock) for clock in clocks):
                yield moment


@dataclass
class World:
    """Rules as JSON, and when each of them has to fire."""

    random: Random
    walls: dict[str, Walls] = field(default_factory=lambda: {zone: Walls(zone) for zone in (*ZONES, "UTC")})
    drafts: dict[str, dict[str, Any]] = field(default_factory=dict)
    happenings: list[tuple[datetime, DomainEvent]] = field(default_factory=list)
    expected: "Counter[Fired]" = field(default_factory=Counter)

    def build(self) -> None:
        self._happen()
        kinds = (self._once, self._interval, self._cron, self._cron, self._cron, self._event, self._delayed)
        for number in range(TRIGGERS - TRIGGERS // 20):
            kinds[number % len(kinds)](f"{number}")
        for number in range(TRIGGERS // 20):
            self._recipient_cron(f"everyone {number}")

    def _moment(self) -> datetime:
        return START + timedelta(seconds=self.random.randrange(int((END - START).total_seconds())))

    def _limits(self, draft: dict[str, Any], moments: list[datetime]) -> list[datetime]:
        """Sometimes a start, an end, or most runs; what is left of the moments."""
        choice = self.random.randrange(6)
        if choice == 0:
            start, end = sorted((self._moment(), self._moment()))
            draft |= {"start_at": start.isoformat(), "end_at": end.isoformat()}
            return [moment for moment in moments if start <= moment <= end]
        if choice == 1:
            draft["max_runs"] = self.random.randrange(1, 10)
            return moments[: draft["max_runs"]]
        if choice == 2:
            draft["jitter_seconds"] = 40
        return moments

    def _add(self, name: str, draft: dict[str, Any], moments: list[datetime], zone: str = "") -> None:
        self.drafts[name] = draft
        self.expected.update((name, zone, moment) for moment in moments)

    def _once(self, name: str) -> None:
        at = self._moment()
        self._add(name, {"schedule": {"kind": "once", "at": at.isoformat()}}, [at])

    def _interval(self, name: str) -> None:
        every = self.random.randrange(3_600, 300_000)
        draft = {"schedule": {"kind": "interval", "every_seconds": every}}
        start = self._moment() if self.random.randrange(2) else None
        moment = start or START + timedelta(seconds=every)
        if start is not None:
            draft["start_at"] = start.isoformat()
        moments = []
        while moment <= END:
            moments.append(moment)
            moment += timedelta(seconds=every)
        self._add(name, draft, moments)

    def _expression(self) -> str:
        pick = self.random.choice
        minute, hour = self.random.randrange(60), self.random.randrange(24)
        return pick(
            [
                f"{minute} {hour} * * *",
                f"{minute} {self.random.randrange(4)} * * *",
                f"{minute} 1-3 * * SUN",
                f"*/20 2 * * {pick(['SUN', '6,7', 'MON-FRI'])}",
                f"{minute} {hour} {self.random.randrange(1, 29)} * FRI",
                f"{minute} {hour} */3 JAN-APR,OCT *",
                f"{minute} */6 1,15 * *",
            ]
        )

    def _cron(self, name: str) -> None:
        zone, expression = self.random.choice(list(self.walls)), self._expression()
        draft: dict[str, Any] = {"schedule": {"kind": "cron", "expression": expression, "zone": zone}}
        moments = list(self.walls[zone].cron(expression))
        self._add(name, draft, self._limits(draft, moments))

    def _recipient_cron(self, name: str) -> None:
        expression = f"{self.random.randrange(60)} {self.random.randrange(4)} * * SUN"
        mailing = {"name": name, "content": {"body": name, "sender": "TG"}, "audience": {"everyone": True}}
        draft = {
            "schedule": {"kind": "recipient-cron", "expression": expression},
            "action": {"mailing": mailing},
        }
        for zone in ZONES:
            self._add(name, draft, list(self.walls[zone].cron(expression)), zone)

    def _happen(self) -> None:
        for number in range(size(60, 700)):
            data = {"order": number // 2, "total": self.random.randrange(100)}
            event = self.random.choice(["order.created", "order.paid"])
            self.happenings.append((self._moment(), DomainEvent(event=event, data=data)))
        self.happenings.sort(key=lambda one: one[0])

    def _event(self, name: str) -> None:
        least = self.random.randrange(100)
        draft = {
            "schedule": {
                "kind": "event",
                "event": "order.paid",
                "conditions": [{"path": "data.total", "op": "ge", "value": least}],
            }
        }
        moments = [
            at
            for at, event in self.happenings
            if event.event == "order.paid" and event.data["total"] >= least
        ]
        self._add(name, draft, self._limits(draft, moments) if self.random.randrange(2) else moments)
        draft.pop("jitter_seconds", None)

    def _delayed(self, name: str) -> None:
        delay = timedelta(seconds=self.random.randrange(60, 2_000_000))
        draft = {
            "schedule": {
                "kind": "event",
                "event": "order.created",
                "delay_seconds": delay.total_seconds(),
                "cancel": {"event": "order.paid", "by": ["data.order"]},
            }
        }
        moments = []
        for at, event in self.happenings:
            if event.event != "order.created" or at + delay > END:
                continue
            paid = [
                when
                for when, other in self.happenings
                if other.event == "order.paid" and other.data["order"] == event.data["order"]
            ]
            if bisect_right(paid, at + delay) == bisect_right(paid, at):
                moments.append(at)
        self._add(name, draft, moments)


@pytest.mark.timeout(FULL_TIMEOUT)
async def test_a_year_of_triggers_fires_exactly_as_the_reference_says(database_url: str) -> None:
    world = World(Random(7))
    world.build()
    sender = ScriptedSender()
    database = Database(database_url)
    await database.open()
    engine = make_engine(database, {"TG": sender}, DeliverySettings(), works=False)
    bench = TriggerBench(
        engine, database, senders={"TG": sender}, now=START, default_zone=DEFAULT_ZONE, ahead_rows=1_000
    )
    for number, zone in enumerate((None, *ZONES[1:])):
        await database.pool.execute(
            """INSERT INTO recipient (external_id, zone, attributes, muted, created_at, updated_at)
            VALUES ($1, $2, '{}', false, now(), now())""",
            str(number),
            zone,
        )
    names = {await bench.make(name=name, **draft): name for name, draft in world.drafts.items()}
    for at, event in world.happenings:
        await bench.pass_time(seconds=(at - bench.now).total_seconds())
        await bench.events.accept_many([Arrived(event)])
    await bench.pass_time(seconds=(END - bench.now).total_seconds())

    rows = await database.pool.fetch("SELECT trigger_id, zone, occurrence, outcome, error FROM trigger_run")
    assert {row["outcome"] for row in rows} == {"made"}, [row for row in rows if row["outcome"] != "made"][:3]
    fired = Counter((names[row["trigger_id"]], row["zone"], row["occurrence"]) for row in rows)
    await database.close()
    assert list((fired - world.expected).items())[:5] == []
    assert list((world.expected - fired).items())[:5] == []
    notifications, mailings = await _made(database_url)
    by_mailing = sum(count for (name, _, _), count in fired.items() if name.startswith("everyone"))
    assert (notifications, mailings) == (sum(fired.values()) - by_mailing, by_mailing)
    print(f"{len(names)} triggers, {sum(fired.values())} firings over {(END - START).days} days")


async def _made(database_url: str) -> tuple[int, int]:
    from tests.faults.support import value

    return await asyncio.gather(
        value(database_url, "SELECT count(*) FROM notification"),
        value(database_url, "SELECT count(*) FROM mailing"),
    )
