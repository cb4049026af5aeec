"""Maps and parallel branches: bounds on how many run and how many may fail, and results in the order of the items."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from buquet import MapError
from buquet.workflow import MapResult, SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from tests.unit.workflow import steps
from tests.unit.workflow.driver import Driver, begun, error_of, result

pytestmark = pytest.mark.usefixtures("crashing")


def shown(mapped: MapResult[Any]) -> dict[str, Any]:
    """A map's result as JSON."""
    return {
        "reason": mapped.reason.value,
        "statuses": [status.value for status in mapped.statuses],
        "succeeded": mapped.succeeded,
        "failed": mapped.failed,
        "errors": {str(index): str(error) for index, error in mapped.errors.items()},
        "results": mapped.results if mapped.is_success else None,
    }


@workflow
async def maps(ctx: WorkflowContext, numbers: list[int], options: dict[str, Any]) -> dict[str, Any]:
    return shown(await ctx.map(steps.odd_fails, numbers, **options))


@workflow
def maps_and_is_plain(ctx: SyncWorkflowContext, numbers: list[int], options: dict[str, Any]) -> dict[str, Any]:
    return shown(ctx.map(steps.odd_fails, numbers, **options))


Mapping = WorkflowFunction[[list[int], dict[str, Any]], dict[str, Any]]
BOTH = pytest.mark.parametrize("body", [maps, maps_and_is_plain], ids=["async", "plain"])


def mapped(body: Mapping, numbers: list[int], **options: Any) -> dict[str, Any]:
    """What a map gives, the same at a replay."""
    driver = begun(body, numbers, options)
    driver.run_at_random(len(numbers))
    given = result(driver.ended)
    driver.replay()
    assert result(driver.ended) == given
    return given


@BOTH
@pytest.mark.parametrize("count", [0, 1, 50])
def test_results_are_in_the_order_of_the_items_whatever_ends_first(body: Mapping, count: int) -> None:
    given = mapped(body, [2 * number for number in range(count)])
    assert given["results"] == [2 * number for number in range(count)]
    assert given["reason"] == "all_ended"


@BOTH
def test_without_options_the_first_failure_ends_it_and_what_ran_is_shown_as_cancelled(body: Mapping) -> None:
    driver = begun(body, [2, 1, 4, 6], {"max_concurrency": 3})
    driver.end_operation(list(driver.open.values())[1])
    assert driver.ended is not None
    assert result(driver.ended) == {
        "reason": "too_many_failed",
        "statuses": ["cancelled", "failed", "cancelled", "not_started"],
        "succeeded": [],
        "failed": [1],
        "errors": {"1": "1 is odd"},
        "results": None,
    }
    assert [entry.op for entry in driver.asks() if entry.ask == "cancel"] == [0, 2]


@BOTH
def test_no_more_run_at_a_time_than_may(body: Mapping) -> None:
    driver = begun(body, [2, 4, 6, 8], {"max_concurrency": 2})
    while driver.ended is None:
        assert len(driver.open) <= 2
        driver.end_operation(driver.ready()[-1])
    assert result(driver.ended)["results"] == [2, 4, 6, 8]


@BOTH
@pytest.mark.parametrize(
    ("numbers", "options", "reason", "failed"),
    [
        ([1, 2, 3, 4], {"tolerated_failures": 2}, "all_ended", 2),
        ([1, 2, 3, 5], {"tolerated_failures": 2}, "too_many_failed", 3),
        ([1, 2, 3, 4], {"tolerated_percentage": 50}, "all_ended", 2),
        ([1, 3, 5, 4], {"tolerated_percentage": 50}, "too_many_failed", 3),
        ([1, 2, 3, 4], {"tolerated_percentage": 50, "tolerated_failures": 1}, "too_many_failed", 2),
        ([1, 2, 3, 4], {"tolerated_percentage": 25, "tolerated_failures": 3}, "too_many_failed", 2),
        ([1, 3, 5], {"tolerated_failures": 3}, "all_ended", 3),
        ([1, 3, 5], {"tolerated_percentage": 100}, "all_ended", 3),
        ([1, 3, 5, 2], {"min_successful": 2}, "too_many_failed", 3),
        ([1, 3, 4, 2], {"min_successful": 2}, "enough_succeeded", 2),
        ([1, 3, 4, 2], {"min_successful": 2, "tolerated_failures": 1}, "too_many_failed", 2),
    ],
)
def test_failures_up_to_the_stricter_bound_are_tolerated(
    body: Mapping, numbers: list[int], options: dict[str, Any], reason: str, failed: int
) -> None:
    driver = begun(body, numbers, options | {"max_concurrency": 1})
    driver.run()
    given = result(driver.ended)
    assert (given["reason"], len(given["failed"])) == (reason, failed)


@BOTH
def test_enough_successes_end_it_early(body: Mapping) -> None:
    driver = begun(body, [2, 4, 6, 8], {"min_successful": 2, "max_concurrency": 3})
    for _ in range(2):
        driver.end_operation(list(driver.open.values())[1])
    assert result(driver.ended)["statuses"] == ["cancelled", "succeeded", "succeeded", "cancelled"]
    assert result(driver.ended)["results"] == [4, 6]


@BOTH
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_concurrency": 0}, "max_concurrency=0 must be 1 or more"),
        ({"min_successful": 0}, "min_successful=0 must be 1 or more"),
        ({"min_successful": 5}, "min_successful=5 is more than the 2 items there are"),
        ({"tolerated_failures": -1}, "tolerated_failures=-1 must be a whole number"),
        ({"tolerated_percentage": 101}, "tolerated_percentage=101 must be a number from 0 to 100"),
        ({"max_concurrency": "2"}, "max_concurrency='2' must be a whole number"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(body: Mapping, options: dict[str, Any], problem: str) -> None:
    assert problem in error_of(begun(body, [2, 4], options).ended).message


@BOTH
def test_an_item_that_cannot_be_encoded_is_an_error_of_the_map(body: Mapping) -> None:
    @workflow
    async def late(ctx: WorkflowContext) -> None:
        await ctx.map(steps.odd_fails, [2, 4, "six"], max_concurrency=1)  # type: ignore[list-item] # pyright: ignore[reportArgumentType]

    del body
    assert "argument 'number' of step 'odd_fails'" in error_of(begun(late).run()).message


@BOTH
def test_each_item_has_a_scope_of_its_own(body: Mapping) -> None:
    driver = begun(body, [2, 4], {})
    assert [entry.scope for entry in driver.asks()] == ["odd_fails.0/0", "odd_fails.0/1"]


def test_asking_the_result_raises_with_the_first_failure_as_the_cause() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[int]:
        return (await ctx.map(steps.odd_fails, [2, 1, 3], tolerated_failures=1)).results

    driver = begun(body)
    ended = driver.run()
    assert isinstance(ended.exception, MapError)
    assert "2 of 3 items failed (index 1, 2), more than may; item 1: ValueError: 1 is odd" in str(ended.exception)
    assert isinstance(ended.exception.__cause__, ValueError)
    assert ended.exception.result is not None
    assert ended.exception.result.value(0) == 2
    with pytest.raises(ValueError, match="1 is odd"):
        ended.exception.result.value(1)
    assert repr(ended.exception.result) == "MapResult(too_many_failed: 1 succeeded, 2 failed, 3 in all)"


def test_the_index_is_handed_in_by_enumerate() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[str]:
        return (await ctx.map(steps.numbered, enumerate(["a", "b"]))).results

    assert result(begun(body).run()) == ["0a", "1b"]


@workflow
async def branches(ctx: WorkflowContext) -> list[Any]:
    async def quick() -> int:
        return await ctx.step(steps.add, 1)

    async def slow() -> str:
        await ctx.sleep("1d")
        inner = await ctx.parallel(lambda: inner_branch(ctx, "x"), lambda: inner_branch(ctx, "y"), name="inner")
        return "".join(inner.results)

    both = await ctx.parallel(quick, slow)
    await ctx.sleep("1s")
    return both.results


async def inner_branch(ctx: WorkflowContext, name: str) -> str:
    return await ctx.step(steps.echo, name)


def test_branches_have_steps_and_waits_of_their_own_and_may_be_nested() -> None:
    driver = begun(branches)
    driver.end("add")
    driver.replay()
    assert driver.names() == ["sleep"]
    driver.run()
    driver.replay()
    assert result(driver.ended) == [2, "xy"]
    assert {entry.scope for entry in driver.asks()} == {
        "",
        "parallel.0/0",
        "parallel.0/1",
        "parallel.0/1/inner.0/0",
        "parallel.0/1/inner.0/1",
    }


def test_a_branch_that_fails_cancels_the_others_and_can_be_tolerated() -> None:
    @workflow
    async def body(ctx: WorkflowContext, tolerated: int) -> list[str]:
        async def fails() -> str:
            await ctx.step(steps.fail)
            return ""

        async def waits() -> str:
            try:
                return await ctx.step(steps.echo, "waited")
            except asyncio.CancelledError:
                await ctx.step(steps.act, "cleaned up")
                raise

        ended = await ctx.parallel(fails, waits, tolerated_failures=tolerated)
        await ctx.sleep(1)
        return ended.results

    driver: Driver = begun(body, 1)
    driver.end("fail")
    driver.run()
    assert result(driver.ended) == ["waited"]
    failing: Driver = begun(body, 0)
    failing.end("fail")
    failing.replay()
    assert sorted(failing.names()) == ["act", "sleep"]
    assert error_of(failing.run()).type == "MapError"


def test_a_branch_can_go_on_as_new() -> None:
    @workflow
    async def body(ctx: WorkflowContext, left: int) -> None:
        async def again() -> None:
            await ctx.step(steps.add, left)
            ctx.continue_as_new(left - 1)

        await ctx.parallel(again)

    assert begun(body, 3).run().status == "continued"


@workflow
async def tidies_up(ctx: WorkflowContext) -> None:
    try:
        await ctx.map(steps.odd_fails, [2, 4, 6, 8], max_concurrency=2)
    finally:
        await ctx.step(steps.act, "tidied up")


@workflow
def tidies_up_and_is_plain(ctx: SyncWorkflowContext) -> None:
    try:
        ctx.map(steps.odd_fails, [2, 4, 6, 8], max_concurrency=2)
    finally:
        ctx.step(steps.act, "tidied up")


@pytest.mark.parametrize("body", [tidies_up, tidies_up_and_is_plain], ids=["async", "plain"])
def test_a_map_that_is_cancelled_starts_no_more_items(body: WorkflowFunction[[], None]) -> None:
    driver = begun(body)
    driver.cancel()
    assert driver.names() == ["act"]
    assert [entry.op for entry in driver.asks() if entry.ask == "cancel"] == [0, 1]
    driver.replay()
    assert driver.run().status == "cancelled"
