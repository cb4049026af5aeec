"""A run that is to be cancelled: the body is told once, cleans up, and undoes its steps if it has asked for that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from buquet.workflow import RunCancelledError, SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from buquet.workflow._entries import Ask
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun, error_of, result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.usefixtures("crashing")


@workflow
async def cleans_up(ctx: WorkflowContext) -> str:
    try:
        await ctx.sleep("3d")
    except asyncio.CancelledError as error:
        await ctx.step(steps.act, f"cleaned up: {error}")
        await ctx.step(steps.act, "and swept")
        raise
    return "slept"


@workflow
def cleans_up_and_is_plain(ctx: SyncWorkflowContext) -> str:
    try:
        ctx.sleep("3d")
    except RunCancelledError as error:
        ctx.step(steps.act, f"cleaned up: {error}")
        ctx.step(steps.act, "and swept")
        raise
    return "slept"


@pytest.mark.parametrize("body", [cleans_up, cleans_up_and_is_plain], ids=["async", "plain"])
def test_a_cancel_is_told_once_and_clean_up_may_run_steps(body: WorkflowFunction[[], str]) -> None:
    steps.effects.clear()
    driver = begun(body)
    driver.cancel("too slow")
    assert [entry.op for entry in driver.asks() if entry.ask == "cancel"] == [0], "the timer is closed"
    driver.replay()
    driver.cancel("again")
    ended = driver.run()
    assert ended.status == "cancelled"
    assert steps.effects == ["cleaned up: too slow", "and swept"]
    driver.replay()
    assert driver.ended is not None
    assert driver.ended.status == "cancelled"


WAITS: dict[str, Callable[[WorkflowContext], Awaitable[Any]]] = {
    "step": lambda ctx: ctx.step(steps.echo, "a", retries=9, backoff="1h"),
    "signal": lambda ctx: ctx.wait_signal("never"),
    "callback": lambda ctx: ctx.callback(),
    "select": lambda ctx: ctx.select(late=ctx.timer("1h")),
    "sleep": lambda _ctx: asyncio.sleep(60),
    "event": lambda ctx: asyncio.wait_for(asyncio.Event().wait(), 60 if ctx.info.execution else None),
    "map": lambda ctx: ctx.map(steps.echo, ["a", "b"]),
    "gather": lambda ctx: asyncio.gather(ctx.step(steps.echo, "a"), ctx.step(steps.echo, "b")),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_cancel_reaches_whatever_the_body_waits_for(wait: str) -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await WAITS[wait](ctx)

    driver = begun(body)
    opened = len(driver.open)
    driver.cancel()
    assert driver.ended is not None
    assert driver.ended.status == "cancelled"
    assert len([entry for entry in driver.asks() if entry.ask == "cancel"]) == opened
    driver.replay()


@workflow
async def parent(ctx: WorkflowContext) -> str:
    return await ctx.child(slow_child)


@workflow
async def slow_child(ctx: WorkflowContext) -> str:
    return ctx.info.id


def test_a_parent_that_is_cancelled_does_not_record_that_as_its_childs_result() -> None:
    driver = begun(parent)
    awaited = driver.find("slow_child")
    driver.cancel()
    assert [type(entry).__name__ for entry in driver.read()] == ["Ask", "Told", "Ask"]
    assert (driver.asks()[1].ask, driver.asks()[1].op) == ("cancel", awaited.op)
    driver.replay()
    assert driver.ended is not None
    assert driver.ended.status == "cancelled"


def test_a_body_that_swallows_its_cancellation_completes() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        try:
            await ctx.sleep("1h")
        except asyncio.CancelledError:
            return "not now"
        return ""

    driver = begun(body)
    driver.cancel()
    assert result(driver.ended) == "not now"


def test_a_cancellation_nobody_wished_for_is_a_failure() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        future = ctx.step(steps.echo, "a")
        future.cancel()
        await future

    ended = begun(body).ended
    assert ended is not None
    assert ended.status == "failed"
    assert error_of(ended).type == "asyncio.exceptions.CancelledError"


@workflow
async def races(ctx: WorkflowContext) -> str:
    fast, slow = ctx.step(steps.echo, "fast", name="fast"), ctx.step(steps.echo, "slow", name="slow")
    first = await fast
    slow.cancel()
    return first + await ctx.step(steps.echo, "after")


def test_a_loser_is_closed_by_its_cancel_and_what_it_gives_later_is_dropped() -> None:
    driver = begun(races)
    slow = driver.find("slow")
    driver.end("fast")
    assert driver.names() == ["echo"]
    before = list(driver.entries)
    driver.end_operation(slow)
    assert driver.entries == before, "nothing is appended"
    driver.replay()
    driver.run()
    driver.replay()
    assert result(driver.ended) == "fastafter"


def test_an_end_that_the_engine_had_recorded_beside_the_cancel_changes_nothing() -> None:
    driver = begun(races)
    driver.end("fast")
    driver.entries.append(b'{"told":"step","op":1,"at":1700000000009,"output":"slow"}')
    driver.replay()
    assert result(driver.run()) == "fastafter"
    driver.replay()


def test_the_end_of_a_body_does_not_wait_for_cancelled_steps() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        ctx.step(steps.echo, "a").cancel()
        return "done"

    assert result(begun(body).ended) == "done"


@workflow
async def forgets(ctx: WorkflowContext) -> str:
    ctx.step(steps.echo, "a")
    ctx.step(steps.echo, "b", name="send")
    return "done"


@workflow
def forgets_and_is_plain(ctx: SyncWorkflowContext) -> str:
    ctx.start_step(steps.echo, "a")
    ctx.start_step(steps.echo, "b", name="send")
    return "done"


@pytest.mark.parametrize("body", [forgets, forgets_and_is_plain], ids=["async", "plain"])
def test_steps_that_are_never_awaited_are_an_error_when_the_body_returns(body: WorkflowFunction[[], str]) -> None:
    error = error_of(begun(body).ended)
    assert error.type == "NotAwaitedError"
    assert "2 of what it had asked for was never awaited: step 'echo', step 'send'" in error.message


def test_a_task_nobody_awaits_that_goes_on_is_an_error_when_the_body_returns() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        async def detached() -> None:
            await ctx.step(steps.echo, "a")

        task = asyncio.create_task(detached())
        await ctx.step(steps.echo, "b", name="b")
        return task.get_name()

    driver = begun(body)
    driver.end("b")
    error = error_of(driver.ended)
    assert error.type == "NotAwaitedError"
    assert "detached" in error.message


@workflow
async def books(ctx: WorkflowContext, fail: bool = True) -> str:  # noqa: FBT001, FBT002 - as workflows have it
    flight, hotel = (
        ctx.step(steps.act, "flight", compensate=steps.undo, name="flight"),
        ctx.step(steps.act, "hotel", compensate=steps.undo, name="hotel"),
    )
    ctx.on_rollback(steps.undo, "trip")
    await asyncio.gather(flight, hotel)
    await ctx.step(steps.act, "car", compensate=steps.fail_to_undo)
    ctx.on_rollback(steps.undo, what="insurance")
    if fail:
        await ctx.step(steps.fail, "no money")
    await ctx.sleep("1d")
    return "booked"


@workflow
def books_and_is_plain(ctx: SyncWorkflowContext, fail: bool = True) -> str:  # noqa: FBT001, FBT002
    flight = ctx.start_step(steps.act, "flight", compensate=steps.undo, name="flight")
    hotel = ctx.start_step(steps.act, "hotel", compensate=steps.undo, name="hotel")
    ctx.on_rollback(steps.undo, "trip")
    for one in (flight, hotel):
        one.result()
    ctx.step(steps.act, "car", compensate=steps.fail_to_undo)
    ctx.on_rollback(steps.undo, what="insurance")
    if fail:
        ctx.step(steps.fail, "no money")
    ctx.sleep("1d")
    return "booked"


BOTH = pytest.mark.parametrize("body", [books, books_and_is_plain], ids=["async", "plain"])


@BOTH
def test_steps_are_undone_in_the_reverse_order_of_their_ends_and_one_that_fails_does_not_stop_the_rest(
    body: WorkflowFunction[[bool], str],
) -> None:
    steps.effects.clear()
    driver = begun(body)
    driver.end("hotel")
    driver.end("flight")
    ended = driver.run()
    undone = ["undo insurance", "fail to undo car", "undo flight", "undo hotel", "undo trip"]
    assert steps.effects == ["hotel", "flight", "car", *undone]
    assert ended.status == "failed"
    error = error_of(ended)
    assert (error.type, error.message) == ("ValueError", "no money")
    assert any("car cannot be undone" in note for note in error.notes)
    compensations = [entry for entry in driver.asks() if entry.scope == "rollback"]
    journal = driver.read()
    undone_steps = [journal[entry.compensates] for entry in compensations if isinstance(entry.compensates, int)]
    by_op = {entry.name for entry in undone_steps if isinstance(entry, Ask)}
    assert by_op == {"flight", "hotel", "act"}


@BOTH
def test_a_crash_in_the_middle_of_undoing_goes_on_there(body: WorkflowFunction[[bool], str]) -> None:
    steps.effects.clear()
    driver = begun(body)
    while driver.ended is None:
        driver.end_operation(driver.ready()[0])
        driver.replay()
    assert steps.effects.count("undo flight") == 1
    assert steps.effects[-1] == "undo trip"


@BOTH
def test_a_cancelled_run_undoes_its_steps_and_a_second_cancel_does_not_disturb_that(
    body: WorkflowFunction[[bool], str],
) -> None:
    steps.effects.clear()
    driver = begun(body, fail=False)
    while driver.names() != ["sleep"]:
        driver.end_operation(driver.ready()[0])
    driver.cancel("not today")
    driver.cancel("I said not today")
    assert driver.body.is_rolling_back
    ended = driver.run()
    assert ended.status == "cancelled"
    assert steps.effects[3:] == ["undo insurance", "fail to undo car", "undo hotel", "undo flight", "undo trip"]


@workflow
async def pays_twice(ctx: WorkflowContext) -> None:
    async def pay(what: str) -> None:
        try:
            await ctx.step(steps.act, what, compensate=steps.undo, name=what)
            await ctx.step(steps.act, f"more of {what}")
        finally:
            await ctx.step(steps.act, f"tidied up {what}")

    await asyncio.gather(pay("slow"), ctx.step(steps.fail))


@workflow
def pays_twice_and_is_plain(ctx: SyncWorkflowContext) -> None:
    ctx.start_step(steps.act, "slow", compensate=steps.undo, name="slow")
    ctx.step(steps.fail)


@pytest.mark.parametrize("body", [pays_twice, pays_twice_and_is_plain], ids=["async", "plain"])
def test_a_step_that_runs_when_the_body_fails_ends_before_it_is_undone_and_its_task_does_nothing_more(
    body: WorkflowFunction[[], None],
) -> None:
    steps.effects.clear()
    driver = begun(body)
    driver.end("fail")
    assert driver.names() == ["slow"]
    driver.replay()
    driver.cancel("too late")
    assert driver.ended is None
    driver.run()
    assert steps.effects == ["slow", "undo slow"]
    assert error_of(driver.ended).type == "ValueError"
    driver.replay()


def test_a_cancel_that_comes_when_the_body_is_about_to_end_does_not_lose_its_end() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        main = asyncio.current_task()
        assert main is not None
        await ctx.step(steps.act, "a", compensate=steps.undo)
        main.cancel()
        return "done"

    @workflow
    async def fails(ctx: WorkflowContext) -> str:
        main = asyncio.current_task()
        assert main is not None
        await ctx.step(steps.act, "a", compensate=steps.undo)
        main.cancel()
        raise ValueError("no")

    assert result(begun(body).run()) == "done"
    steps.effects.clear()
    assert error_of(begun(fails).run()).type == "ValueError"
    assert steps.effects == ["a", "undo a"]
