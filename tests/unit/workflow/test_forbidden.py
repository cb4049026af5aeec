"""What a body may not do, and what becomes of one that computes for long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import Any

import pytest

import buquet
from buquet.workflow import OperationFuture, WorkflowContext, workflow
from buquet.workflow._body import Body
from buquet.workflow._watch import Watch
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun, error_of, result
from tests.unit.workflow.test_loop import three

REFUSED = {
    "asyncio.to_thread": lambda: asyncio.to_thread(print),
    "loop.run_in_executor": lambda: asyncio.get_running_loop().run_in_executor(None, print),
    "loop.getaddrinfo": lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
    "asyncio.open_connection": lambda: asyncio.open_connection("localhost", 80),
    "asyncio.create_subprocess_exec": lambda: asyncio.create_subprocess_exec("true"),
    "asyncio.start_server": lambda: asyncio.start_server(lambda _reader, _writer: None, port=0),
    "loop.add_signal_handler": lambda: asyncio.get_running_loop().add_signal_handler(15, print),
    "loop.run_until_complete": lambda: asyncio.get_running_loop().run_until_complete(asyncio.sleep(0)),
    "loop.set_task_factory": lambda: asyncio.get_running_loop().set_task_factory(None),
    "loop.sock_recv": lambda: asyncio.get_running_loop().sock_recv(None, 1),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("call", REFUSED)
def test_what_no_replay_could_repeat_is_refused_by_name(call: str) -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        del ctx
        found: Any = REFUSED[call]()
        await found

    error = error_of(begun(body).ended)
    assert error.type == "NotDeterministicError"
    assert error.message.startswith(f"a workflow's body cannot call {call}: ")
    assert "do it in a step" in error.message


def test_another_loop_in_a_body_is_refused() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        nothing = asyncio.sleep(0)
        try:
            asyncio.run(nothing)
        finally:
            nothing.close()
        await ctx.sleep(1)

    error = error_of(begun(body).ended)
    assert error.type == "NotDeterministicError"
    assert "asyncio.run" in error.message


def test_calls_from_other_threads_are_refused() -> None:
    raised: list[str] = []

    @workflow
    async def body(ctx: WorkflowContext) -> None:
        loop, future = asyncio.get_running_loop(), ctx.step(steps.echo, "a")

        def other() -> None:
            for call in (
                lambda: loop.call_soon_threadsafe(print),
                lambda: loop.call_soon(print),
                lambda: ctx.step(steps.echo, "b"),
                lambda: ctx.publish("a", 1),
            ):
                try:
                    call()
                except buquet.WorkflowError as error:
                    raised.append(type(error).__name__)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        await future

    driver = begun(body)
    assert raised == ["NotDeterministicError", "NotDeterministicError", "NotInBodyError", "NotInBodyError"]
    driver.run()


def test_a_body_runs_inside_of_another_loop_and_leaves_it_as_it_was() -> None:
    async def outer() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        driver = begun(three)
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        driver.body.close()
        await asyncio.sleep(0)

    asyncio.run(outer())


def test_a_body_that_computes_for_long_is_warned_about_with_its_stack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    impatient = Watch(longest=0.02)
    monkeypatch.setattr("buquet.workflow._async_body.watch", impatient)

    @workflow
    async def body(ctx: WorkflowContext) -> str:
        compute(caplog)
        return ctx.info.id

    assert result(begun(body).ended) == "run-1"
    message = next(record.message for record in caplog.records)
    assert "the body of workflow 'body' has computed for" in message
    assert "in compute" in message


def compute(caplog: pytest.LogCaptureFixture) -> None:
    """Compute until somebody complains."""
    while not caplog.records:
        sum(range(1000))


def test_errors_nobody_looks_at_are_logged_once_and_not_at_replays(caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await ctx.step(steps.echo, "a")

    with caplog.at_level(logging.WARNING):
        driver = begun(body)
        assert len(caplog.records) == 1
        driver.replay()
        assert len(caplog.records) == 1
        driver.run()


def test_futures_hash_by_their_number() -> None:
    numbers: list[list[int]] = []

    @workflow
    async def body(ctx: WorkflowContext) -> None:
        future = ctx.step(steps.echo, "a")
        assert isinstance(future, OperationFuture)
        task = asyncio.create_task(asyncio.sleep(0))
        numbers.append([hash(future), hash(task), hash(asyncio.get_running_loop().create_future())])
        await future

    driver = begun(body)
    driver.replay()
    driver.run()
    assert numbers[0] == numbers[1]
    assert isinstance(driver.body, Body)


def test_a_body_that_waits_for_what_cannot_come_fails_and_may_clean_up() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await ctx.step(steps.act, "begun", compensate=steps.undo)
        try:
            await asyncio.Event().wait()
        finally:
            await ctx.step(steps.act, "cleaned up")

    steps.effects.clear()
    driver = begun(body)
    ended = driver.run()
    assert steps.effects == ["begun", "cleaned up", "undo begun"]
    assert ended.status == "failed"
    assert "waits for something that cannot come" in error_of(ended).message
    assert driver.replay().ended is not None


def test_a_body_that_waits_for_nothing_at_all_says_so() -> None:
    @workflow
    async def stuck(ctx: WorkflowContext) -> None:
        del ctx
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    @workflow
    async def waits(ctx: WorkflowContext) -> None:
        del ctx
        await asyncio.Queue[int]().get()

    for body in (stuck, waits):
        error = error_of(begun(body).ended)
        assert error.type == "WorkflowError"
        assert "waits for something that cannot come" in error.message


def test_more_than_ten_thousand_open_operations_are_refused() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await asyncio.gather(*(ctx.sleep(1) for _ in range(10_001)))

    assert "10000 operations of workflow 'body' run-1 have not ended" in error_of(begun(body).ended).message
