"""Lanes in memory, whatever is done to them: order within one, urgency among them, nothing lost."""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.delivery.jobs import Job
from service.delivery.lanes import Key, Lanes
from tests.unit import test_retry

TEMPLATE = test_retry.job()
ADDRESSES = st.sampled_from(["a", "b", "c"])
PRIORITIES = st.integers(0, 3)


class LanesMachine(RuleBasedStateMachine):
    """Against a plain list of jobs in the order in which they came."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes()
        self.waiting: list[Job] = []
        self.under_way: dict[Key, Job] = {}
        self.made = 0

    def _key(self, job: Job) -> Key:
        return (job.address, job.lane)

    def _startable(self) -> list[Job]:
        heads = {self._key(job): job for job in reversed(self.waiting)}
        return [job for key, job in heads.items() if key not in self.under_way]

    @rule(address=ADDRESSES, lane=PRIORITIES)
    def add(self, address: str, lane: int) -> None:
        self.made += 1
        new = replace(TEMPLATE, id=self.made, address=address, pacing_key=address, lane=lane)
        self.lanes.add(self._key(new), new)
        self.waiting.append(new)

    @rule()
    def begin(self) -> None:
        startable = self._startable()
        assert self.lanes.any_ready() == bool(startable)
        if startable:
            key, begun = self.lanes.begin()
            assert begun in startable
            assert begun.lane == min(job.lane for job in startable)
            self.waiting.remove(begun)
            self.under_way[key] = begun

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.under_way)))
        del self.under_way[key]
        self.lanes.end(key)

    @rule(address=ADDRESSES, lane=PRIORITIES)
    def release(self, address: str, lane: int) -> None:
        expected = [job for job in self.waiting if self._key(job) == (address, lane)]
        assert self.lanes.release((address, lane)) == expected
        self.waiting = [job for job in self.waiting if job not in expected]

    @rule()
    def release_all(self) -> None:
        released = self.lanes.release_all()
        for key in {self._key(job) for job in released}:
            mine = [job.id for job in released if self._key(job) == key]
            assert mine == sorted(mine)
        assert sorted(job.id for job in released) == [job.id for job in self.waiting]
        self.waiting = []

    @rule(address=ADDRESSES)
    def paced_by(self, address: str) -> None:
        expected = {self._key(job) for job in self.waiting if job.address == address}
        assert set(self.lanes.paced_by(address)) == expected

    @invariant()
    def counts_what_it_holds(self) -> None:
        assert self.lanes.held == len(self.waiting) + len(self.under_way)


TestLanes = LanesMachine.TestCase
