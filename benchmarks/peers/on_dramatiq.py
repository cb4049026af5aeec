"""Dramatiq on Redis: one process with its default of eight threads."""

import os
import sys

import dramatiq
import harness
import redis
from dramatiq.brokers.redis import RedisBroker

THREADS = "8"
broker = RedisBroker(url=harness.PLACE)
dramatiq.set_broker(broker)
tally = harness.Tally()


@dramatiq.actor
def noop(_number: int) -> None:
    """Count."""
    tally.note()


@dramatiq.actor
def pick(_number: int) -> None:
    """Tell that it began."""
    harness.picked()


def reset() -> None:
    """Empty the database."""
    redis.Redis.from_url(harness.PLACE).flushdb()


def submit(count: int) -> None:
    """Submit singly; its calls block, so one is under way at a time."""
    for number in range(count):
        noop.send(number)


def lone(number: int) -> None:
    """Submit one to be timed."""
    pick.send(number)


def worker() -> None:
    """Work, as `dramatiq` on the command line does."""
    command = [sys.executable, "-m", "dramatiq", "on_dramatiq", "--processes", "1", "--threads", THREADS]
    os.execv(sys.executable, command)  # noqa: S606 - its own command line, in place of this process


bulk = None

if __name__ == "__main__":
    harness.run(sys.modules[__name__])
