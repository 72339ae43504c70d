"""Whether a mailing goes on: its canary, and the limits on failures. Pure."""

from dataclasses import dataclass

from service.mailings.drafts import Limits
from service.mailings.tally import Pace, Tally

LEAST = 50
"""Fewer are no share of anything, unless they are a whole canary."""
WATCHED = 1_000
"""The limits look at so many at a time, so that an hour of success does not hide a minute of failure."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How the recipients fared that were done with since the limits began to watch."""

    attempted: int
    failed: int
    blocked: int

    def over(self, limits: Limits, *, least: int) -> str | None:
        """Which limit they are above, in words; None: none."""
        if self.attempted < max(least, 1):
            return None
        for count, limit, what in (
            (self.failed, limits.failed, "failed"),
            (self.blocked, limits.blocked, "were blocked"),
        ):
            if count > limit * self.attempted:
                share = count / self.attempted
                return f"{share:.1%} of {self.attempted} {what}; the limit is {limit:.1%}"
        return None


def shares(tally: Tally, pace: Pace) -> Shares:
    """Since the base."""
    attempted, failed, blocked = pace.base
    now = _base(tally)
    return Shares(now[0] - attempted, now[1] - failed, now[2] - blocked)


def watch(tally: Tally, pace: Pace, limits: Limits) -> str | None:
    """Which limit is exceeded. Moves the base on when enough were watched."""
    seen = shares(tally, pace)
    reason = seen.over(limits, least=LEAST)
    if reason is None and seen.attempted >= WATCHED:
        pace.base = _base(tally)
    return reason


def rebase(tally: Tally, pace: Pace) -> None:
    """Watch anew from here: a person has seen what was before."""
    pace.base = _base(tally)


def _base(tally: Tally) -> tuple[int, int, int]:
    return tally.attempted, tally.failed.total() - tally.blocked, tally.blocked
