"""Calling tasks off, progress, expiry, uniqueness, tags and parents, with real workers on the embedded store."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from buquet import CancelState, ConflictError, NotFoundError, TaskCancelledError, TaskExpiredError, TaskStatus
from tests.support.processes import ROOT, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

MISSING = "00000000-0000-8000-8000-000000000000"


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tasks, on a queue of this test's own."""
    monkeypatch.setenv("BUQUET_URL", f"sqlite:{tmp_path}/queue.db")
    sys.modules.pop("tests.support.life_tasks", None)
    life_tasks = importlib.import_module("tests.support.life_tasks")
    yield life_tasks
    life_tasks.app.close()


def environment() -> dict[str, str]:
    """What another process needs to find the queue."""
    return clean_environment(BUQUET_URL=os.environ["BUQUET_URL"])


@pytest.mark.parametrize("kind", ["on_the_loop", "on_a_thread", "in_a_process"])
def test_a_running_task_reports_its_progress_and_stops_when_it_is_called_off(life: ModuleType, kind: str) -> None:
    with life.app.worker():
        handle = getattr(life, kind).submit()
        wait_until(lambda: handle.progress() is not None, within=60, what=f"progress of {kind}")
        progress = handle.progress()
        assert progress is not None
        assert progress.value == 0.5
        assert handle.cancel("enough", by="ada").state is CancelState.REQUESTED
        with pytest.raises(TaskCancelledError, match="by ada: enough"):
            handle.result(timeout=60)
    assert handle.cancel().state is CancelState.FINISHED


def test_a_handler_that_completes_in_spite_of_it_has_completed(life: ModuleType) -> None:
    with life.app.worker():
        handle = life.stubborn.submit()
        wait_until(lambda: handle.progress() is not None, within=60, what="progress")
        handle.cancel()
        assert handle.result(timeout=60) == "done all the same"


def test_waiting_tasks_are_called_off_by_id_type_tag_and_parent(life: ModuleType) -> None:
    tagged = life.child.options(tags=["red"]).submit(1)
    other = life.child.options(tags=["blue"], parent=tagged.id).submit(2)
    assert life.app.cancel_matching(tag="red").cancelled == 1
    assert life.app.cancel_matching(parent=tagged).cancelled == 1
    assert [tagged.status(), other.status()] == [TaskStatus.CANCELLED] * 2
    third = life.child.submit(3)
    states = [result.state for result in life.app.cancel([third, MISSING])]
    assert states == [CancelState.CANCELLED, CancelState.MISSING]
    with pytest.raises(NotFoundError):
        life.app.handle(MISSING).cancel()


def test_what_a_handler_submits_has_the_running_task_as_its_parent(life: ModuleType) -> None:
    with life.app.worker():
        mother = life.mother.submit(7)
        child = life.app.handle(mother.result(timeout=60))
        assert child.result(timeout=60) == 7
    assert child.refresh().parent == mother.id
    assert life.child.submit(8).refresh().parent is None


def test_a_unique_task_is_stored_once_by_any_process(life: ModuleType) -> None:
    first = life.once.submit(1)
    again = life.once.submit(1)
    assert (first.created, again.created, again) == (True, False, first)
    script = "from tests.support.life_tasks import once; print(once.submit(1).id)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == first.id
    assert life.once.submit(2) != first


def test_a_key_with_another_input_names_both(life: ModuleType) -> None:
    keyed = life.child.options(idempotency_key="order-7")
    keyed.submit(1)
    with pytest.raises(ConflictError, match=r'order-7.*"number":1.*"number":2'):
        keyed.submit(2)


def test_a_task_that_nobody_starts_in_its_time_expires(life: ModuleType) -> None:
    handle = life.child.options(ttl=0.05).submit(1)
    with pytest.raises(TaskExpiredError):
        handle.result(timeout=60)


def test_the_command_line_calls_off_and_shows_who_did(life: ModuleType) -> None:
    handle = life.child.options(tags=["x"], metadata={"order": "7"}).submit(1)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "buquet", *arguments]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)

    called_off = run("cancel", "--tag", "x", "--reason", "not needed", "--by", "ada")
    assert (called_off.returncode, called_off.stdout.split(",")[0]) == (0, "1 cancelled before they started")
    shown = run("status", handle.id)
    assert "by ada: not needed" in shown.stdout
    assert "order=7" in shown.stdout
    assert run("cancel", MISSING).returncode == 3
    assert run("cancel").returncode == 2
