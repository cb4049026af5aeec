"""What is told of workers: how many tasks they have, what they take no more, and what watching a file costs them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, _ops
from buquet._doctor import CheckStatus
from buquet.cli._waiting import reason_why
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buquet import WorkerInfo

SETTLED_SECONDS = 2.5  # by then a worker has seen for certain what was written to its file


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Buquet]:
    """An app on a queue of the test's own."""
    app = Buquet(f"sqlite:{tmp_path}/queue.db")
    yield app
    app.close()


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What handlers wait for until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def only_worker(app: Buquet) -> WorkerInfo:
    """The worker as its latest heartbeat says."""
    [worker] = app.queue.client.call(_ops.workers()).workers
    return worker


def test_a_worker_without_a_place_left_does_not_look_healthy(app: Buquet, never: threading.Event) -> None:
    def hang(_: int) -> bool:
        return never.wait()

    hangs = app.task(name="hangs", retries=0, timeout="50ms")(hang)
    ping = app.task(name="ping")(lambda: "pong")
    with app.worker(concurrency=2, drain_timeout=0):
        hangs.map(range(6))
        wait_until(lambda: only_worker(app).stuck == 2, within=60, what="the lost places")
        check = app.doctor().check("workers")
        assert check.status is CheckStatus.WARNING
        assert "has lost 2 of its 2 places" in check.what
        task = ping.submit()

        def why() -> str:
            return app.queue.client.call(reason_why(task.id)) or ""

        # At first the worker may hold it that has fetched it ahead, and gives it back.
        wait_until(lambda: "no place is left in any worker that runs" in why(), within=60, what="the reason")
        never.set()
        wait_until(lambda: only_worker(app).stuck == 0, within=60, what="places that are free again")
        assert app.doctor().check("workers").status is CheckStatus.OK


def test_what_a_worker_has_begun_is_shown_soon(app: Buquet, never: threading.Event) -> None:
    waits = app.task(name="waits", retries=0)(lambda: never.wait(60))
    with app.worker(concurrency=2, drain_timeout=0):
        handle = waits.submit()
        worker = wait_until(
            lambda: worker if (worker := only_worker(app)).running == 1 else None, within=60, what="RUNS 1/2"
        )
        started = handle.refresh().started_at
        assert started is not None
        assert worker.heartbeat_at - started < timedelta(seconds=8)  # the next regular heartbeat comes after 10
        never.set()


def test_a_write_costs_a_worker_that_watches_the_file_few_looks(app: Buquet) -> None:
    app.task(name="ping")(lambda: "pong")
    elsewhere = Buquet(app.queue.client.config.url)
    other = elsewhere.task(name="pong")(lambda: "ping")
    with app.worker(), elsewhere:
        other.submit()
        time.sleep(SETTLED_SECONDS)
        before = app.usage().requests.get
        other.submit()
        time.sleep(SETTLED_SECONDS)
        looks = app.usage().requests.get - before
    assert looks < 60, "one every 4 ms would be hundreds"
