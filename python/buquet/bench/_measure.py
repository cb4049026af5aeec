"""The phases of a benchmark, from the submitter's side."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import msgspec

from buquet._models import TaskStatus
from buquet.bench._figures import Measured, Rested, Spent, Submitted
from buquet.errors import BuquetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._queue import Queue
    from buquet.bench._worker import WorkerSide

CALLERS = 1000
"""Submits in flight at a time while single ones are measured."""

_READ = 1000
_SETTLE_SECONDS = 1.0
_PICKUP_WITHIN = 60.0
_GOLDEN = 0.618033988749895
# On S3 a submitter touches the bell once a second at most: sooner, it would not be an idle one.
_GAPS = {"s3": (1.1, 2.1)}
_GAP = (0.1, 0.4)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured: tasks of each phase, seconds of rest, and pick-ups."""

    tasks: int
    idle_seconds: float
    pickups: int


async def measure(queue: Queue, worker: WorkerSide, plan: Plan, tell: Callable[[str], None]) -> Measured:
    """Measure all phases, one after the other; ``tell`` gets a line on each.

    :raises BuquetError: a task was not completed.
    """
    # Types of its own: what another run left behind is no concern of this one.
    name = f"bench.{secrets.token_hex(4)}"
    single, many, idle = f"{name}.single", f"{name}.many", f"{name}.idle"

    tell(f"{plan.tasks:,} single submits, up to {min(CALLERS, plan.tasks):,} at a time")
    first = await queue.submit(single, 0)  # connects, and finds or makes the queue
    submit = await submit_singles(queue, single, plan.tasks)
    tell("a worker runs these, to warm up")
    await worker.drain(single, plan.tasks + 1)
    await check_completed(queue, [first.id, *submit.ids])

    tell(f"submit_many of {plan.tasks:,}")
    submit_many = await submit_at_once(queue, many, plan.tasks)
    tell("the warm worker runs them: the drain")
    drain = await worker.drain(many, plan.tasks)
    await check_completed(queue, submit_many.ids)

    await worker.watch(idle)
    tell(f"an idle worker, {plan.idle_seconds:g} s")
    rest = await watch_rest(worker, plan.idle_seconds)
    tell(f"{plan.pickups} pick-ups by the idle worker")
    store = (await queue.info()).store
    pickups = await time_pickups(queue, worker, idle, plan.pickups, _GAPS.get(store, _GAP))
    return Measured(
        store=store,
        tasks=plan.tasks,
        submit=submit,
        submit_many=submit_many,
        drain=drain,
        rest=rest,
        pickups_ms=pickups,
    )


async def submit_singles(queue: Queue, kind: str, count: int) -> Submitted:
    """Submit tasks one by one, from many callers at a time that each wait for their last before the next."""
    numbers, ids = iter(range(count)), list[str]()

    async def caller() -> None:
        for number in numbers:
            handle = await queue.submit(kind, number)
            ids.append(handle.id)

    before, begun = Spent.of(await queue.usage()), time.monotonic()
    await asyncio.gather(*(caller() for _ in range(min(CALLERS, count))))
    return Submitted(ids=ids, seconds=time.monotonic() - begun, spent=Spent.of(await queue.usage()) - before)


async def submit_at_once(queue: Queue, kind: str, count: int) -> Submitted:
    """Submit tasks with one call of ``submit_many``."""
    before, begun = Spent.of(await queue.usage()), time.monotonic()
    group = await queue.submit_many(kind, range(count))
    seconds = time.monotonic() - begun
    return Submitted(ids=[handle.id for handle in group], seconds=seconds, spent=Spent.of(await queue.usage()) - before)


async def check_completed(queue: Queue, ids: list[str]) -> None:
    """Make sure that what was drained is stored as completed.

    :raises BuquetError: some of it is not.
    """
    for start in range(0, len(ids), _READ):
        for task in await queue.get_many(ids[start : start + _READ]):
            if task is None or task.status is not TaskStatus.COMPLETED:
                found = "is gone" if task is None else f"is {task.status.value}"
                raise BuquetError(f"the drain is over, yet one of its tasks {found}: the figures would be wrong")


async def watch_rest(worker: WorkerSide, seconds: float) -> Rested:
    """Count what the worker spends while there is nothing to do."""
    await asyncio.sleep(_SETTLE_SECONDS)
    before, begun = await worker.bill(), time.monotonic()
    await asyncio.sleep(seconds)
    after = await worker.bill()
    return Rested(
        seconds=time.monotonic() - begun,
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        spent=after.spent - before.spent,
    )


async def time_pickups(
    queue: Queue, worker: WorkerSide, kind: str, count: int, gap: tuple[float, float]
) -> list[float]:
    """Milliseconds from the call of ``submit`` to the handler's first line, for lone tasks with gaps between them."""
    latencies: list[float] = []
    shortest, longest = gap
    for number in range(count):
        # Gaps that are spread evenly, so that no phase of the worker's looking is preferred.
        await asyncio.sleep(shortest + (longest - shortest) * (number * _GOLDEN % 1))
        begun = time.monotonic_ns()
        await queue.submit(kind, number)
        try:
            picked = await asyncio.wait_for(worker.picked(), _PICKUP_WITHIN)
        except TimeoutError:
            raise BuquetError(f"a task was not picked up within {_PICKUP_WITHIN:g} s") from None
        latencies.append((picked - begun) / 1e6)
    return latencies
