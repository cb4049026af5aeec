"""Random programs: bodies that a seed makes of all that asyncio and the context have."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from buquet.workflow import SyncWorkflowContext, WorkflowContext, workflow
from tests.unit.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Part = Callable[[WorkflowContext, random.Random, int], Awaitable[Any]]

DEEPEST = 3


@workflow
async def random_program(ctx: WorkflowContext, seed: int) -> Any:
    return await part(ctx, seed, 0)


async def part(ctx: WorkflowContext, seed: int, depth: int) -> Any:
    """Some part, with parts in it."""
    chosen = random.Random(seed)  # noqa: S311 - to be the same again
    some: list[Part] = [chain, failing, asleep, selecting, completed, mapped, undoable]
    if depth < DEEPEST:
        some += [gathered, grouped, bounded, raced, scoped, timed, queued, gathered, raced]
    return await chosen.choice(some)(ctx, chosen, depth)


def parts(ctx: WorkflowContext, chosen: random.Random, depth: int) -> list[Any]:
    """Coroutines of two or three parts."""
    return [part(ctx, chosen.getrandbits(30), depth + 1) for _ in range(chosen.randint(2, 3))]


async def chain(ctx: WorkflowContext, chosen: random.Random, _depth: int) -> Any:
    total = chosen.randint(0, 9)
    for _ in range(chosen.randint(1, 3)):
        total = await ctx.step(steps.add, total, chosen.randint(0, 5))
    return total


async def failing(ctx: WorkflowContext, chosen: random.Random, _depth: int) -> Any:
    try:
        await ctx.step(steps.fail, str(chosen.random()))
    except ValueError as error:
        if chosen.random() < 0.2:
            raise
        return await ctx.step(steps.echo, str(error))


async def undoable(ctx: WorkflowContext, chosen: random.Random, _depth: int) -> Any:
    ctx.on_rollback(steps.undo, str(chosen.random()))
    undo = chosen.choice([steps.undo, steps.fail_to_undo])
    future = ctx.step(steps.echo, str(chosen.random()), compensate=undo)
    await ctx.step(steps.echo, str(chosen.random()), compensate=steps.undo)
    return await future


async def asleep(ctx: WorkflowContext, chosen: random.Random, _depth: int) -> Any:
    await asyncio.sleep(chosen.choice([0, 1, 30]))
    await ctx.sleep(chosen.randint(1, 50))
    return round(ctx.random.random(), 6)


async def selecting(ctx: WorkflowContext, chosen: random.Random, _depth: int) -> Any:
    step = ctx.step(steps.double, chosen.randint(0, 9))
    first = await ctx.select(step=step, late=ctx.timer(chosen.randint(1, 90)))
    if first.arm == "late" and chosen.random() < 0.5:
        step.cancel()
        return "too late"
    return [first.arm, await step]


async def completed(ctx: WorkflowContext, chosen: random.Random, _depth: int) -> Any:
    futures = [ctx.step(steps.echo, f"{number}{chosen.random()}") for number in range(3)]
    return [await one for one in asyncio.as_completed(futures)]


async def mapped(ctx: WorkflowContext, chosen: random.Random, _depth: int) -> Any:
    numbers = [chosen.randint(0, 9) for _ in range(5)]
    given = await ctx.map(steps.odd_fails, numbers, max_concurrency=2, tolerated_failures=chosen.randint(0, 5))
    return [given.reason, given.succeeded, given.failed]


async def gathered(ctx: WorkflowContext, chosen: random.Random, depth: int) -> Any:
    return await asyncio.gather(*parts(ctx, chosen, depth), return_exceptions=False)


async def grouped(ctx: WorkflowContext, chosen: random.Random, depth: int) -> Any:
    messages: list[str] = []
    tasks: list[asyncio.Task[Any]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in parts(ctx, chosen, depth)]
            if chosen.random() < 0.3:
                await ctx.step(steps.fail, "in a group")
    except* ValueError as errors:
        messages += [str(error) for error in errors.exceptions]
    return messages or [task.result() for task in tasks]


async def bounded(ctx: WorkflowContext, chosen: random.Random, depth: int) -> Any:
    try:
        return await asyncio.wait_for(part(ctx, chosen.getrandbits(30), depth + 1), chosen.randint(1, 60))
    except TimeoutError:
        return await ctx.step(steps.echo, "late")


async def timed(ctx: WorkflowContext, chosen: random.Random, depth: int) -> Any:
    try:
        async with asyncio.timeout(chosen.randint(1, 60)):
            return await part(ctx, chosen.getrandbits(30), depth + 1)
    except TimeoutError:
        return "timed out"
    finally:
        await ctx.step(steps.echo, "in the end")


async def raced(ctx: WorkflowContext, chosen: random.Random, depth: int) -> Any:
    tasks = {asyncio.create_task(each) for each in parts(ctx, chosen, depth)}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for loser in pending:
        loser.cancel()
    lost = await asyncio.gather(*pending, return_exceptions=True)
    return [[each.result() for each in done], len(lost)]


async def scoped(ctx: WorkflowContext, chosen: random.Random, depth: int) -> Any:
    with ctx.scope("part"):
        return await part(ctx, chosen.getrandbits(30), depth + 1)


async def queued(ctx: WorkflowContext, chosen: random.Random, depth: int) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue(1)

    async def produce(what: Any) -> None:
        await queue.put(await what)

    producers = [asyncio.create_task(produce(each)) for each in parts(ctx, chosen, depth)]
    seen = [await queue.get() for _ in producers]
    await asyncio.gather(*producers)
    return seen


@workflow
def random_plain_program(ctx: SyncWorkflowContext, seed: int) -> Any:
    chosen = random.Random(seed)  # noqa: S311 - to be the same again
    some = [chain_plainly, start_several, select_plainly, map_plainly, fail_plainly, sleep_plainly]
    return [chosen.choice(some)(ctx, chosen) for _ in range(chosen.randint(2, 6))]


def chain_plainly(ctx: SyncWorkflowContext, chosen: random.Random) -> Any:
    with ctx.scope("chain"):
        return ctx.step(steps.add, ctx.step(steps.double, chosen.randint(0, 9)))


def start_several(ctx: SyncWorkflowContext, chosen: random.Random) -> Any:
    several = [ctx.start_step(steps.echo, str(chosen.random())) for _ in range(4)]
    several.pop(chosen.randrange(4)).cancel()
    chosen.shuffle(several)
    return [one.result() for one in several]


def select_plainly(ctx: SyncWorkflowContext, chosen: random.Random) -> Any:
    step = ctx.start_step(steps.double, chosen.randint(0, 9))
    return [ctx.select(step=step, late=ctx.timer(chosen.randint(1, 90))).arm, step.result()]


def map_plainly(ctx: SyncWorkflowContext, chosen: random.Random) -> Any:
    numbers = [chosen.randint(0, 9) for _ in range(5)]
    given = ctx.map(steps.odd_fails, numbers, max_concurrency=2, tolerated_failures=chosen.randint(0, 5))
    return [given.reason, given.succeeded, given.failed]


def fail_plainly(ctx: SyncWorkflowContext, chosen: random.Random) -> Any:
    ctx.on_rollback(steps.undo, str(chosen.random()))
    try:
        ctx.step(steps.fail, "as it should")
    except ValueError as error:
        if chosen.random() < 0.2:
            raise
        return str(error)


def sleep_plainly(ctx: SyncWorkflowContext, chosen: random.Random) -> Any:
    ctx.sleep(chosen.randint(1, 50))
    return round(ctx.random.random(), 6)
