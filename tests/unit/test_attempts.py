"""Every way an attempt can end."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buquet import (
    Buquet,
    InvalidError,
    LeaseLostError,
    PermanentError,
    Queue,
    RescheduleError,
    RetryableError,
    TaskContext,
    TaskFailedError,
    TaskStatus,
    Worker,
)
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from tests.unit.conftest import LoopClock
    from tests.unit.fake_engine import FakeEngine


def outcomes(engine: FakeEngine) -> list[dict[str, Any]]:
    return [outcome for request in engine.requests("worker.settle") for outcome in request["outcomes"]]


async def settled(engine: FakeEngine, count: int = 1) -> list[dict[str, Any]]:
    """Wait until that many outcomes were reported."""

    async def enough() -> bool:
        return len(outcomes(engine)) >= count

    await wait_until_async(enough, within=60, what=f"{count} outcome(s)")
    return outcomes(engine)


async def test_async_and_plain_handlers_get_their_input_typed(queue: Queue) -> None:
    worker = Worker(queue)
    threads: list[str] = []

    @worker.task("on_loop")
    async def on_loop(input: int) -> int:  # noqa: A002
        return input + 1

    @worker.task("on_thread")
    def on_thread(input: list[int], ctx: TaskContext) -> dict[str, Any]:  # noqa: A002
        threads.append(threading.current_thread().name)
        return {"sum": sum(input), "attempt": ctx.attempt}

    async with worker:
        assert await (await queue.submit("on_loop", 1)) == 2
        assert await (await queue.submit("on_thread", [1, 2])) == {"sum": 3, "attempt": 1}
    assert threads[0].startswith("buquet-task")


async def test_a_failed_attempt_is_retried_until_it_succeeds(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)

    @worker.task("flaky")
    def flaky(_input: None, ctx: TaskContext) -> int:
        if ctx.attempt < 3:
            raise OSError("not yet")
        return ctx.attempt

    async with worker:
        assert await (await queue.submit("flaky")) == 3
    assert [outcome["outcome"] for outcome in outcomes(engine)] == ["fail", "fail", "complete"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no"), {"outcome": "fail", "retry": True}),
        (KeyError("never"), {"outcome": "fail", "retry": False}),
        (OSError("not listed"), {"outcome": "fail", "retry": False}),
        (PermanentError("no use"), {"outcome": "fail", "retry": False}),
        (RetryableError("later", delay="5m"), {"outcome": "fail", "retry": True, "delay": "5m"}),
        (RetryableError("later", delay=-1), {"outcome": "fail", "retry": False}),
        (RescheduleError(delay=3600), {"outcome": "reschedule", "delay": 3600.0}),
        (SystemExit(3), {"outcome": "fail", "retry": False}),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_the_exception_decides_what_happens_next(
    queue: Queue, engine: FakeEngine, error: BaseException, expected: dict[str, Any]
) -> None:
    worker = Worker(queue)

    @worker.task("t", retry_on=[ValueError, KeyError], no_retry_on=KeyError)
    def handler(_input: None) -> None:
        raise error

    async with worker:
        await queue.submit("t", max_retries=0)
        outcome = (await settled(engine))[0]
    assert {name: outcome.get(name) for name in expected} == expected


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
async def test_what_would_end_a_program_costs_an_async_handler_only_its_attempt(
    queue: Queue, engine: FakeEngine, error: BaseException
) -> None:
    worker = Worker(queue)

    @worker.task("t")
    async def handler(_input: None) -> None:
        raise error

    @worker.task("next")
    async def following() -> str:
        return "done"

    async with worker:
        await queue.submit("t", max_retries=0)
        outcome = (await settled(engine))[0]
        assert await (await queue.submit("next")) == "done"
    assert (outcome["outcome"], outcome["error"]["type"].split(".")[-1]) == ("fail", type(error).__name__)


class FatalError(Exception):
    """An error that ends the program of whoever looks at it."""

    def __str__(self) -> str:
        raise self.args[0]


@pytest.mark.parametrize("error", [SystemExit("fatal"), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("on_loop", [True, False])
def test_an_error_that_would_end_the_program_when_it_is_shown_costs_only_its_attempt(
    error: BaseException, *, on_loop: bool
) -> None:
    with Buquet("memory:") as app:

        def broken() -> None:
            raise FatalError(error)

        async def broken_on_loop() -> None:
            broken()

        fails: Any = app.task(name="broken", retries=0)(broken_on_loop if on_loop else broken)
        ping = app.task(name="ping")(lambda: "pong")
        with app.worker(concurrency=1):
            with pytest.raises(
                TaskFailedError, match=f"<no message: FatalError.__str__ raised {type(error).__name__}>"
            ):
                fails.submit().result(timeout=10)
            assert ping.submit().result(timeout=10) == "pong"


async def test_input_that_does_not_fit_fails_for_good(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)

    @worker.task("t")
    def handler(input: int) -> int:  # noqa: A002
        return input

    async with worker:
        await queue.submit("t", "seven")
        outcome = (await settled(engine))[0]
    assert (outcome["outcome"], outcome["retry"]) == ("fail", False)
    assert "Expected `int`" in outcome["error"]["message"]


async def test_a_result_without_json_form_fails_for_good(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)

    @worker.task("t")
    async def handler() -> Any:
        return object()

    async with worker:
        await queue.submit("t")
        outcome = (await settled(engine))[0]
    assert (outcome["outcome"], outcome["retry"]) == ("fail", False)


async def test_an_output_that_the_engine_refuses_fails_the_task_with_its_words(
    queue: Queue, engine: FakeEngine
) -> None:
    worker = Worker(queue)
    engine.refuse_outputs_over = 100

    @worker.task("t")
    async def handler() -> str:
        return "x" * 1000

    async with worker:
        task = await queue.wait(await queue.submit("t"), timeout=60)
    assert task.status is TaskStatus.FAILED
    assert task.error is not None
    assert task.error.message == "the output is too large"


async def test_a_timeout_cancels_an_async_handler(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    cancelled = asyncio.Event()

    @worker.task("t")
    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with worker:
        await queue.submit("t", timeout=0.05, max_retries=0)
        outcome = (await settled(engine))[0]
        await asyncio.wait_for(cancelled.wait(), 60)
    assert outcome["outcome"] == "timeout"


async def test_a_thread_that_overstays_is_reported_and_its_late_result_dropped(
    queue: Queue, engine: FakeEngine
) -> None:
    worker = Worker(queue, concurrency=1)
    release = threading.Event()

    @worker.task("stuck")
    def stuck() -> str:
        release.wait(60)
        return "late"

    @worker.task("next")
    def following() -> str:
        return "done"

    async with worker:
        first = await queue.submit("stuck", timeout=0.05, max_retries=0)
        assert (await queue.wait(first, timeout=60)).status is TaskStatus.FAILED
        # The task went its way, and so does the next one although the thread is still stuck.
        assert await (await queue.submit("next")) == "done"
        release.set()
    assert [outcome["outcome"] for outcome in outcomes(engine)] == ["timeout", "complete"]


async def test_an_extension_moves_the_deadline(queue: Queue, clock: LoopClock) -> None:
    worker = Worker(queue)

    @worker.task("on_loop")
    async def on_loop(ctx: TaskContext) -> bool:
        before = ctx.deadline
        after = await ctx.extend(3600)
        clock.advance(601)
        for _ in range(10):  # an attempt whose time was up would end here
            await asyncio.sleep(0)
        return before is not None and after > before

    @worker.task("on_thread")
    def on_thread(ctx: TaskContext) -> bool:
        before = ctx.deadline
        return before is not None and ctx.extend_sync(60) > before

    async with worker:
        assert await (await queue.submit("on_loop", timeout=600)) is True
        assert await (await queue.submit("on_thread", timeout=50)) is True


async def test_the_deadline_is_the_handlers_own_and_never_moves_closer(queue: Queue) -> None:
    worker = Worker(queue)

    @worker.task("t")
    async def handler(ctx: TaskContext) -> list[float]:
        def left() -> float:
            assert ctx.deadline is not None
            return (ctx.deadline - datetime.now(UTC)).total_seconds()

        seen = [left()]
        for by in ("5m", timedelta(hours=1), 10.0):
            await ctx.extend(by)
            seen.append(left())
        return seen

    async with worker:
        handle = await queue.submit("t", timeout=60)
        assert await handle == pytest.approx([60, 300, 3600, 3600], abs=10)


async def test_an_extension_counts_from_now_not_on_top_of_what_is_left(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)

    @worker.task("t")
    async def handler(ctx: TaskContext) -> float:
        for _ in range(10):
            await ctx.extend(600)
        assert ctx.deadline is not None
        return (ctx.deadline - datetime.now(UTC)).total_seconds()

    async with worker:
        assert await (await queue.submit("t", timeout=60)) == pytest.approx(600, abs=60)
    assert len(engine.requests("worker.extend")) == 10


async def test_a_thread_is_told_that_its_time_is_up(queue: Queue, clock: LoopClock) -> None:
    worker = Worker(queue)
    loop = asyncio.get_running_loop()
    seen: list[bool] = []
    told = threading.Event()

    @worker.task("t")
    def handler(ctx: TaskContext) -> None:
        seen.append(ctx.lease_lost)
        loop.call_soon_threadsafe(clock.advance, 601)
        wait_until(lambda: ctx.lease_lost, within=60, what="the end of its time")
        with pytest.raises(LeaseLostError):
            ctx.extend_sync(60)
        told.set()

    async with worker:
        await queue.submit("t", timeout=600, max_retries=0)
        assert await asyncio.to_thread(told.wait, 60)
    assert seen == [False]


async def test_a_blocking_extension_is_refused_on_the_loop(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)

    @worker.task("t", no_retry_on=InvalidError)
    async def handler(ctx: TaskContext) -> None:
        ctx.extend_sync(60)

    async with worker:
        await queue.submit("t", timeout=5)
        outcome = (await settled(engine))[0]
    assert (outcome["outcome"], outcome["error"]["type"]) == ("fail", "InvalidError")
    assert "await ctx.extend" in outcome["error"]["message"]


@pytest.mark.parametrize(("retry_on", "retry"), [(None, True), (ValueError, False), (TimeoutError, True)])
async def test_whether_a_timeout_is_retried_is_the_handlers_choice(
    queue: Queue, engine: FakeEngine, *, retry_on: type[Exception] | None, retry: bool
) -> None:
    worker = Worker(queue)

    @worker.task("t", retry_on=retry_on)
    async def handler() -> None:
        await asyncio.Event().wait()

    async with worker:
        await queue.submit("t", timeout=0.05, max_retries=0)
        outcome = (await settled(engine))[0]
    assert (outcome["outcome"], outcome["retry"]) == ("timeout", retry)


async def test_claiming_less_because_of_stuck_threads_is_said(
    queue: Queue, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(queue, concurrency=1)
    release = threading.Event()

    @worker.task("stuck")
    def stuck() -> None:
        release.wait(60)

    async with worker:
        await queue.submit_many("stuck", [None, None], timeout=0.05, max_retries=0)
        await settled(engine, 2)

        async def said() -> bool:
            return "no place is left: 2 attempt(s)" in caplog.text

        await wait_until_async(said, within=60, what="the warning")
        release.set()


async def test_a_lost_lease_cancels_the_handler_and_reports_nothing(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue)
    running, ended = asyncio.Event(), asyncio.Event()
    seen: list[Any] = []

    @worker.task("t")
    async def handler(ctx: TaskContext) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(ctx.lease_lost)
            with pytest.raises(LeaseLostError):
                await ctx.extend(5)
            ended.set()

    async with worker:
        handle = await queue.submit("t")
        await asyncio.wait_for(running.wait(), 60)
        engine.lose(handle.id)
        await asyncio.wait_for(ended.wait(), 60)
    assert seen == [True]
    assert outcomes(engine) == []


async def test_a_loss_is_heard_also_when_all_slots_are_taken(queue: Queue, engine: FakeEngine) -> None:
    worker = Worker(queue, concurrency=1)
    running, ended = asyncio.Event(), asyncio.Event()

    @worker.task("t")
    async def handler() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with worker:
        handle = await queue.submit("t")
        await asyncio.wait_for(running.wait(), 60)
        engine.lose(handle.id)
        await asyncio.wait_for(ended.wait(), 60)
