"""A mailing's own rate: moments at which one message each may leave. Pure."""

from datetime import datetime, timedelta


class Slots:
    """One every 1/`rate` seconds, from `next_at` on or from `now`, up to `ahead` seconds ahead.

    What was not used in time is lost: there is never a burst to catch up. Without a rate every moment is fine.
    """

    def __init__(self, rate: float | None, next_at: datetime | None, now: datetime, ahead: float) -> None:
        self._every = None if rate is None else timedelta(seconds=1 / rate)
        self._now = now
        self._until = now + timedelta(seconds=ahead)
        self.next_at = next_at

    @property
    def capped(self) -> bool:
        return self._every is not None

    @property
    def left(self) -> int:
        """How many may be taken now; many where there is no rate."""
        if self._every is None:
            return 10**9
        start = max(self.next_at or self._now, self._now)
        return 0 if start > self._until else (self._until - start) // self._every + 1

    def take(self) -> datetime:
        """The next one."""
        if self._every is None:
            return self._now
        moment = max(self.next_at or self._now, self._now)
        self.next_at = moment + self._every
        return moment
