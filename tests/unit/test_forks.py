"""Handlers that fork: a child never speaks for its parent, and takes nothing of it along."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, TaskFailedError
from tests.unit import forking_tasks, process_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The worker has threads, which newer Pythons warn of at every fork.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def app() -> Iterator[Buquet]:
    with Buquet("memory:") as app:
        yield app


@pytest.mark.parametrize(
    ("fork", "pool"),
    [
        (forking_tasks.fork, "process"),
        (forking_tasks.fork_later, "process"),
        (forking_tasks.fork, "thread"),
        (forking_tasks.fork_later, "thread"),
        (forking_tasks.fork_on_loop, "thread"),
    ],
)
def test_a_forked_child_ends_where_its_handler_does(app: Buquet, fork: Callable[..., Any], pool: Any) -> None:
    forks = app.task(pool=pool, retries=0)(fork)
    square = app.task(pool=pool, retries=0)(process_tasks.square)
    with app.worker(processes=1):
        results = [
            (forks.submit(then).result(timeout=30), square.submit(3).result(timeout=30))
            for then in forking_tasks.FORKED
        ]
    assert results == [(ended, 9) for ended in forking_tasks.ENDED]


def test_a_forked_child_that_comes_back_to_the_loop_ends_there(app: Buquet) -> None:
    forks = app.task(retries=0)(forking_tasks.fork_and_wait_on_loop)
    with app.worker():
        assert forks.submit("wait").result(timeout=30) == "exit code 1"
        assert forks.submit("nothing").result(timeout=30) == "nothing"


def test_only_the_parent_reports_its_progress(app: Buquet) -> None:
    forks = app.task(pool="process", retries=0)(forking_tasks.fork_later)
    with app.worker(processes=1):
        handle = forks.submit("return")
        handle.result(timeout=30)
    progress = handle.progress()
    assert progress is not None
    assert progress.message == "the parent's"


def test_a_forked_child_that_lives_on_does_not_hide_the_death_of_its_process(app: Buquet, tmp_path: Path) -> None:
    die = app.task(pool="process", retries=0)(forking_tasks.die_beside_daemon)
    square = app.task(pool="process")(process_tasks.square)
    os.mkfifo(pipe := str(tmp_path / "pipe"))
    try:
        with app.worker(processes=1):
            with pytest.raises(TaskFailedError, match="exit code 9"):
                die.submit(pipe).result(timeout=20)
            assert square.submit(3).result(timeout=20) == 9
    finally:
        os.close(os.open(pipe, os.O_WRONLY))


@pytest.mark.parametrize("pool", ["thread", "process"])
async def test_a_process_that_a_handler_forks_can_be_terminated_and_the_worker_works_on(app: Buquet, pool: Any) -> None:
    terminate = app.task(pool=pool, retries=0)(forking_tasks.terminate_forked)
    worker = app.worker(processes=1)
    running = asyncio.create_task(worker.run())
    try:
        for _ in range(2):
            assert await (await terminate.submit_async()).result_async(timeout=30) == -15
        assert not running.done()
    finally:
        worker.stop()
        await running


def test_a_handler_in_a_process_may_have_a_pool_of_processes(app: Buquet) -> None:
    pooled = app.task(pool="process", retries=0)(forking_tasks.pooled)
    with app.worker(processes=1):
        assert pooled.submit([-1, -2]).result(timeout=30) == [1, 2]
