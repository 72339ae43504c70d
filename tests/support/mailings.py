"""Mailings in this process, beside an engine on the same database."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import CollectorRegistry

from service.contract import DEFAULT_BOUNDS
from service.db.database import Database
from service.delivery.engine import Engine
from service.delivery.planning import Defaults, Planner
from service.mailings.drafts import parse_draft
from service.mailings.metrics import MailingMetrics
from service.mailings.retiring import Retiring
from service.mailings.runner import Runner
from service.mailings.store import Mailings
from service.mailings.tally import Tally
from service.senders.base import BaseSender
from service.settings import MailingSettings
from service.triggers.store import lists_in_use
from tests.support.waiting import wait_until


class MailingBench:
    """Mailings, and a runner of them, over an engine."""

    def __init__(
        self,
        engine: Engine,
        database: Database,
        senders: Mapping[str, BaseSender],
        *,
        defaults: Defaults | None = None,
        retention_days: float = 30.0,
        **settings: Any,
    ) -> None:
        self.planner = Planner(senders, defaults or Defaults())
        self.database = database
        self.mailings = Mailings(database, self.planner, DEFAULT_BOUNDS)
        self.retiring = Retiring(database, retention_days=retention_days, lists_in_use=lists_in_use)
        self.registry = CollectorRegistry()
        self.runner = Runner(
            database,
            self.planner,
            engine.wakeups,
            settings=MailingSettings(**settings),
            transports=["rabbit"],
            look=engine.look,
            retiring=self.retiring,
            metrics=MailingMetrics(self.registry),
        )

    async def write_down(self, **fields: Any) -> UUID:
        """A draft to everyone, unless told otherwise."""
        draft = {"name": "m", "content": {"body": "hello", "sender": "TG"}, "audience": {"everyone": True}}
        return await self.mailings.write_down(parse_draft({**draft, **fields}), "test")

    async def start(self, **fields: Any) -> UUID:
        mailing_id = await self.write_down(**fields)
        await self.mailings.start(mailing_id)
        return mailing_id

    async def until(self, mailing_id: UUID, status: str, deadline: float = 30) -> Any:
        """Wait until it has that status, and has ended where that is an end; its row."""

        async def reached() -> Any:
            row = await self.mailings.get(mailing_id)
            over = row["ended_at"] is not None or status in ("running", "paused", "scheduled")
            return row if row["status"] == status and over else None

        try:
            return await wait_until(reached, deadline)
        except AssertionError:
            row = await self.mailings.get(mailing_id)
            raise AssertionError(f"not {status} within {deadline:g} s: {dict(row)}") from None

    async def tally(self, mailing_id: UUID) -> Tally:
        return Tally.load((await self.mailings.get(mailing_id))["tally"])


async def fill_people(
    database: Database, count: int, *, sender: str = "TG", prefix: str = "p", **columns: Any
) -> None:
    """So many recipients `p0`, `p1`, … with an address each: `a` and the number. By one statement."""
    zone, attributes = columns.get("zone"), orjson.dumps(columns.get("attributes", {})).decode()
    async with database.transaction() as connection:
        await connection.execute(
            """WITH made AS (
                INSERT INTO recipient (external_id, locale, zone, attributes, muted, created_at, updated_at)
                SELECT $2 || n, $3, $4, $5::jsonb, false, now(), now() FROM generate_series(0, $1 - 1) AS n
                RETURNING id, external_id)
            INSERT INTO contact (recipient_id, sender, address, position, active)
            SELECT id, $6, 'a' || substr(external_id, length($2) + 1), 0, true FROM made""",
            count, prefix, columns.get("locale"), zone, attributes, sender,
            timeout=120,
        )  # fmt: skip
