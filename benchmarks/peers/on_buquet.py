"""buquet: one process, async handlers, 200 at a time."""

import asyncio
import sys
from typing import Any

import harness

from buquet import Queue, Worker, connect

CONCURRENCY = 200
CALLERS = 1000
tally = harness.Tally()


class Loop:
    """One event loop and one queue for all that this process submits."""

    runner: asyncio.Runner | None = None
    queue: Queue

    @classmethod
    def run(cls, what: Any, *arguments: Any) -> None:
        """Run `what(queue, *arguments)` on that loop."""
        if cls.runner is None:
            cls.runner = asyncio.Runner()
            cls.queue = cls.runner.run(_connect())
        cls.runner.run(what(cls.queue, *arguments))


async def _connect() -> Queue:
    return await connect(harness.PLACE)


def reset() -> None:
    """Nothing is there: each run has a file or a prefix of its own."""


async def _submit(queue: Queue, count: int) -> None:
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await queue.submit("noop", number)

    await asyncio.gather(*(caller() for _ in range(min(CALLERS, count))))


async def _bulk(queue: Queue, count: int) -> None:
    await queue.submit_many("noop", range(count))


async def _lone(queue: Queue, number: int) -> None:
    await queue.submit("pick", number)


def submit(count: int) -> None:
    """Submit singly, from many callers at a time."""
    Loop.run(_submit, count)


def bulk(count: int) -> None:
    """Submit with one call."""
    Loop.run(_bulk, count)


def lone(number: int) -> None:
    """Submit one to be timed."""
    Loop.run(_lone, number)


async def _work() -> None:
    async with connect(harness.PLACE) as queue:
        worker, drained = Worker(queue, concurrency=CONCURRENCY), False

        @worker.task("noop")
        async def noop(_number: int) -> None:
            nonlocal drained
            if tally.hit():
                drained = True
                worker.drain()

        @worker.task("pick")
        async def pick(_number: int) -> None:
            harness.picked()

        await worker.run()
        if drained:
            tally.finish()  # when all outcomes are stored, which is later than the last handler


def worker() -> None:
    """Work."""
    asyncio.run(_work())


if __name__ == "__main__":
    harness.run(sys.modules[__name__])
