"""What type checkers see of workflows: Pyright fails on this file if a signature is lost on the way."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, assert_type

from buquet import Buquet
from buquet.workflow import (
    CallbackFuture,
    MapResult,
    OperationFuture,
    Pending,
    Selected,
    SyncWorkflowContext,
    WorkflowContext,
    workflow,
)
from tests.unit.workflow.steps import act, add, double, undo

app = Buquet("memory:")


@app.task
def resize(path: str, size: int = 256) -> bytes:
    return path.encode() * size


@workflow
async def greet(ctx: WorkflowContext, name: str, times: int = 1) -> str:
    return f"{name} {times} {ctx.info.id}"


@workflow(version="2")
def plain(ctx: SyncWorkflowContext, number: int) -> list[int]:
    return [number, ctx.info.execution]


async def check_async(ctx: WorkflowContext) -> None:
    """Never called: read by the type checker."""
    assert_type(ctx.step(add, 1), OperationFuture[int])
    assert_type(ctx.step(add, 1, right=2), OperationFuture[int])
    assert_type(ctx.step(double, 1), OperationFuture[int])
    assert_type(await ctx.step(double, number=1), int)
    assert_type(ctx.step(act, "a", retries=5, compensate=undo), OperationFuture[str])
    assert_type(ctx.step(double, 1, timeout="5s", retry_on=ValueError), OperationFuture[int])
    assert_type(ctx.step(add, 1, retries=2), OperationFuture[int])
    assert_type(ctx.options(retries=5).step(add, 1, right=2), OperationFuture[int])
    assert_type(await asyncio.gather(ctx.step(add, 1), ctx.step(act, "a")), tuple[int, str])
    assert_type(await ctx.map(double, [1, 2]), MapResult[int])
    assert_type((await ctx.map(act, ["a"], max_concurrency=2)).results, list[str])
    assert_type(ctx.call(resize, "cat.png", size=1), OperationFuture[bytes])
    assert_type(ctx.child(greet, "a", times=2), OperationFuture[str])
    assert_type(await ctx.child_options(id="x").child(plain, 1), list[int])
    assert_type(ctx.wait_signal("a", type=int), OperationFuture[int | None])
    assert_type(await ctx.wait_signal("a"), Any)
    assert_type(ctx.callback(type=str), CallbackFuture[str])
    assert_type(await ctx.select(a=ctx.signal("a")), Selected)
    assert_type(await ctx.poll(act, "a", every="1s", until=lambda state: state.startswith("a")), str)
    assert_type(await ctx.poll(double, 1, every=lambda rounds, state: rounds + state), int)
    await ctx.sleep("1s")
    ctx.step(add, "1")  # pyright: ignore[reportArgumentType, reportCallIssue]
    ctx.step(add)  # pyright: ignore[reportCallIssue]
    ctx.step(act, 1, retries=3)  # pyright: ignore[reportArgumentType, reportCallIssue]
    ctx.step(act, "a", retrys=3)  # pyright: ignore[reportCallIssue]
    ctx.child(greet, 1)  # pyright: ignore[reportArgumentType]
    ctx.call(resize, 1)  # pyright: ignore[reportArgumentType, reportCallIssue]


def check_sync(ctx: SyncWorkflowContext) -> None:
    """Never called: read by the type checker."""
    assert_type(ctx.step(add, 1, right=2), int)
    assert_type(ctx.step(double, 1), int)
    assert_type(ctx.step(act, "a", retries=5, compensate=undo), str)
    assert_type(ctx.start_step(double, 1), Pending[int])
    assert_type(ctx.start_step(act, "a", retries=5).result(), str)
    assert_type(ctx.map(double, [1, 2]).results, list[int])
    assert_type(ctx.call(resize, "cat.png"), bytes)
    assert_type(ctx.child(greet, "a"), str)
    assert_type(ctx.wait_signal("a", type=str, timeout="1h"), str | None)
    assert_type(ctx.poll(double, 1, every="1s", until=lambda state: state > 1), int)
    ctx.step(add, "1")  # pyright: ignore[reportArgumentType, reportCallIssue]
    ctx.start_step(act, 1, retries=3)  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_a_workflow_is_not_called_but_started() -> None:
    assert repr(greet) == "<workflow 'greet'>"
    assert plain.version == "2"
    assert inspect.unwrap(greet).__name__ == "greet"  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportArgumentType]
