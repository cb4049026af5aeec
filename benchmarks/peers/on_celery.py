"""Celery on Redis: one process with the solo pool, its quickest for tasks that do nothing."""

import sys

import harness
import redis
from celery import Celery

app = Celery("on_celery", broker=harness.PLACE)
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
tally = harness.Tally()


@app.task(name="noop")
def noop(_number: int) -> None:
    """Count."""
    tally.note()


@app.task(name="pick")
def pick(_number: int) -> None:
    """Tell that it began."""
    harness.picked()


def reset() -> None:
    """Empty the database."""
    redis.Redis.from_url(harness.PLACE).flushdb()


def submit(count: int) -> None:
    """Submit singly; Celery's calls block, so one is under way at a time."""
    for number in range(count):
        noop.delay(number)


def lone(number: int) -> None:
    """Submit one to be timed."""
    pick.delay(number)


def worker() -> None:
    """Work."""
    app.worker_main(["worker", "--pool=solo", "--loglevel=WARNING", "--without-gossip", "--without-mingle"])


bulk = None

if __name__ == "__main__":
    harness.run(sys.modules[__name__])
