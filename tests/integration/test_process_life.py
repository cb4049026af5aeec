"""Forks, exits and signals: buquet behaves whatever happens to the process it lives in."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buquet import TaskStatus
from tests.support.processes import ROOT, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet
    from tests.support.s3 import Bucket

FORK = """
import os, sys
from tests.support.fleet import Fleet

fleet = Fleet(sys.argv[1])
if sys.argv[2] == "open":
    fleet.double.submit(0)               # the parent's engine is open when it forks
children = []
for n in (10, 20):
    child = os.fork()
    if child == 0:
        task = fleet.double.submit(n)
        os._exit(0 if task.status().value == "pending" else 1)
    children.append(child)
after = fleet.double.submit(2)
assert after.status().value == "pending"
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
with fleet.app.worker():
    print(after.result(timeout=60))
"""

EXIT = """
import sys, threading
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

fleet = Fleet(sys.argv[1])
handle = fleet.block.submit(3600)
threading.Thread(target=handle.result, daemon=True).start()       # waits for ever
worker = fleet.app.worker()
worker.__enter__()                                                # runs the task, on a thread of its own
wait_until(lambda: handle.status() == "running", within=60, what="the task to run")
print("leaving")
"""


def script(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python script in a process of its own."""
    command = [sys.executable, "-X", "dev", "-W", "ignore", "-c", text, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("queue", ["not open", "open"])
def test_children_of_a_fork_after_import_work(tmp_path: Path, queue: str) -> None:
    done = script(FORK, f"sqlite:{tmp_path}/queue.db", queue)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[0, 0]", "4"]


def test_on_s3_children_of_a_process_with_an_open_queue_work_too(bucket: Bucket) -> None:
    done = script(FORK, bucket.url(), "open")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[0, 0]", "4"]


def test_the_interpreter_exits_with_work_in_flight(tmp_path: Path) -> None:
    done = script(EXIT, f"sqlite:{tmp_path}/queue.db")
    assert done.stdout == "leaving\n", done.stderr
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_first_signal_drains(tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]) -> None:
    url, gate = f"sqlite:{tmp_path}/queue.db", tmp_path / "gate"
    worker, fleet = start_worker(url, concurrency=2, gate=gate), open_fleet(url)
    group = fleet.double.map(range(6))
    wait_until(lambda: len(worker.starts()) == 2, within=60, what="two tasks running")

    worker.running.terminate()
    wait_until(lambda: "drain" in worker.running.output().lower(), within=60, what="the worker to say that it drains")
    gate.touch()
    assert worker.running.wait(60) == 0

    by_status = [handle.status() for handle in group]
    assert by_status.count(TaskStatus.COMPLETED) == 2, "what ran was finished"
    assert by_status.count(TaskStatus.PENDING) == 4, "and nothing else was begun or kept"


def test_a_second_signal_releases_at_once(
    tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    worker, fleet = start_worker(url, gate=tmp_path / "never", drain="1h"), open_fleet(url)
    handle = fleet.double.submit(21)
    wait_until(lambda: worker.starts() == [handle.id], within=60, what="the task to run")

    worker.running.interrupt()
    wait_until(lambda: "drain" in worker.running.output().lower(), within=60, what="the worker to say that it drains")
    worker.running.interrupt()
    worker.running.wait(60)

    task = handle.refresh()
    assert (task.status, task.retry_count) == (TaskStatus.PENDING, 0)
    start_worker(url)
    assert handle.result(timeout=40) == 42, "at once, not after the heartbeat went stale"


def test_a_thread_that_cannot_be_stopped_does_not_keep_the_worker(
    tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    worker, fleet = start_worker(url, drain="1h"), open_fleet(url)
    handle = fleet.block.submit(3600)
    wait_until(lambda: worker.starts() == [handle.id], within=60, what="the task to run")
    worker.running.terminate()
    wait_until(lambda: "drain" in worker.running.output().lower(), within=60, what="the worker to say that it drains")
    worker.running.terminate()
    worker.running.wait(60)
    assert handle.status() is TaskStatus.PENDING
