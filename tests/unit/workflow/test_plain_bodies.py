"""Plain ``def`` bodies: a thread of their own, of which nothing is left, and the same rules as for async ones."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from buquet.workflow import SyncWorkflowContext, workflow
from buquet.workflow._watch import Watch
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun, error_of, result

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("crashing")


@pytest.fixture
def threads() -> Callable[[], list[threading.Thread]]:
    """Find the threads that bodies have begun in this test."""
    before = set(threading.enumerate())

    def begun_since() -> list[threading.Thread]:
        since = [thread for thread in threading.enumerate() if thread not in before]
        return [thread for thread in since if thread.name == "buquet-body-run-1"]

    return begun_since


@workflow
def two_steps(ctx: SyncWorkflowContext) -> str:
    first = ctx.step(steps.echo, "a")
    return ctx.step(steps.echo, first * 2)


def test_a_thread_lives_as_long_as_its_body_is_kept_and_no_longer(
    threads: Callable[[], list[threading.Thread]],
) -> None:
    driver = begun(two_steps)
    (thread,) = threads()
    assert thread.daemon
    driver.body.close()
    thread.join(60)
    assert threads() == []
    driver.replay()
    assert result(driver.run()) == "aa"
    for thread in threads():
        thread.join(60)
    assert threads() == []


def run_a_loop() -> None:
    nothing = asyncio.sleep(0)
    try:
        asyncio.run(nothing)
    finally:
        nothing.close()


def run_a_runner() -> None:
    nothing, runner = asyncio.sleep(0), asyncio.Runner()
    with contextlib.closing(nothing), contextlib.closing(runner.get_loop()):
        runner.run(nothing)


def run_new_loop() -> None:
    nothing = asyncio.sleep(0)
    with contextlib.closing(nothing), contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(nothing)


def run_executor() -> None:
    asyncio.get_running_loop().run_in_executor(None, print)


@pytest.mark.parametrize("call", [run_a_loop, run_a_runner, run_new_loop, run_executor])
def test_event_loops_are_refused_in_it(call: Callable[[], None]) -> None:
    @workflow
    def body(ctx: SyncWorkflowContext) -> None:
        del ctx
        call()

    error = error_of(begun(body).ended)
    assert error.type == "NotDeterministicError"
    assert "do it in a step" in error.message


def test_steps_that_are_async_are_run_for_it() -> None:
    @workflow
    def body(ctx: SyncWorkflowContext) -> int:
        return ctx.step(steps.double, 4)

    assert result(begun(body).run()) == 8


def test_what_it_has_started_is_told_in_any_order_and_looked_at_again_and_again() -> None:
    @workflow
    def body(ctx: SyncWorkflowContext) -> list[Any]:
        failing, slow = ctx.start_step(steps.fail), ctx.start_step(steps.echo, "slow", name="slow")
        seen = [slow.result(), slow.done(), slow.result(), type(failing.exception()).__name__]
        with contextlib.suppress(ValueError):
            failing.result()
        return seen

    driver = begun(body)
    driver.end("fail")
    driver.replay()
    driver.end("slow")
    assert result(driver.ended) == ["slow", True, "slow", "ValueError"]


def test_other_threads_may_not_use_its_context() -> None:
    raised: list[str] = []

    @workflow
    def body(ctx: SyncWorkflowContext) -> None:
        pending = ctx.start_step(steps.echo, "a")

        def other() -> None:
            for call in (lambda: ctx.step(steps.echo, "b"), pending.result):
                try:
                    call()
                except Exception as error:  # noqa: BLE001 - it is what the test looks at
                    raised.append(type(error).__name__)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        pending.result()

    begun(body).run()
    assert raised[:2] == ["NotInBodyError", "NotInBodyError"]


def test_one_that_computes_for_long_is_warned_about_with_its_stack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("buquet.workflow._sync_body.watch", Watch(longest=0.02))

    @workflow
    def body(ctx: SyncWorkflowContext) -> str:
        while not caplog.records:
            sum(range(1000))
        return ctx.info.id

    assert result(begun(body).ended) == "run-1"
    assert "the body of workflow 'body' has computed for" in caplog.records[0].message
    assert "in body" in caplog.records[0].message


def test_many_wait_at_a_time_and_end_in_any_order() -> None:
    drivers = [begun(two_steps) for _ in range(50)]
    for driver in reversed(drivers):
        driver.run()
    assert {result(driver.ended) for driver in drivers} == {"aa"}
