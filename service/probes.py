"""How each part of a process is asked whether it works."""

from collections.abc import Sequence
from typing import Protocol

from service.bot.role import BotRole
from service.db.database import Database
from service.delivery.engine import Engine
from service.health import Health, PartHealth, Probe
from service.transports import Transport

STARTING = "it is starting; its messages wait"


class HasProblem(Protocol):
    """Something that says what is wrong with it; empty: nothing."""

    @property
    def problem(self) -> str: ...


def register_probes(
    health: Health,
    database: Database,
    engine: Engine,
    *,
    transports: Sequence[Transport],
    clock: HasProblem | None,
    bot: BotRole | None,
) -> None:
    """Add every part of a process; without the database it cannot work at all."""
    health.register("database", _database_probe(database, engine), required=True)
    for transport in transports:
        health.register(transport.name, _transport_probe(transport), required=False)
    if clock is not None:
        health.register("triggers", _clock_probe(clock), required=False)
    if bot is not None:
        health.register("bot", bot.health, required=False)
    for name in engine.senders:
        health.register(f"sender {name}", _sender_probe(engine, name), required=False)


def _database_probe(database: Database, engine: Engine) -> Probe:
    async def probe() -> PartHealth:
        await database.ping()
        outage = engine.ledger.outage
        return PartHealth("down", outage) if outage else PartHealth("ok")

    return probe


def _transport_probe(transport: Transport) -> Probe:
    async def probe() -> PartHealth:
        return PartHealth("ok" if transport.ready else "degraded", transport.detail)

    return probe


def _clock_probe(clock: HasProblem) -> Probe:
    async def probe() -> PartHealth:
        return PartHealth("degraded" if clock.problem else "ok", clock.problem)

    return probe


def _sender_probe(engine: Engine, name: str) -> Probe:
    async def probe() -> PartHealth:
        status = engine.states.all().get(name)
        if status is not None:
            return PartHealth("degraded", f"{status.state}: {status.reason}")
        dispatcher = engine.dispatchers.get(name)
        if dispatcher is not None and not dispatcher.started:
            return PartHealth("degraded", STARTING)
        if dispatcher is not None and dispatcher.sick:
            return PartHealth("degraded", "the provider does not answer properly; it is being probed")
        return PartHealth("ok")

    return probe
