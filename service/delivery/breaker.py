"""When to leave a provider alone: after a run of calls that it did not answer properly."""

from dataclasses import dataclass

from service.senders.base import Outcome, Retry, Scope, Unknown

TRIP_AFTER = 8
"""So many sick calls in a row, without a healthy one between, open the circuit."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(slots=True)
class Breaker:
    """The circuit of one provider. Times are on any one clock, seconds.

    Closed, it counts sick calls. Open, nothing is sent for a pause. Then it is `probing`: one call
    at a time, until one is healthy (closed again) or sick (open for twice as long).
    """

    sick: int = 0
    trips: int = 0
    tripped_at: float = float("-inf")

    @property
    def probing(self) -> bool:
        return self.trips > 0

    def record(self, outcome: Outcome, *, began: float, now: float) -> float | None:
        """Take note of a call. Returns how long to pause when it opens the circuit."""
        if not _is_sick(outcome):
            self.sick = self.trips = 0
            return None
        if began < self.tripped_at:
            return None  # it was under way when the circuit opened, and says nothing new
        self.sick += 1
        if not self.probing and self.sick < TRIP_AFTER:
            return None
        self.trips += 1
        self.sick = 0
        self.tripped_at = now
        return min(FIRST_PAUSE_SECONDS * 2.0 ** (self.trips - 1), LONGEST_PAUSE_SECONDS)


def _is_sick(outcome: Outcome) -> bool:
    return isinstance(outcome, Unknown) or (isinstance(outcome, Retry) and outcome.scope is Scope.ACCOUNT)
