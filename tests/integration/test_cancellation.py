"""Tasks are called off while they wait and while they run, and tell how far they have come, with real workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, CancelState, NotFoundError, TaskCancelledError, TaskContext, TaskStatus
from tests.support.processes import clean_environment
from tests.support.terminal import in_terminal
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from buquet import TaskHandle
    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet

MISSING = "00000000-0000-8000-8000-000000000000"
BUQUET = (sys.executable, "-m", "buquet")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Buquet]:
    """An app on a queue in a file."""
    app = Buquet(f"sqlite:{tmp_path}/queue.db")
    yield app
    app.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command on the test's queue, as a script does."""
    return subprocess.run(
        [*BUQUET, *arguments], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def environment() -> dict[str, str]:
    """What another process needs to find the queue."""
    return clean_environment(BUQUET_URL=os.environ["BUQUET_URL"])


@pytest.mark.parametrize("kind", ["on_the_loop", "on_a_thread", "in_a_process"])
def test_a_running_task_reports_its_progress_and_stops_when_it_is_called_off(life: ModuleType, kind: str) -> None:
    with life.app.worker():
        handle = getattr(life, kind).submit()
        progress = wait_until(handle.progress, within=60, what=f"progress of {kind}")
        assert (progress.value, progress.message) == (0.5, "half way")
        assert handle.cancel("no longer needed", by="ada").state is CancelState.REQUESTED
        with pytest.raises(TaskCancelledError, match="cancelled by ada: no longer needed"):
            handle.result(timeout=60)
    assert handle.cancel().state is CancelState.FINISHED
    task = handle.refresh()
    assert (task.status, task.attempt) == (TaskStatus.CANCELLED, 1)
    assert (task.cancel.by, task.cancel.reason) == ("ada", "no longer needed")


@pytest.mark.parametrize("kind", ["stubborn_on_the_loop", "stubborn_on_a_thread"])
def test_a_handler_that_completes_in_spite_of_it_has_completed(life: ModuleType, kind: str) -> None:
    with life.app.worker():
        handle = getattr(life, kind).submit()
        wait_until(handle.progress, within=60, what="progress")
        handle.cancel()
        assert handle.result(timeout=60) == "done all the same"
        assert handle.cancel().state is CancelState.FINISHED


def test_an_attempt_that_fails_once_called_off_is_not_made_again(app: Buquet) -> None:
    attempts: list[int] = []

    @app.task(retries=5, backoff=0)
    def fail(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        ctx.progress(0.25)
        wait_until(lambda: ctx.cancelled, within=60, what="the cancellation")
        raise ValueError("half done")

    with app.worker():
        handle = fail.submit()
        wait_until(handle.progress, within=60, what="a report")
        handle.cancel()
        with pytest.raises(TaskCancelledError):
            handle.result(timeout=60)
    assert attempts == [1]


@pytest.mark.parametrize("kind", ["double", "block"])
def test_a_worker_that_drains_ends_once_what_it_waits_for_is_called_off(
    kind: str, tmp_path: Path, start_worker: StartWorker, open_fleet: Callable[[str], Fleet]
) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    worker = start_worker(url, gate=tmp_path / "never", drain="1h")
    fleet = open_fleet(url)
    handle: TaskHandle[object] = fleet.double.submit(1) if kind == "double" else fleet.block.submit(3600)
    wait_until(lambda: worker.starts() == [handle.id], within=60, what="the start")
    worker.running.terminate()
    wait_until(lambda: "draining: 1 task" in worker.running.output(), within=60, what="the drain")
    assert handle.cancel("no longer needed", by="the test").state == "requested"
    assert worker.running.wait(60) == 0, worker.running.output()
    assert handle.refresh().status is TaskStatus.CANCELLED
    assert "called off by 'the test': 'no longer needed'" in worker.running.output()


def test_the_last_of_many_reports_is_stored_while_the_handler_goes_on(app: Buquet) -> None:
    release = threading.Event()

    @app.task
    def work(ctx: TaskContext) -> None:
        for step in range(100):
            ctx.progress(step / 100, f"step {step}")
        release.wait(60)

    def message() -> str | None:
        progress = handle.progress()
        return progress.message if progress else None

    with app.worker():
        handle = work.submit()
        wait_until(lambda: message() == "step 99", within=60, what="the last report")
        release.set()
        handle.result(timeout=60)
    assert message() == "step 99"


def test_waiting_tasks_are_called_off_by_id_type_tag_and_parent(life: ModuleType) -> None:
    tagged = life.child.options(tags=["red"]).submit(1)
    other = life.child.options(tags=["blue"], parent=tagged.id).submit(2)
    assert life.app.cancel_matching(tag="red").cancelled == 1
    assert life.app.cancel_matching(parent=tagged).cancelled == 1
    assert [tagged.status(), other.status()] == [TaskStatus.CANCELLED] * 2
    typed = life.mother.options(tags=["blue"]).submit()
    third = life.child.options(tags=["blue"]).submit(3)
    assert life.app.cancel_matching(type="mother", tag="blue").cancelled == 1
    assert [typed.status(), third.status()] == [TaskStatus.CANCELLED, TaskStatus.PENDING]
    states = [result.state for result in life.app.cancel([third, MISSING])]
    assert states == [CancelState.CANCELLED, CancelState.MISSING]
    with pytest.raises(NotFoundError):
        life.app.handle(MISSING).cancel()


def test_the_command_line_calls_off_by_id_and_shows_who_did(life: ModuleType) -> None:
    handle = life.child.options(metadata={"order": "7"}).submit(1)
    called_off = run("cancel", handle.id, "--reason", "not needed", "--by", "ada")
    assert (called_off.returncode, called_off.stdout) == (0, f"{handle.id} cancelled before it started\n")
    shown = run("status", handle.id)
    assert "by ada: not needed" in shown.stdout
    assert "order=7" in shown.stdout
    assert run("cancel", MISSING).returncode == 3
    assert run("cancel").returncode == 2
    refused = run("cancel", handle.id, "--dry-run")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_the_command_line_calls_off_many_only_if_it_may(life: ModuleType) -> None:
    tagged = life.child.options(tags=["x"])
    handles = [*tagged.map([1, 2, 3]), tagged.options(retries=0).submit(4)]
    other = life.child.submit(5)
    tagged.submit(6).cancel()
    wanted = ("cancel", "--type", "child", "--tag", "x")

    refused = run(*wanted)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    counted = run(*wanted, "--dry-run")
    assert counted.stdout == "4 to be cancelled before they start, 0 running to be told to stop\n"
    assert json.loads(run(*wanted, "--dry-run", "--json").stdout) == {"cancelled": 4, "requested": 0}
    status, shown = in_terminal([*BUQUET, *wanted], env=environment(), typed="n\n")
    assert status == 1
    assert "Call off all waiting and running tasks of type 'child', tag 'x'? [y/N]" in shown
    assert {handle.status() for handle in handles} == {TaskStatus.PENDING}

    status, shown = in_terminal([*BUQUET, *wanted], env=environment(), typed="y\n")
    assert status == 0
    assert shown.endswith("4 cancelled before they started, 0 running told to stop\n")
    assert {handle.status() for handle in handles} == {TaskStatus.CANCELLED}
    assert other.status() is TaskStatus.PENDING
    done = run("cancel", "--type", "child", "--yes", "--json", "--reason", "the rest")
    assert json.loads(done.stdout) == {"cancelled": 1, "requested": 0}
