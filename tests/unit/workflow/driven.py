"""Workflows and steps for tests of workers that drive runs: of a module, as steps have to be."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from buquet import RetryableError, TaskContext
from buquet.workflow import SyncWorkflowContext, WorkflowContext, workflow

if TYPE_CHECKING:
    from collections.abc import Callable

effects: list[str] = []
"""What steps have done."""
gates: dict[str, threading.Event] = {}
"""What plain steps wait for."""
stops: list[str] = []
"""Steps that were told to stop."""


def reset() -> None:
    """Begin a test."""
    effects.clear()
    stops.clear()
    for gate in gates.values():
        gate.set()
    gates.clear()


def gate(name: str) -> threading.Event:
    """What a step of this name waits for."""
    return gates.setdefault(name, threading.Event())


def act(what: str) -> str:
    effects.append(what)
    return what.upper()


async def act_async(what: str) -> str:
    effects.append(what)
    return what.upper()


def undo(what: str) -> None:
    effects.append(f"undo {what}")


def hold(what: str) -> str:
    effects.append(what)
    assert gate(what).wait(60)
    return what.upper()


async def hold_async(what: str) -> str:
    effects.append(what)
    try:
        while not gate(what).is_set():  # noqa: ASYNC110 - a test opens it from anywhere
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        stops.append(what)
        raise
    return what.upper()


async def ignore_cancellation(what: str) -> str:
    effects.append(what)
    while not gate(what).is_set():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            stops.append(what)
    return "too late"


def look_at_context(ctx: TaskContext, what: str) -> str:
    effects.append(f"{ctx.id} {ctx.type} {ctx.attempt} {what}")
    return ctx.type


def fail_twice(what: str) -> str:
    effects.append(what)
    if effects.count(what) < 3:
        raise ConnectionError("not yet")
    return "third time"


def busy(what: str) -> str:
    effects.append(what)
    if effects.count(what) < 2:
        raise RetryableError("busy", delay="20ms")
    return "later"


def fail(message: str) -> None:
    effects.append(message)
    raise ValueError(message)


def leave(code: int) -> None:
    effects.append(f"exit {code}")
    raise SystemExit(code)


async def leave_async(code: int) -> None:
    effects.append(f"exit {code}")
    raise SystemExit(code)


def unencodable() -> Callable[[], None]:
    return reset


def large(size: int) -> str:
    return "x" * size


@workflow
async def chain(ctx: WorkflowContext, name: str) -> str:
    first = await ctx.step(act, f"{name}-1")
    second = await ctx.step(act_async, f"{name}-2")
    return f"{first} {second}"


@workflow
def plain_chain(ctx: SyncWorkflowContext, name: str) -> str:
    first = ctx.step(act, f"{name}-1")
    second = ctx.step(act_async, f"{name}-2")
    return f"{first} {second}"


@workflow
async def fan(ctx: WorkflowContext, count: int) -> list[str]:
    return list(await asyncio.gather(*(ctx.step(hold, f"item-{number}") for number in range(count))))


@workflow
async def waits(ctx: WorkflowContext) -> str:
    ctx.publish("stage", "waiting")
    approved = await ctx.wait_signal("approved", type=str)
    return await ctx.step(act, approved or "nothing")


@workflow
async def holds(ctx: WorkflowContext, what: str) -> str:
    first = await ctx.step(hold_async, what)
    return await ctx.step(act, f"after {first}")


@workflow
def plain_holds(ctx: SyncWorkflowContext, what: str) -> str:
    return ctx.step(hold, what)
