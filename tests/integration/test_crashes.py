"""What was acknowledged completes, and completes once, whichever process is killed."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT, background, clean_environment
from tests.support.stories import Place, changed_after_completion
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet

TASKS = 1000
HELD = 100
BACK_WITHIN = 120.0  # seconds from the kill to the last result, on default settings
STORES = pytest.mark.parametrize("place", ["sqlite", "s3", "s3 in bad weather"], indirect=True)


@STORES
@pytest.mark.slow
def test_a_killed_workers_tasks_complete_elsewhere_within_a_minute(
    place: Place, tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    gate = tmp_path / "gate"
    workers = [start_worker(place.url, concurrency=HELD, gate=gate) for _ in range(3)]
    group = open_fleet(place.url).double.map(range(TASKS))
    for worker in workers:
        wait_until(lambda worker=worker: len(worker.starts()) >= HELD, within=60, what=f"{HELD} tasks running")

    victim = workers[0]
    victim.running.kill()
    killed = time.monotonic()
    gate.touch()
    results = group.results(timeout=2 * BACK_WITHIN)
    took = time.monotonic() - killed

    assert results == [2 * n for n in range(TASKS)]
    assert took <= BACK_WITHIN, f"the last result came {took:.1f} s after the kill"
    stories = place.stories(group)
    assert len(stories) == TASKS
    assert changed_after_completion(stories) == []
    for name in victim.starts():
        assert stories[name][-1].attempt == 2, "an attempt on the killed worker and one elsewhere"
    again = {name for name, story in stories.items() if story[-1].attempt > 1}
    elsewhere = set(workers[1].starts()) | set(workers[2].starts())
    assert set(victim.starts()) <= elsewhere
    if place.proxy is None:
        assert len(again) <= 2 * HELD, "only what the killed worker held, or had fetched ahead, was started again"
    else:
        assert min(place.proxy.injected[kind] for kind in ("500", "503", "break_before", "break_after")) >= 2
    if place.bucket is not None:
        keys = place.bucket.keys
        wait_until(
            lambda: not keys("queue/ready/") and not keys("queue/leases/"), within=90, what="the indexes to be empty"
        )


PRODUCER = """
import asyncio, sys
from tests.support.fleet import Fleet

async def main():
    fleet = Fleet(sys.argv[1])
    with open(sys.argv[2], "a", buffering=1) as acknowledged:
        async def submit(n):
            while True:
                handle = await fleet.double.submit_async(n)
                print(handle.id, file=acknowledged)
        await asyncio.gather(*(submit(n) for n in range(20)))

asyncio.run(main())
"""


@STORES
@pytest.mark.slow
def test_what_a_killed_producer_had_acknowledged_completes(
    place: Place, tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    command = [sys.executable, "-c", PRODUCER, place.url, acknowledged]
    with background(command, cwd=ROOT, env=clean_environment(), logs=tmp_path) as producer:
        wait_until(lambda: acknowledged.read_text("utf-8").count("\n") >= 200, within=60, what="200 submits")
        producer.kill()
    assert producer.process.returncode == -signal.SIGKILL

    lines = acknowledged.read_text("utf-8").split("\n")
    ids = lines[:-1]  # the last line may be torn
    start_worker(place.url)
    fleet = open_fleet(place.url)
    for name in ids:
        assert fleet.double.handle(name).result(timeout=60) % 2 == 0
