"""What the engine counts, in Prometheus' terms. Durations are seconds."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from service.delivery.jobs import Settlement
from service.senders.base import Outcome

_CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DELIVERY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """The process's own registry, and the few things that are written to it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        r = self.registry
        self._accepted = Counter("notifications_accepted", "Requests stored", ["source"], registry=r)
        self._repeated = Counter("notifications_repeated", "Requests recognised as repeats", registry=r)
        self._rejected = Counter("notifications_rejected", "Messages rejected", ["source"], registry=r)
        self._settled = Counter(
            "deliveries_settled", "What became of attempts", ["sender", "event", "kind"], registry=r
        )
        self._calls = Histogram(
            "sender_call_seconds",
            "Calls of providers",
            ["sender", "outcome"],
            buckets=_CALL_BUCKETS,
            registry=r,
        )
        self._latency = Histogram(
            "delivery_latency_seconds",
            "From acceptance to sent",
            ["sender"],
            buckets=_DELIVERY_BUCKETS,
            registry=r,
        )
        self.commit_rows = Histogram(
            "settle_batch_rows",
            "Verdicts of one group commit",
            buckets=(1, 2, 5, 10, 50, 100, 500, 1000),
            registry=r,
        )
        self.queue_depth = Gauge(
            "delivery_queue_depth",
            "Due rows that wait, counted up to a limit",
            ["sender", "priority"],
            registry=r,
        )
        self.queue_age = Gauge(
            "delivery_queue_age_seconds",
            "How long the oldest due row has waited",
            ["sender", "priority"],
            registry=r,
        )
        self.pacing_wait = Gauge(
            "pacing_wait_seconds", "Until the account's next free slot", ["sender"], registry=r
        )
        self.in_flight = Gauge(
            "sender_calls_in_flight", "Calls under way in this process", ["sender"], registry=r
        )
        self.sender_works = Gauge("sender_works", "1, or 0 while paused or halted", ["sender"], registry=r)
        self.pool = Gauge("database_pool_connections", "Connections of the pool", ["state"], registry=r)
        self.transport_up = Gauge("transport_up", "1 while connected", ["transport"], registry=r)
        self.outbox_rows = Gauge("outbox_rows", "Rows waiting to be published, up to a limit", registry=r)

        # Looking a series up by its labels costs more than counting.
        self._of_settled = cache(self._settled.labels)
        self._of_calls = cache(self._calls.labels)
        self._of_latency = cache(self._latency.labels)
        self._of_accepted = cache(self._accepted.labels)

    def accepted(self, source: str) -> None:
        self._of_accepted(_way(source)).inc()

    def repeated(self) -> None:
        self._repeated.inc()

    def rejected(self, source: str) -> None:
        self._rejected.labels(_way(source)).inc()

    def called(self, sender: str, outcome: Outcome, seconds: float) -> None:
        self._of_calls(sender, type(outcome).__name__.lower()).observe(seconds)

    def settled(self, batch: Sequence[Settlement]) -> None:
        if batch:
            self.commit_rows.observe(len(batch))
        now = datetime.now(UTC)
        for settlement in batch:
            job, verdict = settlement.job, settlement.verdict
            if verdict.event is None:
                continue
            self._of_settled(job.sender, verdict.event, verdict.kind or "").inc()
            if verdict.event == "sent":
                self._of_latency(job.sender).observe((now - job.created_at).total_seconds())


def _way(source: str) -> str:
    """rabbit, kafka, http: without the queue or offset, which would make a series each."""
    return source.partition(":")[0]
