"""Tasks that run until they are told to stop, for tests of cancellation; the queue is given by BUQUET_URL."""

from __future__ import annotations

import asyncio
import time

from buquet import Buquet, TaskContext

app = Buquet()


@app.task
async def on_the_loop(ctx: TaskContext) -> None:
    """Report, and wait for ever."""
    ctx.progress(0.5, "half way")
    await asyncio.Event().wait()


@app.task
def on_a_thread(ctx: TaskContext) -> None:
    """Report, and look whether to stop."""
    ctx.progress(0.5, "half way")
    while True:
        ctx.raise_if_cancelled()
        time.sleep(0.001)


@app.task(pool="process")
def in_a_process(ctx: TaskContext) -> None:
    """Report, and look at nothing."""
    ctx.progress(0.5, "half way")
    time.sleep(3600)


@app.task
async def stubborn_on_the_loop(ctx: TaskContext) -> str:
    """Complete in spite of being told to stop."""
    ctx.progress(0.5)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "done all the same"
    return "never"


@app.task
def stubborn_on_a_thread(ctx: TaskContext) -> str:
    """Likewise."""
    ctx.progress(0.5)
    while not ctx.cancelled:
        time.sleep(0.001)
    return "done all the same"


@app.task
def child(ctx: TaskContext, number: int) -> list[object]:
    """Tell what its task was submitted with."""
    del number
    return [ctx.tags, ctx.metadata, ctx.parent]


@app.task
def mother() -> str:
    """Submit a child and give its id."""
    return child.options(tags=["night"], metadata={"customer": "42"}).submit(7).id


@app.task(unique=True)
def once(number: int) -> int:
    """Give its argument back."""
    return number
