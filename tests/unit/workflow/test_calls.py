"""Calls of tasks, child runs, and going on as new."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from buquet import Buquet, InvalidError
from buquet.workflow import SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from tests.unit.workflow import steps
from tests.unit.workflow.driver import Driver, begun, check, kinds, result

pytestmark = pytest.mark.usefixtures("crashing")

app = Buquet("memory:")


@app.task(retries=7)
def resize(path: str, size: int = 256) -> bytes:
    return path.encode() * size


async def calls(ctx: WorkflowContext) -> list[Any]:
    small = await ctx.call(resize, "a", size=2)
    urgent = await ctx.call(resize.options(priority=9), "b")
    return [small.decode(), urgent.decode(), await ctx.call("other", {"plain": True})]


def calls_plain(ctx: SyncWorkflowContext) -> list[Any]:
    small = ctx.call(resize, "a", size=2)
    urgent = ctx.call(resize.options(priority=9), "b")
    return [small.decode(), urgent.decode(), ctx.call("other", {"plain": True})]


@kinds(calls, calls_plain)
def test_calls_carry_the_input_and_the_options_that_the_engine_submits(body: WorkflowFunction[[], list[Any]]) -> None:
    driver = begun(body)
    driver.end("resize", output="YWE=")
    driver.end("resize", output="Yg==")
    driver.end("other", output=[1])
    check(driver, ["aa", "b", [1]])
    first, second, third = driver.asks()
    assert (first.type, first.input, first.options) == (
        "resize",
        {"path": "a", "size": 2},
        {"retry": {"max_retries": 7}},
    )
    assert isinstance(second.options, dict)
    assert second.options["priority"] == 9
    assert (third.type, third.input) == ("other", {"plain": True})
    assert isinstance(first.args, dict)
    assert set(first.args) == {"path", "size"}


@workflow(name="child-of")
async def child(ctx: WorkflowContext, number: int, *, twice: bool = False) -> int:
    del ctx
    return number * (2 if twice else 1)


async def parents(ctx: WorkflowContext) -> list[int]:
    ctx.child_options(on_close="abandon").child(child, 0)
    return [await ctx.child(child, 1, twice=True), await ctx.child_options(id="named").child(child, 2)]


def parents_plain(ctx: SyncWorkflowContext) -> list[int]:
    ctx.child_options(on_close="abandon").start(child, 0)
    return [ctx.child(child, 1, twice=True), ctx.child_options(id="named").child(child, 2)]


@kinds(parents, parents_plain)
def test_children_are_asked_for_with_their_input_and_policy_and_abandoned_ones_need_not_be_awaited(
    body: WorkflowFunction[[], list[int]],
) -> None:
    driver = begun(body)
    _, awaited = driver.open.values()
    driver.end_operation(awaited, output=2)
    driver.end_operation(list(driver.open.values())[1], output=4)
    check(driver, [2, 4])
    abandoned, first, second = driver.asks()
    assert (abandoned.on_close, first.on_close) == ("abandon", "cancel")
    assert (first.workflow, first.input) == ("child-of", {"number": 1, "twice": True})
    assert second.options == {"id": "named"}


async def counts(ctx: WorkflowContext, total: int, left: int = 3) -> int:
    total += await ctx.step(steps.add, 0)
    if left:
        ctx.continue_as_new(total, left=left - 1)
    return total


def counts_plain(ctx: SyncWorkflowContext, total: int, left: int = 3) -> int:
    total += ctx.step(steps.add, 0)
    if left:
        ctx.continue_as_new(total, left=left - 1)
    return total


@kinds(counts, counts_plain)
def test_a_body_that_continues_as_new_ends_with_its_new_input(body: WorkflowFunction[[int], int]) -> None:
    driver = begun(body, 5)
    ended = driver.run()
    assert ended.status == "continued"
    assert ended.input is not None
    assert msgspec.json.decode(ended.input) == {"total": 6, "left": 2}
    with pytest.raises(InvalidError, match="called as it is not defined"):
        raise_of(begun(WorkflowFunction[..., Any](continues_wrongly)))


async def continues_wrongly(ctx: WorkflowContext) -> None:
    ctx.continue_as_new("too", "many")


def raise_of(driver: Driver) -> None:
    """Raise what the body did."""
    assert driver.ended is not None
    assert driver.ended.exception is not None
    raise driver.ended.exception


def test_info_says_which_run_it_is() -> None:
    @workflow(version="3")
    async def body(ctx: WorkflowContext) -> dict[str, Any]:
        return msgspec.to_builtins(ctx.info)

    told = result(begun(body).ended)
    assert told == {
        "id": "run-1",
        "name": "body",
        "version": "3",
        "generation": 1,
        "execution": 1,
        "started_at": "2023-11-14T22:13:20Z",
        "deadline": None,
        "parent": None,
    }
