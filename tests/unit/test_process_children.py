"""What processes of the pool owe their worker: logs, a clean end, and no word after their attempt's end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, TaskFailedError, _processes
from tests.support.waiting import wait_until
from tests.unit import forking_tasks, process_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def app() -> Iterator[Buquet]:
    with Buquet("memory:") as app:
        yield app


def test_a_thread_that_outlives_its_attempt_gets_no_more_time_and_takes_nothing_from_the_next(app: Buquet) -> None:
    leave = app.task(pool="process", retries=0)(forking_tasks.leave_extender)
    said = app.task(pool="process", retries=0)(forking_tasks.extender_said)
    with app.worker(processes=1):
        leave.submit().result(timeout=30)
        assert said.submit().result(timeout=30) == ["lost"]


def test_a_process_that_has_no_more_work_runs_what_is_registered_for_its_exit(app: Buquet, tmp_path: Path) -> None:
    say_bye = app.task(pool="process")(forking_tasks.say_bye)
    with app.worker(processes=1):
        say_bye.submit(str(tmp_path / "said")).result(timeout=30)
    assert (tmp_path / "said").read_text() == "bye"


def test_a_process_that_does_not_end_by_itself_is_killed(app: Buquet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "_FAREWELL", 0.1)
    never_leave = app.task(pool="process")(forking_tasks.never_leave)
    own_pid = app.task(pool="process")(process_tasks.own_pid)
    with app.worker(processes=1):
        never_leave.submit().result(timeout=30)
        pid = own_pid.submit().result(timeout=30)
    wait_until(lambda: not _processes._is_taken(pid), within=10, what="the process to be gone")  # pyright: ignore[reportPrivateUsage]


def test_a_process_that_never_starts_costs_the_attempt_and_no_slot(
    app: Buquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    square = app.task(pool="process", retries=0)(process_tasks.square)
    with app.worker(processes=1):
        with monkeypatch.context() as patch:
            patch.setattr(_processes, "main", forking_tasks.never_start)
            patch.setattr(_processes, "_START", 0.1)
            patch.setattr(_processes, "_LOOK", 0.05)
            with pytest.raises(TaskFailedError, match="had not started"):
                square.submit(3).result(timeout=30)
        assert square.submit(3).result(timeout=30) == 9


def test_what_a_handler_in_a_process_logs_comes_through_the_workers_handlers(
    app: Buquet, caplog: pytest.LogCaptureFixture
) -> None:
    say = app.task(pool="process")(forking_tasks.say)
    caplog.set_level("INFO")
    with app.worker(processes=1):
        handle = say.submit()
        handle.result(timeout=30)
    said = [record for record in caplog.records if record.name in {"shop", "buquet.task"}]
    assert [(record.name, record.levelname, record.message) for record in said] == [
        ("buquet.task", "INFO", f"say {handle.id} #1: in context"),
        ("shop", "INFO", "plain"),
        ("shop", "ERROR", "with a traceback"),
    ]
    assert (vars(said[1])["order"], vars(said[1])["cart"]) == (7, "['a']")
    assert "KeyError: 'lost'" in (said[2].exc_text or "")


def test_levels_of_the_worker_hold_in_its_processes(
    app: Buquet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = app.task(pool="process")(forking_tasks.say)
    caplog.set_level("INFO")
    monkeypatch.setattr(logging.getLogger("shop"), "level", logging.CRITICAL)
    with app.worker(processes=1):
        say.submit().result(timeout=30)
    assert {record.name for record in caplog.records} >= {"buquet.task"}
    assert "shop" not in {record.name for record in caplog.records}


def test_large_values_of_a_queue_in_memory_are_handed_to_processes(app: Buquet) -> None:
    reverse = app.task(pool="process", retries=0)(forking_tasks.reversed_bytes)
    data = bytes(range(256)) * 1000
    with app.worker(processes=1):
        assert reverse.submit(data).result(timeout=30) == data[::-1]


def test_a_process_does_not_submit_to_a_queue_in_memory_that_nobody_reads() -> None:
    with forking_tasks.here.worker(processes=1), pytest.raises(TaskFailedError, match="in the memory of its worker"):
        forking_tasks.submit_another.submit().result(timeout=30)
