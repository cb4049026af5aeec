"""The app of durable workflows that test workers run: `buquet worker tests.support.durable:app`.

Environment:
    DURABLE_STARTS  a file to which each start of a step is appended.
    DURABLE_GATE    a path: steps that hold do not return before it exists.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from buquet import Buquet
from buquet.workflow import SyncWorkflowContext, WorkflowContext  # noqa: TC001 - annotations of bodies are read
from tests.support.waiting import STEP_SECONDS

STARTS = os.environ.get("DURABLE_STARTS")
GATE = os.environ.get("DURABLE_GATE")

app = Buquet()


def note(what: str) -> None:
    """Append one line, in one write, so that lines of several processes never mix."""
    if STARTS:
        with Path(STARTS).open("ab", buffering=0) as file:
            file.write(f"{what} {os.getpid()}\n".encode())


def is_open() -> bool:
    """Whether steps that hold may return."""
    return GATE is None or Path(GATE).exists()


def quick(what: str) -> str:
    """Do something, once."""
    note(what)
    return what.upper()


def hold(what: str) -> str:
    """Hold a thread until the gate opens."""
    note(what)
    while not is_open():
        time.sleep(STEP_SECONDS)
    return what.upper()


async def hold_async(what: str) -> str:
    """Hold on the loop until the gate opens."""
    note(what)
    while not is_open():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(STEP_SECONDS)
    return what.upper()


def die(what: str) -> None:
    """Take the worker along."""
    note(what)
    os._exit(9)


@app.workflow
async def several(ctx: WorkflowContext, name: str) -> list[str]:
    """A step, two that hold side by side, and another."""
    first = await ctx.step(quick, f"{name}-first")
    middle = await asyncio.gather(ctx.step(hold, f"{name}-plain"), ctx.step(hold_async, f"{name}-async"))
    return [first, *middle, await ctx.step(quick, f"{name}-last")]


@app.workflow
def plain(ctx: SyncWorkflowContext, name: str) -> list[str]:
    """The same, one after another."""
    return [ctx.step(quick, f"{name}-first"), ctx.step(hold, f"{name}-plain"), ctx.step(quick, f"{name}-last")]


@app.workflow
async def once(ctx: WorkflowContext, name: str) -> str:
    """A step that may run only once."""
    return await ctx.step(hold_async, name, at_most_once=True)


@app.workflow
async def deadly(ctx: WorkflowContext, name: str) -> None:
    """A step that kills its worker."""
    await ctx.step(die, name, retries=2)
