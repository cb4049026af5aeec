"""The life of a worker: capacity, batches, draining, stopping, hooks."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from buquet import (
    InvalidError,
    Queue,
    TaskContext,
    TaskStatus,
    UnavailableError,
    Worker,
)
from buquet._background import WorkerThread
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine


def outcomes(engine: FakeEngine) -> list[dict[str, Any]]:
    return [outcome for request in engine.requests("worker.settle") for outcome in request["outcomes"]]


async def test_draining_finishes_what_runs_and_takes_nothing_more(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue, concurrency=1)
    running, release = asyncio.Event(), asyncio.Event()

    @worker.task("t")
    async def handler() -> str:
        running.set()
        await release.wait()
        return "finished"

    first, second = await queue.submit("t"), await queue.submit("t")
    async with worker:
        await asyncio.wait_for(running.wait(), 60)
        worker.drain()
        release.set()
    assert (await queue.get(first)).status is TaskStatus.COMPLETED
    assert (await queue.get(second)).status is TaskStatus.PENDING
    assert len(engine.requests("worker.stop")) == 1


async def test_what_outlasts_the_drain_is_given_back(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue, drain_timeout=0.05)
    running = asyncio.Event()

    @worker.task("t")
    async def handler() -> None:
        running.set()
        await asyncio.Event().wait()

    handle = await queue.submit("t")
    async with worker:
        await asyncio.wait_for(running.wait(), 60)
    assert [outcome["outcome"] for outcome in outcomes(engine)] == ["release"]
    assert (await queue.get(handle)).status is TaskStatus.PENDING


async def test_a_stop_gives_back_at_once(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue, drain_timeout=3600)
    running = asyncio.Event()

    @worker.task("t")
    async def handler() -> None:
        running.set()
        await asyncio.Event().wait()

    await queue.submit("t")
    async with worker:
        await asyncio.wait_for(running.wait(), 60)
        worker.stop()
    assert [outcome["outcome"] for outcome in outcomes(engine)] == ["release"]


async def test_cancelling_a_worker_gives_back_what_it_holds(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    running = asyncio.Event()

    @worker.task("t")
    async def handler() -> None:
        running.set()
        await asyncio.Event().wait()

    await queue.submit("t")
    task = asyncio.create_task(worker.run(handle_signals=False))
    await asyncio.wait_for(running.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [outcome["outcome"] for outcome in outcomes(engine)] == ["release"]
    assert len(engine.requests("worker.stop")) == 1


async def test_hooks_are_called_in_order_and_cannot_hurt_a_task(queue: Queue) -> None:
    worker = Worker(queue)
    seen: list[Any] = []

    @worker.on_startup
    async def start() -> None:
        seen.append("start")

    @worker.on_success
    def success(ctx: TaskContext, result: int) -> None:
        seen.append((ctx.type, result))
        raise RuntimeError("a broken hook")

    @worker.on_error
    async def error(ctx: TaskContext, error: BaseException) -> None:
        seen.append((ctx.attempt, type(error)))

    @worker.on_shutdown
    def shutdown() -> None:
        seen.append("shutdown")

    @worker.task("t")
    async def handler(_input: None, ctx: TaskContext) -> int:
        if ctx.attempt == 1:
            raise ValueError
        return 7

    async with worker:
        assert await (await queue.submit("t")) == 7
    assert seen == ["start", (1, ValueError), ("t", 7), "shutdown"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
async def test_a_hook_that_would_end_the_program_cannot_hurt_the_worker(queue: Queue, error: BaseException) -> None:
    worker = Worker(queue)

    @worker.on_success
    async def on_loop(_ctx: TaskContext, _result: int) -> None:
        raise error

    @worker.on_success
    def on_thread(_ctx: TaskContext, _result: int) -> None:
        raise error

    @worker.task("t")
    async def handler() -> int:
        return 7

    async with worker:
        assert await (await queue.submit("t")) == 7
        assert await (await queue.submit("t")) == 7


async def test_a_stop_does_not_wait_for_a_startup_hook(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    worker.task("t")(lambda: None)
    called = asyncio.Event()

    @worker.on_startup
    async def start() -> None:
        called.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(worker.run(handle_signals=False))
    await asyncio.wait_for(called.wait(), 60)
    worker.stop()
    await asyncio.wait_for(running, 60)
    assert engine.requests("worker.next") == []
    assert len(engine.requests("worker.stop")) == 1


async def test_a_stop_does_not_wait_for_a_success_hook(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(queue, drain_timeout=3600)
    worker.task("t")(lambda: None)
    called = asyncio.Event()
    caplog.set_level("INFO")

    @worker.on_success
    async def success(_ctx: TaskContext, _result: None) -> None:
        called.set()
        await asyncio.Event().wait()

    await queue.submit("t")
    running = asyncio.create_task(worker.run(handle_signals=False))
    await asyncio.wait_for(called.wait(), 60)
    worker.drain()

    async def draining() -> bool:
        return "draining: 0 task(s)" in caplog.text

    await wait_until_async(draining, within=60, what="the drain")
    worker.stop()
    await asyncio.wait_for(running, 60)


async def test_a_worker_given_up_while_it_starts_is_stopped(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    worker.task("t")(lambda: None)
    called = asyncio.Event()

    @worker.on_startup
    async def start() -> None:
        called.set()
        await asyncio.Event().wait()

    entering = asyncio.create_task(worker.__aenter__())
    await asyncio.wait_for(called.wait(), 60)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert len(engine.requests("worker.stop")) == 1


def test_a_worker_on_a_thread_interrupted_while_it_starts_is_stopped(
    queue: Queue, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(queue)
    worker.task("t")(lambda: None)
    called = threading.Event()

    @worker.on_startup
    async def start() -> None:
        called.set()
        await asyncio.Event().wait()

    def interrupted(self: threading.Event, timeout: float | None = None) -> bool:
        monkeypatch.undo()
        assert called.wait(timeout or 10)
        raise KeyboardInterrupt(self)

    create = WorkerThread.start

    def start_interrupted(self: WorkerThread) -> None:
        create(self)
        monkeypatch.setattr(threading.Event, "wait", interrupted)

    monkeypatch.setattr(WorkerThread, "start", start_interrupted)
    with pytest.raises(KeyboardInterrupt), worker:
        pass
    assert len(engine.requests("worker.stop")) == 1
    assert not any(thread.name == "buquet-worker" for thread in threading.enumerate())


async def test_a_startup_hook_that_raises_stops_the_worker(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    worker.task("t")(lambda: None)

    @worker.on_startup
    def start() -> None:
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError):
        await worker.run(handle_signals=False)
    assert len(engine.requests("worker.stop")) == 1
    assert engine.requests("worker.next") == []


async def test_a_second_signal_gives_up_a_shutdown_hook_that_hangs(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    worker.task("t")(lambda: None)
    called = asyncio.Event()

    @worker.on_shutdown
    async def close() -> None:
        called.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(60):
        running = asyncio.create_task(worker.run(handle_signals=False))
        while not engine.requests("worker.next"):  # noqa: ASYNC110 - the worker runs on this loop
            await asyncio.sleep(0)
        worker.drain()
        await called.wait()
        worker.stop()
        await running
    assert len(engine.requests("worker.stop")) == 1


async def test_what_the_engine_warns_of_is_logged(
    queue: Queue, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(queue)
    worker.task("t")(lambda: None)
    engine.warnings.append("the heartbeat could not be written")

    async def said() -> bool:
        return "the heartbeat could not be written" in caplog.text

    async with worker:
        await wait_until_async(said, within=60, what="the warning")


async def test_a_thread_that_cannot_be_started_costs_the_attempt_and_runs_nothing_later(
    queue: Queue, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(queue)
    calls: list[int] = []

    @worker.task("t")
    def handler(input: int) -> int:  # noqa: A002
        calls.append(input)
        return input

    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("buquet-task"):
            raise RuntimeError("can't start new thread")
        start(thread)

    async with worker:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            refused = await queue.submit("t", 1, max_retries=0)
            assert (await queue.wait(refused, timeout=60)).status is TaskStatus.FAILED
        assert await (await queue.submit("t", 2)) == 2
    assert calls == [2]
    assert [outcome["outcome"] for outcome in outcomes(engine)] == ["fail", "complete"]


async def test_a_worker_without_tasks_or_with_two_for_a_name_is_refused(queue: Queue) -> None:
    worker = Worker(queue)
    with pytest.raises(InvalidError, match="no tasks"):
        await worker.run()
    worker.task("t")(lambda: None)
    with pytest.raises(InvalidError, match="already"):
        worker.task("t")(lambda: None)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"concurrency": 2.5}, {"prefetch": -1}, {"drain_timeout": -1}])
def test_a_wrong_worker_option_is_refused(queue: Queue, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        Worker(queue, **options)


async def test_no_more_than_the_concurrency_runs_at_a_time(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue, concurrency=3)
    running = most = 0

    @worker.task("t")
    async def handler() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with worker:
        group = await queue.submit_many("t", range(50))
        assert await group == [None] * 50
    assert most == 3
    assert all(request["max"] <= 3 for request in engine.requests("worker.next"))


async def test_what_ends_together_is_reported_together(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue, concurrency=20)

    @worker.task("t")
    async def handler(input: int) -> int:  # noqa: A002
        return input

    group = await queue.submit_many("t", range(20))
    async with worker:
        await group
    assert len(engine.requests("worker.settle")) == 1


async def test_an_outcome_is_sent_again_while_the_store_is_away(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    engine.fail_next("worker.settle", UnavailableError("the store is away"))
    engine.fail_next("worker.next", UnavailableError("the store is away"))

    @worker.task("t")
    async def handler() -> str:
        return "kept"

    async with worker:
        assert await (await queue.submit("t")) == "kept"


async def test_one_bad_outcome_does_not_take_the_others_along(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    engine.fail_next("worker.settle", InvalidError("one of them is wrong"))

    @worker.task("t")
    async def handler(input: int) -> int:  # noqa: A002
        return input

    group = await queue.submit_many("t", range(5))
    async with worker:
        assert await group == list(range(5))
