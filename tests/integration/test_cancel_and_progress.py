"""Tasks are called off while they run, and tell how far they have come, with real workers."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, TaskCancelledError, TaskContext, TaskStatus
from tests.integration import stopping_tasks
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buquet import TaskHandle
    from tests.integration.conftest import StartWorker
    from tests.support.fleet import Fleet


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Buquet]:
    """An app on a queue in a file."""
    app = Buquet(f"sqlite:{tmp_path}/queue.db")
    yield app
    app.close()


def call_off(handle: TaskHandle[object]) -> None:
    """Call the task off once its handler has reported, and wait for its end."""
    reported = wait_until(handle.progress, within=30, what="a report")
    assert reported is not None
    assert (reported.value, reported.message) == (0.25, "a quarter")
    assert handle.cancel("no longer needed", by="the test").state == "requested"
    with pytest.raises(TaskCancelledError, match="cancelled by the test: no longer needed"):
        handle.result(timeout=30)
    task = handle.refresh()
    assert (task.status, task.attempt) == (TaskStatus.CANCELLED, 1)
    assert task.cancel is not None
    assert (task.cancel.by, task.cancel.reason) == ("the test", "no longer needed")


def test_an_async_handler_is_called_off(app: Buquet) -> None:
    @app.task
    async def wait_for_ever(ctx: TaskContext) -> None:
        ctx.progress(0.25, "a quarter")
        await asyncio.Event().wait()

    with app.worker():
        call_off(wait_for_ever.submit())


def test_a_handler_on_a_thread_is_called_off(app: Buquet) -> None:
    @app.task
    def wait_for_the_wish(ctx: TaskContext) -> None:
        ctx.progress(0.25, "a quarter")
        wait_until(lambda: ctx.cancelled, within=30, what="the cancellation")
        ctx.raise_if_cancelled()

    with app.worker():
        call_off(wait_for_the_wish.submit())


def test_a_handler_in_a_process_is_called_off(app: Buquet) -> None:
    report_and_sleep = app.task(pool="process")(stopping_tasks.report_and_sleep)
    with app.worker(processes=1):
        call_off(report_and_sleep.submit())


def test_what_completes_first_stays_completed(app: Buquet) -> None:
    @app.task
    def finish(ctx: TaskContext) -> str:
        ctx.progress(0.25)
        wait_until(lambda: ctx.cancelled, within=30, what="the cancellation")
        return "done after all"

    with app.worker():
        handle = finish.submit()
        wait_until(handle.progress, within=30, what="a report")
        handle.cancel()
        assert handle.result(timeout=30) == "done after all"
        assert handle.cancel().state == "finished"


def test_an_attempt_that_fails_once_called_off_is_not_made_again(app: Buquet) -> None:
    attempts: list[int] = []

    @app.task(retries=5, backoff=0)
    def fail(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        ctx.progress(0.25)
        wait_until(lambda: ctx.cancelled, within=30, what="the cancellation")
        raise ValueError("half done")

    with app.worker():
        handle = fail.submit()
        wait_until(handle.progress, within=30, what="a report")
        handle.cancel()
        with pytest.raises(TaskCancelledError):
            handle.result(timeout=30)
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
    wait_until(lambda: "draining: 1 task" in worker.running.output(), within=30, what="the drain")
    assert handle.cancel("no longer needed", by="the test").state == "requested"
    assert worker.running.wait(60) == 0, worker.running.output()
    assert handle.refresh().status is TaskStatus.CANCELLED
    assert "called off by the test: no longer needed" in worker.running.output()


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
        wait_until(lambda: message() == "step 99", within=30, what="the last report")
        release.set()
        handle.result(timeout=30)
    assert message() == "step 99"


def test_a_handler_knows_what_its_task_was_submitted_with(app: Buquet) -> None:
    @app.task
    def tell(ctx: TaskContext) -> list[object]:
        return [ctx.tags, ctx.metadata, ctx.parent]

    @app.task
    def hand_on() -> str:
        return tell.options(tags=["night"], metadata={"customer": "42"}).submit().id

    with app.worker():
        parent = hand_on.submit()
        child = app.handle(parent.result(timeout=30))
        assert child.result(timeout=30) == [["night"], {"customer": "42"}, parent.id]
