"""What mailings count, in Prometheus' terms."""

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.db.database import Database
from service.mailings import queries

_UNFINISHED = ("scheduled", "running", "paused")


class MailingMetrics:
    """Whom this process made deliveries for, and the mailings that are not over."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.made = Counter(
            "mailing_recipients_made", "Recipients for whom mailings made deliveries", registry=registry
        )
        self.unfinished = Gauge("mailings", "Mailings that are not over", ["status"], registry=registry)

    def reader(self, database: Database, timeout_seconds: float) -> Callable[[], Awaitable[None]]:
        """A call that brings the gauge up to date. Raises one of `TRANSIENT`."""

        async def read() -> None:
            rows = await database.pool.fetch(queries.UNFINISHED, timeout=timeout_seconds)
            counts = {row["status"]: row["count"] for row in rows}
            for status in _UNFINISHED:
                self.unfinished.labels(status).set(counts.get(status, 0))

        return read
