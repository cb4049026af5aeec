"""A body is unwound when its run is parked: nothing that it does meanwhile has an effect, and nobody hears of it."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from buquet import NotInBodyError
from buquet.workflow import SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun, result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

went_on: list[str] = []


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is written to stderr or logged as lost."""
    went_on.clear()
    yield
    gc.collect()
    assert capfd.readouterr().err == ""
    assert not [record for record in caplog.records if "destroyed" in record.message]


@workflow
async def tidy(ctx: WorkflowContext) -> str:
    try:
        return await ctx.step(steps.echo, "a")
    except BaseException:
        went_on.append("except")
        await ctx.step(steps.act, "b")
        raise
    finally:
        went_on.append("finally")
        ctx.publish("left", value=True)
        await asyncio.sleep(5)
        await ctx.sleep(5)


@workflow
def tidy_and_plain(ctx: SyncWorkflowContext) -> str:
    try:
        return ctx.step(steps.echo, "a")
    except BaseException:
        went_on.append("except")
        ctx.step(steps.act, "b")
        raise
    finally:
        went_on.append("finally")
        ctx.publish("left", value=True)
        ctx.sleep(5)


@pytest.mark.parametrize("body", [tidy, tidy_and_plain], ids=["async", "plain"])
def test_clean_up_has_no_effect_while_the_body_is_unwound(body: WorkflowFunction[[], str]) -> None:
    driver = begun(body)
    before = list(driver.entries)
    driver.replay()
    assert went_on == ["except", "finally"]
    assert driver.entries == before
    assert driver.published == {}
    driver.end("echo")
    driver.replay()
    assert driver.names() == ["sleep"]
    driver.run()


@workflow
async def stubborn(ctx: WorkflowContext) -> None:
    while True:
        try:
            await ctx.step(steps.echo, "a")
        except BaseException:  # noqa: BLE001 - as stubborn bodies do
            went_on.append("again")


@workflow
def stubborn_and_plain(ctx: SyncWorkflowContext) -> None:
    while True:
        try:
            ctx.step(steps.echo, "a")
        except BaseException:  # noqa: BLE001 - as stubborn bodies do
            went_on.append("again")


@pytest.mark.parametrize("body", [stubborn, stubborn_and_plain], ids=["async", "plain"])
def test_a_body_that_goes_on_all_the_same_is_dropped_after_100_tries(
    body: WorkflowFunction[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    driver = begun(body)
    driver.body.close()
    assert not driver.body.has_let_go
    assert 100 <= len(went_on) <= 202
    assert "was dropped after 100 tries" in caplog.records[-1].message


@workflow
async def many_parts(ctx: WorkflowContext) -> list[str]:
    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            went_on.append("generator")

    async def part(name: str) -> str:
        try:
            async for _ in numbers():
                await ctx.step(steps.echo, name)
        finally:
            went_on.append(name)
        return name

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(part(name)) for name in "ab"]
        async with asyncio.Lock():
            await asyncio.wait_for(part("c"), 50)
    return [task.result() for task in tasks]


def test_tasks_groups_timeouts_locks_and_generators_are_unwound_without_a_trace() -> None:
    driver = begun(many_parts)
    driver.end("echo")
    before = list(driver.entries)
    driver.body.close()
    assert driver.entries == before
    assert sorted(went_on) == ["a", "b", "c", "generator", "generator", "generator"]
    driver.replay()
    driver.run()
    assert result(driver.ended) == ["a", "b"]


@workflow
async def never_started(ctx: WorkflowContext) -> str:
    async def unseen() -> None:
        went_on.append("unseen")

    later = ctx.step(steps.echo, "a")
    task = asyncio.create_task(unseen())
    task.cancel()
    return await later


def test_tasks_that_have_not_begun_are_dropped_quietly() -> None:
    driver = begun(never_started)
    driver.body.close()
    driver.replay()
    driver.run()
    assert went_on == []


def test_a_body_is_left_without_noise_when_it_ends_before_its_tasks() -> None:
    @workflow
    async def leaves(ctx: WorkflowContext) -> str:
        async def forever() -> None:
            await ctx.wait_signal("never")

        task = asyncio.create_task(forever())
        await ctx.step(steps.echo, "a")
        task.cancel()
        return "done"

    assert result(begun(leaves).run()) == "done"


def test_the_context_is_of_no_use_after_the_end() -> None:
    kept: list[WorkflowContext] = []

    @workflow
    async def keeps(ctx: WorkflowContext) -> str:
        kept.append(ctx)
        return "done"

    begun(keeps)
    with pytest.raises(NotInBodyError, match=r"ctx\.publish was called outside of the body of workflow 'keeps'"):
        kept[0].publish("a", 1)
