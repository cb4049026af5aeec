"""Taskiq on Redis streams, which acknowledge: one process, async handlers, 100 at a time as it comes."""

import asyncio
import os
import sys

import harness
import redis
from taskiq_redis import RedisStreamBroker

CALLERS = 100
broker = RedisStreamBroker(url=harness.PLACE)
tally = harness.Tally()


@broker.task(task_name="noop")
async def noop(_number: int) -> None:
    """Count."""
    tally.note()


@broker.task(task_name="pick")
async def pick(_number: int) -> None:
    """Tell that it began."""
    harness.picked()


def reset() -> None:
    """Empty the database."""
    redis.Redis.from_url(harness.PLACE).flushdb()


class Loop:
    """One event loop and one started broker for all that this process submits."""

    runner: asyncio.Runner | None = None

    @classmethod
    def run(cls, coroutine: object) -> None:
        """Run on that loop."""
        if cls.runner is None:
            cls.runner = asyncio.Runner()
            cls.runner.run(broker.startup())
        cls.runner.run(coroutine)


async def _submit(count: int) -> None:
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await noop.kiq(number)

    await asyncio.gather(*(caller() for _ in range(min(CALLERS, count))))


def submit(count: int) -> None:
    """Submit singly, from many callers at a time."""
    Loop.run(_submit(count))


async def _lone(number: int) -> None:
    await pick.kiq(number)


def lone(number: int) -> None:
    """Submit one to be timed."""
    Loop.run(_lone(number))


def worker() -> None:
    """Work, as `taskiq worker` does."""
    command = [sys.executable, "-m", "taskiq", "worker", "on_taskiq:broker", "--workers", "1", "--log-level", "WARNING"]
    os.execv(sys.executable, command)  # noqa: S606 - its own command line, in place of this process


bulk = None

if __name__ == "__main__":
    harness.run(sys.modules[__name__])
