"""What buquet costs a process that uses it: start-up time, memory, threads and descriptors."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.processes import ROOT, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet

IMPORT_SECONDS = 0.150
YARDSTICK_SECONDS = 0.030  # what the yardstick takes on the machine that the limit is meant for, at rest
HEAVY = ("asyncio", "multiprocessing", "rich", "ssl", "typer")  # what a producer without async code has no use for
IDLE_BYTES = 64 * 1024 * 1024

IMPORT = """
import os, sys, time
reached = []
sys.addaudithook(lambda name, args: reached.append(name) if name.startswith("socket.") else None)
begun = time.process_time()
import buquet
from buquet import Buquet, Queue, Worker, connect
took = time.process_time() - begun
sum(n * n % 7 for n in range(400_000))
yardstick = time.process_time() - begun - took
print(took, yardstick, len(os.listdir("/proc/self/task")), *reached, *(set(sys.argv[1:]) & set(sys.modules)))
"""

OPEN_AND_CLOSE = """
import asyncio, os, sys, time
from buquet import connect

def used():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

async def cycle():
    async with connect(sys.argv[1]) as queue:
        await queue.usage()

async def main():
    for _ in range(5):
        await cycle()
    before = used()
    for _ in range(int(sys.argv[2])):
        await cycle()
    deadline = time.monotonic() + 10  # threads that are told to end take a moment to do so
    while any(now > then for now, then in zip(used(), before)) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    after = used()
    print("grown" if after[0] > before[0] or after[1] > before[1] else "same", before, after)

asyncio.run(main())
"""


LOOK = """
import os, signal, sys
from buquet import Buquet

app = Buquet()

@app.task
def nothing() -> None: ...

@app.on_startup
def look() -> None:
    print("loaded:", sorted({"typer", "rich", "pydantic"} & set(sys.modules)))
    os.kill(os.getpid(), signal.SIGTERM)
"""


def script(text: str, *arguments: str) -> str:
    """Run a Python script in a process of its own and return what it printed."""
    command = [sys.executable, "-c", text, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_starts_nothing() -> None:
    runs = [script(IMPORT, *HEAVY).split() for _ in range(5)]
    # Seconds of this process, on a machine that may be slow or busy with other tests: so is the yardstick then.
    slowness = [max(1.0, float(run[1]) / YARDSTICK_SECONDS) for run in runs]
    assert min(float(run[0]) / slow for run, slow in zip(runs, slowness, strict=True)) < IMPORT_SECONDS, runs
    assert {run[2] for run in runs} == {"1"}, "one thread, the main one"
    assert [run[3:] for run in runs] == [[]] * 5, "no socket, and nothing heavy"


@pytest.mark.parametrize("store", ["sqlite", "s3"])
def test_an_idle_worker_is_small(
    store: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    start_worker: StartWorker,
    open_fleet: Callable[[str], Fleet],
) -> None:
    url = f"sqlite:{tmp_path}/queue.db" if store == "sqlite" else request.getfixturevalue("bucket").url()
    worker = start_worker(url)
    assert open_fleet(url).double.map(range(200)).results(timeout=60)[-1] == 398
    assert psutil.Process(worker.running.process.pid).memory_info().rss < IDLE_BYTES


def test_a_worker_loads_nothing_that_only_the_command_line_needs(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    done = subprocess.run(
        [sys.executable, "-m", "buquet", "worker", "look:app", "--url", "memory:"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "loaded: []" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("store", ["memory", "sqlite", "s3"])
def test_a_thousand_opens_and_closes_leave_nothing_behind(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    urls = {"memory": lambda: "memory:", "sqlite": lambda: f"sqlite:{tmp_path}/queue.db"}
    url = urls[store]() if store in urls else request.getfixturevalue("bucket").url()
    assert script(OPEN_AND_CLOSE, url, "1000").split()[0] == "same"


def test_a_queue_that_is_dropped_and_not_closed_leaves_nothing_behind() -> None:
    text = OPEN_AND_CLOSE.replace(
        "    async with connect(sys.argv[1]) as queue:\n        await queue.usage()",
        "    queue = await connect(sys.argv[1])\n    await queue.usage()\n    del queue\n    import gc; gc.collect()",
    )
    assert script(text, "memory:", "50").split()[0] == "same"


def test_what_an_idle_worker_holds_open_does_not_grow(
    tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    worker = start_worker(url)
    fleet = open_fleet(url)
    process = psutil.Process(worker.running.process.pid)
    fleet.double.map(range(100)).results(timeout=60)
    before = process.num_fds()
    for _ in range(5):
        fleet.double.map(range(200)).results(timeout=60)
    wait_until(lambda: process.num_fds() <= before, within=60, what=f"at most {before} descriptors")
