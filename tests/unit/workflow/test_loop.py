"""The event loop of async bodies: asyncio works in it, and every replay takes the same way."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from buquet.workflow import WorkflowContext, workflow
from tests.unit.workflow import steps
from tests.unit.workflow.driver import BEGUN, Driver, begun, error_of, result
from tests.unit.workflow.scripts import run_script


def replays_alike(driver: Driver, expected: object) -> None:
    """Check a run's result, and that of its replay."""
    assert result(driver.ended) == expected
    entries, calls = list(driver.entries), list(driver.calls)
    driver.replay()
    assert result(driver.ended) == expected
    assert driver.entries == entries, "a replay adds nothing"
    assert driver.calls == calls, "a replay calls nothing"


@workflow
async def three(ctx: WorkflowContext) -> list[str]:
    return await asyncio.gather(*(ctx.step(steps.echo, name, name=name) for name in ("slow", "fast", "mid")))


def test_gather_records_each_step_once_and_gives_the_results_in_order_whatever_ends_first() -> None:
    driver = begun(three)
    for name in ("fast", "mid"):
        driver.end(name)
    for _ in range(3):
        driver.replay()
        assert driver.names() == ["slow"]
    driver.end("slow")
    replays_alike(driver, ["slow", "fast", "mid"])
    assert driver.calls == ["fast", "mid", "slow"]


@workflow
async def chains(ctx: WorkflowContext) -> list[str]:
    async def chain(name: str) -> str:
        first = await ctx.step(steps.echo, f"{name}1")
        return await ctx.step(steps.echo, f"{first}{name}2")

    return list(await asyncio.gather(chain("a"), chain("b")))


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_two_chains_at_once_may_overtake_each_other(order: str) -> None:
    driver = begun(chains)
    first, second = list(driver.open.values()) if order == "ab" else reversed(list(driver.open.values()))
    driver.end_operation(first)
    driver.replay()
    driver.run()
    del second
    replays_alike(driver, ["a1a2", "b1b2"])


def test_gather_in_a_swapped_order_gives_the_same_result() -> None:
    driver = begun(chains)
    driver.run_at_random(3)
    replays_alike(driver, ["a1a2", "b1b2"])


@workflow
async def first_two(ctx: WorkflowContext) -> list[str]:
    futures = [ctx.step(steps.echo, name, name=name) for name in ("a", "b", "c")]
    ended = [await one for one in asyncio.as_completed(futures)]
    return [*ended, str(len(futures))]


def test_as_completed_over_futures_gives_them_as_they_end() -> None:
    driver = begun(first_two)
    for name in ("c", "a", "b"):
        driver.end(name)
    replays_alike(driver, ["c", "a", "b", "3"])


@workflow
async def bare(ctx: WorkflowContext) -> None:
    async def one(name: str) -> str:
        return await ctx.step(steps.echo, name)

    for each in asyncio.as_completed([one("a"), one("b")]):
        await each


def test_as_completed_over_coroutines_is_refused_with_advice() -> None:
    error = error_of(begun(bare).ended)
    assert error.type == "NotDeterministicError"
    assert "asyncio.create_task(c)" in error.message


@workflow
async def winner(ctx: WorkflowContext) -> list[str]:
    futures: dict[asyncio.Future[str], str] = {ctx.step(steps.echo, name, name=name): name for name in "abc"}
    done, pending = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for loser in pending:
        loser.cancel()
    return [*(one.result() for one in done), *(futures[one] for one in pending)]


def test_wait_gives_its_sets_in_one_order() -> None:
    driver = begun(winner)
    driver.end("b")
    replays_alike(driver, ["b", "a", "c"])
    assert [entry.op for entry in driver.asks() if entry.ask == "cancel"] == [0, 2]


@workflow
async def patient(ctx: WorkflowContext, seconds: float) -> str:
    async def chain() -> str:
        return await ctx.step(steps.echo, await ctx.step(steps.echo, "in time"))

    try:
        return await asyncio.wait_for(chain(), seconds)
    except TimeoutError:
        return await ctx.step(steps.echo, "late")


def test_wait_for_is_a_timer_of_the_journal_and_keeps_the_callers_scope() -> None:
    driver = begun(patient, 60)
    driver.end("echo")
    driver.end("echo")
    replays_alike(driver, "in time")
    assert {entry.scope for entry in driver.asks() if entry.ask != "cancel"} == {""}, "on every Python"
    assert [entry.ask for entry in driver.asks()] == ["timer", "step", "step", "cancel"]


def test_wait_for_that_is_over_cancels_what_it_waits_for() -> None:
    driver = begun(patient, 60)
    driver.end("sleep")
    assert [entry.op for entry in driver.asks() if entry.ask == "cancel"] == [1]
    driver.replay()
    driver.end("echo")
    replays_alike(driver, "late")


@workflow
async def bounded(ctx: WorkflowContext) -> list[Any]:
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    try:
        async with asyncio.timeout(30):
            await ctx.step(steps.echo, "never")
    except TimeoutError:
        return [begun_at, loop.time() - begun_at]
    return []


def test_timeouts_of_asyncio_go_by_the_time_of_the_entry_delivered_last() -> None:
    driver = begun(bounded)
    driver.end("sleep")
    replays_alike(driver, [BEGUN / 1000, 30.0])


@workflow
async def grouped(ctx: WorkflowContext) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(ctx, name)) for name in "abc"]
    return [task.result() for task in tasks]


async def work(ctx: WorkflowContext, name: str) -> str:
    await asyncio.sleep(0)
    return await ctx.step(steps.echo, name, name=name)


def test_a_task_group_works_and_gives_each_task_a_scope() -> None:
    driver = begun(grouped)
    for name in ("b", "c", "a"):
        driver.end(name)
    replays_alike(driver, ["a", "b", "c"])
    assert {entry.name: entry.scope for entry in driver.asks()} == {"a": "0", "b": "1", "c": "2"}


@workflow
async def failing_group(ctx: WorkflowContext) -> list[str]:
    messages: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(ctx, "a"))
            group.create_task(work(ctx, "b"))
            group.create_task(luckless(ctx))
    except* ValueError as errors:
        messages += [str(error) for error in errors.exceptions]
    return messages


async def luckless(ctx: WorkflowContext) -> None:
    await ctx.step(steps.fail)


def test_a_task_group_that_fails_cancels_the_steps_of_its_other_tasks() -> None:
    driver = begun(failing_group)
    driver.end("fail")
    replays_alike(driver, ["no luck"])
    names = [entry.name for entry in driver.asks()]
    assert names[:3] == ["fail", "a", "b"]
    assert [entry.op for entry in driver.asks() if entry.ask == "cancel"] == [1, 2]


@workflow
async def tools(ctx: WorkflowContext) -> list[str]:
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
    lock, started, seen = asyncio.Lock(), asyncio.Event(), list[str]()

    async def produce(name: str) -> None:
        await started.wait()
        async with lock:
            await queue.put(await ctx.step(steps.echo, name, name=name))

    async def consume() -> None:
        for _ in range(3):
            seen.append(await queue.get())

    tasks = [asyncio.create_task(produce(name)) for name in "abc"] + [asyncio.create_task(consume())]
    started.set()
    await asyncio.gather(*tasks)
    return seen


def test_queues_locks_and_events_work() -> None:
    driver = begun(tools)
    driver.run()
    replays_alike(driver, ["a", "b", "c"])


def test_a_sleep_of_zero_is_no_entry() -> None:
    @workflow
    async def turns(ctx: WorkflowContext) -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        return ctx.info.id

    driver = begun(turns)
    replays_alike(driver, "run-1")
    assert driver.entries == []


PROGRAM = """
import asyncio
import math
from tests.unit.workflow import steps
from tests.unit.workflow.scripts import run_script
from tests.unit.workflow.driver import begun
from buquet.workflow import WorkflowContext, workflow

@workflow
async def sets(ctx: WorkflowContext) -> list[str]:
    tasks = {asyncio.create_task(one(ctx, name)) for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i")}
    futures = {ctx.step(steps.echo, str(number)) for number in range(9)}
    done, pending = await asyncio.wait(tasks | futures, return_when=asyncio.FIRST_COMPLETED)
    order = [await each for each in asyncio.as_completed(pending)]
    try:
        await asyncio.wait_for(one(ctx, "z"), 10)
    except TimeoutError:
        pass
    async with asyncio.TaskGroup() as group:
        for name in "xyz":
            group.create_task(one(ctx, name))
    return [*(each.result() for each in done), *order]

async def one(ctx, name):
    value = await ctx.step(steps.echo, name)
    return await ctx.step(steps.echo, value * 2)

driver = begun(sets)
driver.run_at_random(7)
print(b"\\n".join(driver.entries).decode(), driver.ended.output)
"""


def test_the_journal_is_the_same_under_every_hash_seed_and_in_the_debug_mode_of_asyncio() -> None:
    printed = {
        run_script(PROGRAM, PYTHONHASHSEED=seed, PYTHONASYNCIODEBUG=debug)
        for seed, debug in (("0", ""), ("1", ""), ("31337", ""), ("2", "1"))
    }
    assert len(printed) == 1
    assert '"told"' in printed.pop()


@workflow
async def same_scopes(ctx: WorkflowContext) -> list[str]:
    async def part(name: str) -> str:
        return await asyncio.wait_for(ctx.step(steps.echo, name), 5)

    await asyncio.wait_for(part("inline"), None)
    await asyncio.wait_for(part("alone"), 5)
    await asyncio.shield(part("shielded"))
    await asyncio.gather(part("a"), asyncio.wait_for(part("b"), 7))
    with ctx.scope("named"):
        await part("c")
        await asyncio.create_task(part("d"))
    with ctx.scope("named"):
        await part("e")
    return []


def test_scopes_are_the_same_on_every_python() -> None:
    driver = begun(same_scopes)
    driver.run()
    scopes = [entry.scope for entry in driver.asks() if entry.ask == "step"]
    assert scopes == ["", "", "0", "1", "2", "named.0", "named.0/0", "named.1"]


def test_a_sleep_for_ever_is_no_timer_and_one_of_no_length_is_refused() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        forever = asyncio.create_task(asyncio.sleep(math.inf))
        try:
            asyncio.get_running_loop().call_later(math.nan, print)
        except ValueError as error:
            await ctx.step(steps.echo, str(error))
        forever.cancel()
        return "done"

    driver = begun(body)
    assert driver.names() == ["echo"]
    driver.run()
    replays_alike(driver, "done")
