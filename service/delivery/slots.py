"""Send times that pacing reserved for this process. Pure: the clock is passed in."""

from collections import deque
from math import floor

PACING_MARGIN = 1.025
"""A little wider than the limit's own, so that an uneven network stays within it."""
_CAUGHT_UP = (1 + PACING_MARGIN) / 2


class Slots:
    """Reserved times, the soonest first, `interval` seconds apart where no other process has some between.

    A process that stalled finds several of them past, and may use them at once. What stands a whole window
    of the limit behind a late one then waits until that window is over: the limit holds in every second, and
    nothing is lost of the rate.
    """

    def __init__(self, rate: float) -> None:
        """`rate`: messages a second of the account."""
        self.interval = PACING_MARGIN / rate
        self._window = max(1, floor(rate)) / rate
        # In whole slots: sums of their distances must not miss it by a rounding.
        self._behind = self._window * PACING_MARGIN - self.interval / 2
        self._reserved: deque[float] = deque()
        self._used: deque[tuple[float, float]] = deque()

    def __bool__(self) -> bool:
        return bool(self._reserved)

    def add(self, at: float) -> None:
        self._reserved.append(at)

    def opens(self) -> float:
        """When the next one may be used."""
        slot, used = self._reserved[0], self._used
        while len(used) > 1 and slot - used[1][0] >= self._behind:
            used.popleft()
        if used and slot - used[0][0] >= self._behind:
            return max(slot, used[0][1] + self._window * _CAUGHT_UP)
        return slot

    def use(self, now: float) -> None:
        """The next one is used at `now`."""
        self._used.append((self._reserved.popleft(), now))

    def drop_last(self) -> None:
        """Nobody waits for the last one; it must not let others bunch up."""
        self._reserved.pop()

    def clear(self) -> None:
        self._reserved.clear()
