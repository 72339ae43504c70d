"""What triggers count, in Prometheus' terms. Durations are seconds."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_LATE_BUCKETS = (0.1, 0.25, 0.5, 1, 1.5, 2, 5, 10, 30, 60, 300, 1800, 7200)


class TriggerMetrics:
    """What this process fired."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "trigger_runs", "What became of occurrences", ["kind", "outcome"], registry=registry
        )
        self._lateness = Histogram(
            "trigger_lateness_seconds",
            "From when something was due to when it was fired",
            ["kind"],
            buckets=_LATE_BUCKETS,
            registry=registry,
        )

    def ran(self, kind: str, outcome: str, late_seconds: float | None) -> None:
        """An occurrence was made, failed or was skipped; None: it did not wait for the clock."""
        self._runs.labels(kind, outcome).inc()
        if late_seconds is not None:
            self._lateness.labels(kind).observe(late_seconds)
