"""The limits of the Bot API: so many of something within a time, then 429."""

import math
import time
from collections import deque
from dataclasses import dataclass

from tests.fakes.telegram_params import BotApiError, ChatKey, chat_kind


@dataclass(slots=True)
class Limits:
    """Messages a second of the bot and of a chat, a minute of a group; topics made a minute; 0: none.

    `jitter` seconds are forgiven: evenly spaced calls do not arrive evenly spaced.
    """

    rate: float = 0
    chat_rate: float = 0
    group_rate: float = 0
    jitter: float = 0.05
    topic_rate: float = 0


class Pacing:
    """What was used of the limits. Each method raises the 429 when there is no more."""

    def __init__(self) -> None:
        self._windows: dict[str, deque[float]] = {}

    def message(self, limits: Limits, key: ChatKey) -> None:
        if not (limits.rate or limits.chat_rate or limits.group_rate):
            return
        windows = [("bot", limits.rate, 1.0), (f"chat {key}", limits.chat_rate, 1.0)]
        if chat_kind(key) != "private":
            windows.append((f"group {key}", limits.group_rate, 60.0))
        self._use(limits, windows)

    def topic(self, limits: Limits, key: ChatKey) -> None:
        self._use(limits, [(f"topics {key}", limits.topic_rate, 60.0)])

    def _use(self, limits: Limits, windows: list[tuple[str, float, float]]) -> None:
        now = time.monotonic()
        used = [self._window(*window) for window in windows if window[1]]
        wait = max((_wait(times, period - limits.jitter, now) for times, period in used), default=0.0)
        if wait > 0:
            raise throttle(max(1, math.ceil(wait)))
        for times, _ in used:
            times.append(now)

    def _window(self, name: str, rate: float, period: float) -> tuple[deque[float], float]:
        """The times of the last so many, and the seconds within which there may be no more of them."""
        count = max(1, math.floor(rate))
        times = self._windows.get(name)
        if times is None or times.maxlen != count:
            times = self._windows[name] = deque(times or (), maxlen=count)
        return times, period * count / rate


def _wait(times: deque[float], period: float, now: float) -> float:
    return times[0] + period - now if len(times) == times.maxlen else 0.0


def throttle(retry_after: int | None) -> BotApiError:
    if retry_after is None:
        return BotApiError(429, "Too Many Requests")
    return BotApiError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)
