"""What one dispatcher holds in memory: queues of jobs, of each of which the head alone may be under way."""

import heapq
from collections import deque
from collections.abc import Callable

from service.delivery.jobs import Job

Key = tuple[str, int]
"""A lane: address and priority; where a sender keeps no order, several lanes share them."""


class Lanes:
    """Jobs that wait, most urgent lane first and, among equals, in turn."""

    def __init__(self) -> None:
        self._queues: dict[Key, deque[Job]] = {}
        self._ready: list[tuple[int, int, Key]] = []
        self._busy: set[Key] = set()
        self._turn = 0
        self.held = 0
        """Jobs that wait or are under way."""

    def add(self, key: Key, job: Job) -> None:
        """Put a job at the end of its lane."""
        self.held += 1
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque((job,))
            self._make_ready(key, job)
        else:
            queue.append(job)

    def any_ready(self) -> bool:
        """Whether a lane may go on; those that were given back meanwhile leave memory."""
        while self._ready:
            key = self._ready[0][2]
            if self._queues[key]:
                return True
            heapq.heappop(self._ready)
            del self._queues[key]
        return False

    def begin(self) -> tuple[Key, Job]:
        """Take the head of the most urgent lane. Call it only where `any_ready()`."""
        key = heapq.heappop(self._ready)[2]
        self._busy.add(key)
        return key, self._queues[key].popleft()

    def end(self, key: Key) -> None:
        """The lane's job has ended: the lane goes on, or leaves memory."""
        self.held -= 1
        self._busy.discard(key)
        if queue := self._queues[key]:
            self._make_ready(key, queue[0])
        else:
            del self._queues[key]

    def release(self, key: Key) -> list[Job]:
        """Take out what waits in a lane, in its order."""
        queue = self._queues.get(key)
        if not queue:
            return []
        jobs = list(queue)
        queue.clear()
        self.held -= len(jobs)
        return jobs

    def release_all(self) -> list[Job]:
        """Take out everything that has not begun."""
        jobs = [job for key in self._queues for job in self.release(key)]
        self._ready.clear()
        self._queues = {key: queue for key, queue in self._queues.items() if key in self._busy}
        return jobs

    def take_out(self, wanted: Callable[[Job], bool]) -> list[Job]:
        """Take out those of the waiting jobs that `wanted` chooses; the others keep their order."""
        taken: list[Job] = []
        for queue in self._queues.values():
            chosen = [job for job in queue if wanted(job)]
            if chosen:
                kept = [job for job in queue if not wanted(job)]
                queue.clear()
                queue.extend(kept)
                taken += chosen
        self.held -= len(taken)
        return taken

    def paced_by(self, pacing_key: str) -> list[Key]:
        """The lanes whose next job has that pacing key."""
        return [key for key, queue in self._queues.items() if queue and queue[0].pacing_key == pacing_key]

    def _make_ready(self, key: Key, job: Job) -> None:
        self._turn += 1
        heapq.heappush(self._ready, (job.lane, self._turn, key))
