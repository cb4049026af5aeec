"""buquet 0.1.0, the public package, on S3: one process, async handlers; it has no option for how many at a time."""

import asyncio
import sys

import harness

from buquet import Queue, Worker, WorkerRunOptions, connect

CALLERS = 50
tally = harness.Tally()


class Loop:
    """One event loop and one queue for all that this process submits."""

    runner: asyncio.Runner | None = None
    queue: Queue

    @classmethod
    def run(cls, what: object, *arguments: object) -> None:
        """Run `what(queue, *arguments)` on that loop."""
        if cls.runner is None:
            cls.runner = asyncio.Runner()
            cls.queue = cls.runner.run(_connect())
        cls.runner.run(what(cls.queue, *arguments))


async def _connect() -> Queue:
    endpoint, bucket = harness.PLACE.split()
    return await connect(endpoint=endpoint, bucket=bucket, region="us-east-1")


def reset() -> None:
    """Nothing is there: it has no prefixes, so each run has a bucket of its own."""


async def _submit(queue: Queue, count: int) -> None:
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await queue.submit("noop", {"number": number})

    await asyncio.gather(*(caller() for _ in range(min(CALLERS, count))))


async def _bulk(queue: Queue, count: int) -> None:
    await queue.submit_many([("noop", {"number": number}) for number in range(count)])


async def _lone(queue: Queue, number: int) -> None:
    await queue.submit("pick", {"number": number})


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
    queue = await _connect()
    worker = Worker(queue, "bench", queue.all_shards())

    @worker.task("noop")
    async def noop(_input: object) -> None:
        tally.note()

    @worker.task("pick")
    async def pick(_input: object) -> None:
        harness.picked()

    await worker.run(WorkerRunOptions())


def worker() -> None:
    """Work, with all defaults."""
    asyncio.run(_work())


if __name__ == "__main__":
    harness.run(sys.modules[__name__])
