"""What type checkers see of workflows' starts and handles: Pyright fails on this file if a type is lost on the way."""

from __future__ import annotations

from typing import assert_type

from buquet import Buquet, Queue, TaskContext
from buquet.workflow import RunHandle, SyncWorkflowContext, WorkflowClient, WorkflowContext, workflow

app = Buquet("memory:")


def plain_step(path: str, size: int = 256) -> bytes:
    return path.encode() * size


async def async_step(ctx: TaskContext, number: int) -> list[str]:
    return [str(number)] * ctx.attempt


@app.workflow
async def order(ctx: WorkflowContext, order_id: str, cents: int = 1) -> list[str]:
    assert_type(await ctx.step(plain_step, order_id, size=cents), bytes)
    return await ctx.step(async_step, cents)


@app.workflow(name="plain", version="2", timeout="30d", tags=["shop"])
def plain_order(ctx: SyncWorkflowContext, order_id: str) -> int:
    assert_type(ctx.step(async_step, 1), list[str])
    return len(ctx.step(plain_step, order_id))


@workflow
async def elsewhere(ctx: WorkflowContext, number: int) -> dict[str, int]:
    return {ctx.info.id: number}


async def check_types(queue: Queue) -> None:
    """Never called: the checker reads it."""
    run = order.start("o-1", cents=5)
    assert_type(run, RunHandle[list[str]])
    assert_type(run.result(), list[str])
    assert_type(await run, list[str])
    assert_type(order.start("o-1", id="order-1"), RunHandle[list[str]])
    assert_type(await order.start_async("o-1"), RunHandle[list[str]])
    assert_type(order.options(id="order-1", delay="1m").start("o-1"), RunHandle[list[str]])
    assert_type(order.start_many(["o-1"]), list[RunHandle[list[str]]])
    assert_type(order.handle("order-1").result(), list[str])
    assert_type(plain_order.start("o-1").result(), int)
    order.start(1)  # pyright: ignore[reportCallIssue, reportArgumentType]
    order.start("o-1", euros=5)  # pyright: ignore[reportCallIssue]
    order.start()  # pyright: ignore[reportCallIssue]
    order.options(ident="order-1")  # pyright: ignore[reportCallIssue]

    client = WorkflowClient(queue)
    assert_type(await client.start(elsewhere, 5), RunHandle[dict[str, int]])
    assert_type(await client.options(id="e").start(elsewhere, number=5), RunHandle[dict[str, int]])
    assert_type(client.handle("e", elsewhere), RunHandle[dict[str, int]])
    await client.start(elsewhere, "five")  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_the_checker_has_read_this_file() -> None:
    assert check_types
