"""How often a group is looked at, by a clock of the test's own: few reads a second, and yet soon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from buquet import Task, TaskStatus, WaitTimeoutError
from buquet._group_watch import Seen, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LATENCY = 0.02


class World:
    """Tasks that end at given times, and an engine that answers by them and counts what it would read."""

    def __init__(self, ends: dict[str, float]) -> None:
        self.ends = ends
        self.now = 0.0
        self.reads: list[tuple[float, int]] = []
        self.waits = 0
        self.delays: list[float] = []

    def clock(self) -> float:
        return self.now

    def run(self, until: float = math.inf, *, often: bool = True, limit: float | None = None) -> None:
        """Follow the group until all have ended or the time has come."""
        watch = Watch(list(self.ends), Seen(), limit, often=often, clock=self.clock)
        taken = watch.take()
        while self.now < until and (step := watch.next()) is not None:
            request: dict[str, Any] = msgspec.json.decode(step.call.request)
            self.now += LATENCY
            tasks = self._get(request["ids"]) if step.call.op == "get" else self._wait(**request)
            taken += (ended := watch.note(step, tasks))
            self.delays += [self.now - self.ends[task_id] for task_id in ended]
        if until == math.inf:
            assert sorted(taken) == sorted(self.ends)

    def rate(self, since: float, until: float) -> float:
        """Records read by looks, a second."""
        return sum(count for at, count in self.reads if since <= at < until) / (until - since)

    def _get(self, ids: Sequence[str]) -> list[Task | None]:
        self.reads.append((self.now, len({task_id[:-4] for task_id in ids})))
        return [self._task(task_id) for task_id in ids]

    def _wait(self, id: str, timeout: float = math.inf) -> list[Task | None] | None:  # noqa: A002
        self.waits += 1
        end = max(self.now, self.ends[id])
        if end > self.now + timeout:
            self.now += timeout
            return None
        self.now = end
        return [self._task(id)]

    def _task(self, task_id: str) -> Task:
        ended = self.ends[task_id] <= self.now
        return Task(id=task_id, type="t", status=TaskStatus.COMPLETED if ended else TaskStatus.RUNNING)


def members(records: int, each: int, end: Callable[[int, int], float]) -> dict[str, float]:
    """The ids of so many records with so many tasks each, and when they end."""
    return {f"record-{record}-{n:04}": end(record, n) for record in range(records) for n in range(each)}


def scattered(over: float) -> Callable[[int, int], float]:
    """Ends in no order, over so many seconds."""
    return lambda record, n: over * ((7_919 * record + 104_729 * n) % 10_007) / 10_007


def never(record: int, n: int) -> float:
    """Not in any test's time."""
    del record, n
    return 1e6


@pytest.mark.parametrize(("records", "each"), [(1, 100), (10, 1), (20, 100), (500, 1), (2_000, 1)])
def test_a_group_that_runs_for_long_is_read_at_a_bounded_rate(records: int, each: int) -> None:
    world = World(members(records, each, scattered(10_000)))
    world.run(until=240)
    assert world.rate(60, 240) <= 9
    assert world.rate(LATENCY * 10, 60) <= 10


def test_what_nobody_works_on_is_looked_at_less_often() -> None:
    world = World(members(1, 10, never))
    world.run(until=600)
    assert world.rate(60, 600) <= 0.6


@pytest.mark.parametrize(("records", "each", "soon"), [(1, 5, 0.2), (5, 1, 0.3), (10, 1, 0.4)])
def test_the_ends_of_a_small_group_are_seen_soon(records: int, each: int, soon: float) -> None:
    world = World(members(records, each, lambda record, n: 0.1 + 0.1 * (record + n)))
    world.run()
    assert max(world.delays) <= soon


def test_a_group_that_ends_as_fast_as_it_is_read_is_read_at_once() -> None:
    world = World(members(100, 100, lambda record, n: 0.5 + record / 50 + n / 5_000))
    world.run()
    assert world.now <= 6
    assert sum(count for _, count in world.reads) <= 600


@pytest.mark.parametrize("often", [True, False])
def test_tasks_that_end_last_first_are_not_read_over_and_over(often: bool) -> None:  # noqa: FBT001
    world = World(members(500, 1, lambda record, n: 500.0 - record - n))
    world.run(often=often)
    assert world.now <= 501
    assert sum(count for _, count in world.reads) <= 5_000


def test_members_in_any_order_are_read_record_by_record() -> None:
    ids = sorted(members(100, 100, never), key=lambda task_id: task_id[::-1])
    world = World(dict.fromkeys(ids, 0.0))
    world.run(often=False)
    assert sum(count for _, count in world.reads) == 100


def test_results_cost_a_few_reads_a_record_whatever_the_order_of_the_ends() -> None:
    for over in (1, 10, 100, 1_000):
        world = World(members(100, 100, scattered(over)))
        world.run(often=False)
        assert sum(count for _, count in world.reads) + world.waits <= 1_500


def test_the_time_given_is_kept_while_looks_are_put_off() -> None:
    world = World(members(300, 1, never))
    with pytest.raises(WaitTimeoutError, match="300 of 300 tasks have not ended after 30 s"):
        world.run(limit=30)
    assert world.now == pytest.approx(30, abs=3)
