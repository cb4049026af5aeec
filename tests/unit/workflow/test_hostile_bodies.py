"""Bodies that do what one does in anger: they swallow, hold back, and leave things about."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import buquet
from buquet.workflow import WorkflowContext, workflow
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun, result

if TYPE_CHECKING:
    from collections.abc import Coroutine

ROOT = Path(buquet.__file__).parents[2]
LONGEST = 30
"""Seconds. What swallows all that is raised in it may only be tried in a process that can be killed."""

SWALLOWS = """
import asyncio
import logging
import sys
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun
from buquet.workflow import WorkflowContext, workflow

logging.disable()

async def part(ctx):
    return await ctx.step(steps.echo, "a")

async def tries_uuid(ctx):
    ctx.uuid()
    await part(ctx)

async def tries_publish(ctx):
    ctx.publish("a", 1)
    await part(ctx)

async def tries_gather(ctx):
    await asyncio.gather(part(ctx), part(ctx))

async def tries_group(ctx):
    async with asyncio.TaskGroup() as group:
        group.create_task(part(ctx))

async def tries_timeout(ctx):
    async with asyncio.timeout(5):
        await part(ctx)

async def tries_map(ctx):
    await ctx.map(steps.echo, ["a"])

async def tries_parallel(ctx):
    await ctx.parallel(lambda: part(ctx), lambda: part(ctx))

@workflow
async def swallows(ctx: WorkflowContext, what: str) -> None:
    while True:
        try:
            await globals()[what](ctx)
        except BaseException:
            pass

for what in [name for name in globals() if name.startswith("tries_")]:
    driver = begun(swallows, what)
    driver.body.close()
    print(what, driver.body.has_let_go)
"""

LEAVES = """
import asyncio
import gc
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun
from buquet.workflow import WorkflowContext, workflow

async def part(ctx, number):
    return await ctx.step(steps.echo, str(number))

@workflow
async def bounded(ctx: WorkflowContext) -> None:
    places = asyncio.Semaphore(2)

    async def limited(work):
        async with places:
            return await work

    await asyncio.gather(*(limited(part(ctx, number)) for number in range(6)))

@workflow
async def one_by_one(ctx: WorkflowContext) -> None:
    for each in [part(ctx, number) for number in range(4)]:
        await each

@workflow
async def kept(ctx: WorkflowContext) -> None:
    several = [part(ctx, number) for number in range(4)]
    for each in several:
        await each

@workflow
async def finally_several(ctx: WorkflowContext) -> None:
    try:
        await ctx.sleep("1d")
    finally:
        named = asyncio.create_task(part(ctx, 0), name="named")
        await asyncio.gather(named, part(ctx, 1), part(ctx, 2))

for body in (bounded, one_by_one, kept, finally_several):
    begun(body).body.close()
    gc.collect()
print("done")
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / "python"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=LONGEST,
    )


def test_a_body_that_swallows_all_that_is_raised_in_it_is_dropped_whatever_it_tries() -> None:
    printed = run(SWALLOWS).stdout.splitlines()
    assert len(printed) == SWALLOWS.count("async def tries_")
    assert [line for line in printed if not line.endswith(" False")] == []


def test_a_parked_body_leaves_no_complaint_about_coroutines_that_it_has_not_come_to() -> None:
    ran = run(LEAVES)
    assert (ran.stdout, ran.stderr) == ("done\n", "")


@workflow
async def bounded(ctx: WorkflowContext) -> list[str]:
    places = asyncio.Semaphore(2)

    async def part(number: int) -> str:
        return await ctx.step(steps.echo, str(number))

    return await asyncio.gather(*(limited(places, part(number)) for number in range(6)))


async def limited(places: asyncio.Semaphore, work: Coroutine[Any, Any, str]) -> str:
    async with places:
        return await work


def test_coroutines_behind_a_semaphore_are_awaited_two_at_a_time_also_after_a_crash() -> None:
    driver = begun(bounded)
    assert len(driver.open) == 2
    driver.end("echo")
    driver.replay()
    assert len(driver.open) == 2
    driver.run()
    assert result(driver.ended) == ["0", "1", "2", "3", "4", "5"]
