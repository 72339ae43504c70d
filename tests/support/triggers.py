"""Triggers in this process, by a clock that a test sets."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry

from service.contract import DomainEvent
from service.db.database import Database
from service.delivery.engine import Engine
from service.delivery.planning import Defaults, Planner
from service.mailings.store import Mailings
from service.senders.base import BaseSender
from service.settings import TriggerSettings
from service.triggers.events import Arrived, Events, Taken
from service.triggers.firing import Firing, Moment
from service.triggers.making import Maker
from service.triggers.metrics import TriggerMetrics
from service.triggers.rules import TriggerDraft
from service.triggers.store import Triggers
from service.triggers.upkeep import Upkeep

START = datetime(2027, 1, 1, tzinfo=UTC)


class TriggerBench:
    """The parts of triggers over an engine; `now` is what their clock shows."""

    def __init__(
        self,
        engine: Engine,
        database: Database,
        *,
        now: datetime = START,
        senders: Mapping[str, BaseSender],
        default_zone: str = "UTC",
        **settings: Any,
    ) -> None:
        self.now = now
        self.database = database
        chosen = TriggerSettings(**{"retry_delays_seconds": (60.0,), **settings})
        self.settings = chosen
        planner = Planner(senders, Defaults(zone=default_zone))
        mailings = Mailings(database, planner, engine.intake.bounds)
        self.registry = CollectorRegistry()
        self.maker = Maker(
            engine.intake,
            retry_delays=chosen.retry_delays_seconds,
            make_mailing=mailings.make,
            default_zone=default_zone,
            random=Random(1),
            metrics=TriggerMetrics(self.registry),
        )
        self.firing = Firing(database, self.maker, chosen, random=Random(1), clock=self.clock)
        self.events = Events(database, self.maker, clock=self.clock)
        self.triggers = Triggers(
            database,
            default_zone=default_zone,
            due_at=self.firing.due_at,
            clock=self.clock,
        )
        self.upkeep = Upkeep(database, self.triggers, chosen, clock=self.clock)

    def clock(self) -> datetime:
        return self.now

    async def make(self, schedule: dict[str, Any], name: str = "one", **fields: Any) -> Any:
        action = fields.pop("action", {"notification": {"body": name, "sender": "TG"}})
        draft = TriggerDraft.model_validate({"name": name, "schedule": schedule, "action": action, **fields})
        return await self.triggers.make(draft)

    async def happen(self, event: str, **fields: Any) -> Taken:
        (taken,) = await self.events.accept_many([Arrived(DomainEvent(event=event, **fields))])
        return taken

    async def due(self) -> list[Moment]:
        """What is due now."""
        return [(one.id, one.due_at) for one in await self.firing.soon() if one.due_at <= self.now]

    async def tick(self) -> None:
        """Fire everything that is due now."""
        while due := await self.due():
            await self.firing.fire_batch(due)

    async def pass_time(self, **duration: float) -> None:
        """Let the clock go on, and fire each thing when it is due."""
        end = self.now + timedelta(**duration)
        while (following := await self._next()) is not None and following <= end:
            self.now = max(self.now, following)
            await self.tick()
        self.now = end

    async def jump(self, **duration: float) -> None:
        """Let the clock go on as while nothing runs, and fire then."""
        self.now += timedelta(**duration)
        await self.tick()

    async def _next(self) -> datetime | None:
        found: datetime | None = await self.database.pool.fetchval(
            "SELECT min(due_at) FROM trigger_due WHERE NOT held"
        )
        return found

    async def runs(self, trigger_id: Any) -> list[Any]:
        """The oldest first."""
        page = await self.triggers.runs(trigger_id, None, 10_000)
        return list(page.rows)[::-1]

    async def made_at(self, trigger_id: Any) -> list[datetime]:
        return [run["occurrence"] for run in await self.runs(trigger_id) if run["outcome"] == "made"]

    async def state(self, trigger_id: Any) -> str:
        row = await self.triggers.get(trigger_id)
        assert row is not None
        return str(row["state"])

    async def notifications(self, trigger_id: Any) -> int:
        return int(
            await self.database.pool.fetchval(
                "SELECT count(*) FROM notification WHERE source = $1", f"trigger:{trigger_id}"
            )
        )
