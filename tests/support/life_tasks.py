"""Tasks that run until they are told to stop, for tests of cancellation; the queue is given by BUQUET_URL."""

from __future__ import annotations

import asyncio
import time

from buquet import Buquet, TaskContext

app = Buquet()


@app.task
async def on_the_loop(ctx: TaskContext) -> None:
    """Report, and wait for ever."""
    ctx.progress(0.5, "waiting")
    await asyncio.Event().wait()


@app.task
def on_a_thread(ctx: TaskContext) -> None:
    """Report, and look whether to stop."""
    ctx.progress(0.5, "looking")
    while True:
        ctx.raise_if_cancelled()
        time.sleep(0.001)


@app.task(pool="process")
def in_a_process(ctx: TaskContext) -> None:
    """Report, and look at nothing."""
    ctx.progress(0.5, "busy")
    time.sleep(3600)


@app.task
async def stubborn(ctx: TaskContext) -> str:
    """Complete in spite of being told to stop."""
    ctx.progress(0.5)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "done all the same"
    return "never"


@app.task
def child(number: int) -> int:
    """Give its argument back."""
    return number


@app.task
def mother(number: int) -> str:
    """Submit a child and give its id."""
    return child.submit(number).id


@app.task(unique=True)
def once(number: int) -> int:
    """Give its argument back."""
    return number
