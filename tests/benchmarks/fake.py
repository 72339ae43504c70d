"""The measuring side of the fake Bot API: its process, and what it saw."""

import asyncio
import http.client
import subprocess
import sys
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.support.net import free_port
from tests.support.service import ROOT
from tests.support.waiting import wait_blocking

TOKEN = "123456789:AAabcdefghijklmnopqrstuvwxyz0123456"
_POLL_SECONDS = 0.05
_LEAD_IN = 0.1


@dataclass(frozen=True)
class Arrivals:
    """Calls of a provider in the order in which they came; times are seconds of the monotonic clock."""

    times: Sequence[float]
    numbers: Sequence[int]

    def assert_each_once(self, expected: Iterable[int]) -> None:
        """Every expected message came, once, and nothing else did."""
        wanted, came = set(expected), set(self.numbers)
        assert came == wanted, f"{len(wanted - came)} messages missing, {len(came - wanted)} unexpected"
        assert len(self.numbers) == len(came), f"{len(self.numbers) - len(came)} messages came twice"

    def steady_rate(self) -> float:
        """Messages a second between the first tenth and the end."""
        start = int(len(self.times) * _LEAD_IN)
        return (len(self.times) - 1 - start) / (self.times[-1] - self.times[start])

    def by_number(self) -> dict[int, float]:
        return dict(zip(self.numbers, self.times, strict=True))


class FakeBotApi:
    """Starts the process and asks it."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.fake_bot_api", str(self._port)],
            cwd=ROOT,
            start_new_session=True,
        )
        wait_blocking(self._listens, 20, "the fake Bot API listens")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, delay_ms: int = 0) -> None:
        self._ask(f"/begin?{delay_ms}")

    async def wait_for(self, count: int, deadline: float) -> None:
        """Return when so many calls have come."""
        end = time.monotonic() + deadline
        while (seen := int(self._ask("/count"))) < count:
            assert time.monotonic() < end, f"only {seen} of {count} messages within {deadline:g} s"
            await asyncio.sleep(_POLL_SECONDS)

    def arrivals(self) -> Arrivals:
        raw = self._ask("/arrivals")
        times, numbers = array("d"), array("q")
        times.frombytes(raw[: len(raw) // 2])
        numbers.frombytes(raw[len(raw) // 2 :])
        return Arrivals(times, numbers)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _listens(self) -> bool:
        assert self._process.poll() is None, "the fake Bot API ended"
        try:
            self._ask("/count")
        except OSError:
            return False
        return True

    def _ask(self, order: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", order)
            return connection.getresponse().read()
        finally:
            connection.close()
