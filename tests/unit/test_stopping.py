"""Tasks that are called off while they run, and what handlers tell of their progress."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from buquet import (
    Buquet,
    ClosedError,
    InvalidError,
    Queue,
    TaskContext,
    TaskStatus,
    UnavailableError,
    Worker,
    _runner,
)
from buquet._context import MESSAGE_CHARS, local_context
from buquet._current import current_task_id
from buquet._progress import Reporter
from tests.support.waiting import wait_until
from tests.unit import process_tasks

if TYPE_CHECKING:
    from buquet import Task, TaskHandle
    from buquet._client import Client
    from buquet._ops import Assignment
    from tests.unit.conftest import LoopClock
    from tests.unit.fake_engine import FakeEngine


def outcomes(engine: FakeEngine) -> list[str]:
    return [outcome["outcome"] for request in engine.requests("worker.settle") for outcome in request["outcomes"]]


async def called_off(queue: Queue, handle: TaskHandle[Any], running: asyncio.Event) -> Task:
    """Call the task off once its handler runs, and wait until it has ended."""
    await asyncio.wait_for(running.wait(), 60)
    await queue.cancel([handle], reason="no longer\nneeded \x1b[2J", by="the test")
    return await queue.wait(handle, timeout=60)


async def test_an_async_handler_is_cancelled(
    queue: Queue, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(queue)
    running = asyncio.Event()
    seen: list[bool] = []

    @worker.task("t")
    async def handler(_input: None, ctx: TaskContext) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(ctx.cancelled)

    caplog.set_level("INFO", "buquet.worker")
    async with worker:
        task = await called_off(queue, await queue.submit("t"), running)
    assert task.status is TaskStatus.CANCELLED
    assert outcomes(engine) == ["cancel"]
    assert seen == [True]
    assert f"task {task.id}: called off by 'the test': 'no longer\\nneeded \\x1b[2J'" in caplog.text


@pytest.mark.parametrize(
    ("error", "outcome", "status"),
    [(None, "complete", TaskStatus.COMPLETED), (ValueError("half done"), "fail", TaskStatus.CANCELLED)],
    ids=["returns", "raises"],
)
async def test_what_a_cancelled_handler_comes_to_counts(
    queue: Queue, engine: FakeEngine, error: Exception | None, outcome: str, status: TaskStatus
) -> None:
    worker = Worker(queue)
    running = asyncio.Event()

    @worker.task("t")
    async def handler() -> str:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if error is not None:
                raise error from None
        return "done after all"

    async with worker:
        task = await called_off(queue, await queue.submit("t"), running)
    assert (task.status, outcomes(engine)) == (status, [outcome])


async def test_a_handler_that_never_stops_still_has_its_timeout(
    queue: Queue, engine: FakeEngine, clock: LoopClock
) -> None:
    worker = Worker(queue)
    running, told, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @worker.task("t")
    async def handler() -> None:
        running.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                told.set()

    async with worker:
        handle = await queue.submit("t", timeout=600)
        await asyncio.wait_for(running.wait(), 60)
        await queue.cancel([handle])
        await asyncio.wait_for(told.wait(), 60)
        clock.advance(601)
        task = await queue.wait(handle, timeout=60)
        release.set()
    assert (task.status, outcomes(engine)) == (TaskStatus.CANCELLED, ["timeout"])


@pytest.mark.parametrize("concurrency", [1, 20])
async def test_a_draining_worker_still_hears_of_cancellations(
    queue: Queue, engine: FakeEngine, concurrency: int
) -> None:
    worker = Worker(queue, concurrency=concurrency, drain_timeout=60)
    running = asyncio.Event()

    @worker.task("t")
    async def handler() -> None:
        running.set()
        await asyncio.Event().wait()

    async with worker:
        handle = await queue.submit("t")
        await asyncio.wait_for(running.wait(), 60)
        worker.drain()
        await asyncio.to_thread(
            wait_until, lambda: engine.requests("worker.drain") != [], within=60, what="the drain's announcement"
        )
        await queue.cancel([handle])
        task = await queue.wait(handle, timeout=60)
        later = await queue.submit("t")
    assert task.status is TaskStatus.CANCELLED
    assert outcomes(engine) == ["cancel"]
    assert (await queue.get(later)).status is TaskStatus.PENDING
    asked = [request["max"] for name, request in engine.calls if name == "worker.next"]
    assert asked[-1] == 0
    assert len(asked) < 10, "it waits for news, rather than ask in a loop"


async def test_a_drain_goes_on_where_no_news_can_be_had(
    queue: Queue, engine: FakeEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_runner, "CLEANUP_GRACE", 0.1)
    worker = Worker(queue, drain_timeout=60)
    running, release = asyncio.Event(), asyncio.Event()

    @worker.task("t")
    async def handler() -> str:
        running.set()
        await release.wait()
        return "done"

    async with worker:
        handle = await queue.submit("t")
        await asyncio.wait_for(running.wait(), 60)
        engine.fail_next("worker.drain", UnavailableError("not now"))
        engine.fail_next("worker.next", ClosedError("the worker was stopped"))
        worker.drain()
        await asyncio.to_thread(
            wait_until, lambda: not engine.failures["worker.next"], within=60, what="the worker to ask"
        )
        release.set()
        task = await queue.wait(handle, timeout=60)
    assert task.output == "done"
    assert "cancellations were not heard of while draining: the worker was stopped" in caplog.text


@pytest.mark.parametrize("stops", [True, False])
async def test_a_thread_sees_the_wish_and_decides(queue: Queue, engine: FakeEngine, *, stops: bool) -> None:
    worker = Worker(queue)
    running = asyncio.Event()
    loop = asyncio.get_running_loop()

    @worker.task("t")
    def handler(_input: None, ctx: TaskContext) -> str:
        loop.call_soon_threadsafe(running.set)
        wait_until(lambda: ctx.cancelled, within=60, what="the cancellation")
        assert not ctx.lease_lost
        if stops:
            ctx.raise_if_cancelled()
        return "done after all"

    async with worker:
        task = await called_off(queue, await queue.submit("t"), running)
    assert outcomes(engine) == (["cancel"] if stops else ["complete"])
    assert task.status is (TaskStatus.CANCELLED if stops else TaskStatus.COMPLETED)


def test_a_process_is_ended(app: Buquet, engine: FakeEngine) -> None:
    sleep = app.task(pool="process")(process_tasks.sleep_for_ever)
    square = app.task(process_tasks.square)  # a worker of processes alone would take one task at a time
    with app.worker(processes=1):
        handle, waiting = sleep.submit(), sleep.submit()  # one waits for the only process
        wait_until(lambda: (handle.status(), waiting.status()) == ("running", "running"), within=60, what="both")
        for task in (waiting, handle):
            task.cancel("enough")
            wait_until(lambda task=task: task.status() == "cancelled", within=60, what="its end")
        assert square.submit(5).result(timeout=60) == 25
    assert outcomes(engine) == ["cancel", "cancel", "complete"]


async def test_reports_are_few_and_the_last_one_is_sent_before_the_outcome(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)

    @worker.task("t")
    def handler(_input: None, ctx: TaskContext) -> None:
        for step in range(1000):
            ctx.progress(step / 2000, f"step {step}")
        ctx.progress(0.5, "all steps")

    async with worker:
        task = await queue.wait(await queue.submit("t"), timeout=60)
    names = [name for name, _ in engine.calls if name in {"worker.progress", "worker.settle"}]
    assert names[-1] == "worker.settle"
    assert len(names) < 100
    assert engine.requests("worker.progress")[-1]["message"] == "all steps"
    assert task.progress is not None
    assert task.progress.value == 0.5


async def test_a_report_that_had_to_wait_is_sent_while_the_handler_goes_on(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    release = asyncio.Event()

    @worker.task("t")
    async def handler(_input: None, ctx: TaskContext) -> None:
        ctx.progress(0.1)
        await asyncio.sleep(0)
        ctx.progress(0.2)
        await release.wait()

    async with worker:
        handle = await queue.submit("t")
        await asyncio.to_thread(
            wait_until, lambda: len(engine.requests("worker.progress")) == 2, within=60, what="the second report"
        )
        release.set()
        await queue.wait(handle, timeout=60)
    assert [request["value"] for request in engine.requests("worker.progress")] == [0.1, 0.2]


def test_a_process_reports_too_and_knows_its_task(app: Buquet, engine: FakeEngine) -> None:
    report = app.task(pool="process")(process_tasks.report_often)
    with app.worker(processes=1):
        handle = report.submit()
        assert handle.result(timeout=60) == handle.id
    assert engine.requests("worker.progress")[-1]["message"] == "all steps"
    assert len(engine.requests("worker.progress")) < 50


async def test_reports_of_a_lost_lease_are_dropped(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    running, lost = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @worker.task("t")
    def handler(_input: None, ctx: TaskContext) -> None:
        loop.call_soon_threadsafe(running.set)
        wait_until(lambda: ctx.lease_lost, within=60, what="the loss")
        ctx.progress(0.9)
        lost.set()

    async with worker:
        handle = await queue.submit("t")
        await asyncio.wait_for(running.wait(), 60)
        engine.lose(handle.id)
        assert await asyncio.to_thread(lost.wait, 60)
    assert engine.requests("worker.progress") == []


async def test_an_outcome_is_sent_once_the_engine_has_the_last_report() -> None:
    sent: list[str] = []
    arrived, followed = asyncio.Event(), asyncio.Event()

    async def call_async(_: object) -> None:
        sent.append("progress")
        await arrived.wait()
        sent.append("arrived")

    client = cast("Client", SimpleNamespace(call_async=call_async))
    assignment = cast("Assignment", SimpleNamespace(id="a task", lease="a lease"))
    reporter = Reporter(client, "a worker", assignment)
    reporter.report(0.5, None)
    reporter.finish()

    def follow() -> None:
        sent.append("outcome")
        followed.set()

    reporter.then(follow)
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == ["progress"]
    arrived.set()
    await followed.wait()
    assert sent == ["progress", "arrived", "outcome"]


@pytest.mark.parametrize(
    ("value", "message"),
    [(-0.1, None), (1.01, None), (float("nan"), None), (True, None), ("half", None), (0.5, "x" * 501), (0.5, 7)],
)
def test_progress_that_is_none_is_refused(value: Any, message: Any) -> None:
    with pytest.raises(InvalidError, match="progress"):
        local_context("t").progress(value, message)


def test_a_plain_call_reports_to_nobody() -> None:
    ctx = local_context("t")
    ctx.progress(0.5, "x" * MESSAGE_CHARS)
    ctx.raise_if_cancelled()
    assert (ctx.cancelled, ctx.tags, ctx.metadata, ctx.parent) == (False, [], {}, None)


async def test_handlers_know_their_task(queue: Queue) -> None:
    worker = Worker(queue)

    @worker.task("on_loop")
    async def on_loop() -> str | None:
        return current_task_id()

    @worker.task("on_thread")
    def on_thread() -> str | None:
        return current_task_id()

    async with worker:
        for kind in ("on_loop", "on_thread", "on_loop"):
            handle = await queue.submit(kind)
            task = await queue.wait(handle, timeout=60)
            assert task.output == handle.id
    assert current_task_id() is None
