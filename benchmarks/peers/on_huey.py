"""Huey on SQLite: one process with one worker thread, since more only contend for the file's lock."""

import sys

import harness
from huey import SqliteHuey

huey = SqliteHuey("bench", filename=harness.PLACE, results=False)
tally = harness.Tally()


@huey.task()
def noop(_number: int) -> None:
    """Count."""
    tally.note()


@huey.task()
def pick(_number: int) -> None:
    """Tell that it began."""
    harness.picked()


def reset() -> None:
    """Nothing is there: each run has a file of its own."""


def submit(count: int) -> None:
    """Submit singly; its calls block, so one is under way at a time."""
    for number in range(count):
        noop(number)


def lone(number: int) -> None:
    """Submit one to be timed."""
    pick(number)


def worker() -> None:
    """Work, looking every 0.1 s to 1 s for more, as it comes."""
    huey.create_consumer(workers=1, worker_type="thread").run()


bulk = None

if __name__ == "__main__":
    harness.run(sys.modules[__name__])
