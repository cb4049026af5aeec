"""Ends, undoing and selects where several things come together."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from buquet.errors import InvalidError
from buquet.workflow import SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from buquet.workflow._core import MOST_OPEN
from buquet.workflow._entries import Told
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun, check, error_of


@workflow
async def from_a_group(ctx: WorkflowContext, number: int) -> int:
    async def part() -> None:
        await ctx.step(steps.echo, "a")
        ctx.continue_as_new(number + 1)

    async with asyncio.TaskGroup() as group:
        group.create_task(part())
    return 0


@workflow
async def from_a_gather(ctx: WorkflowContext, number: int) -> int:
    async def part() -> None:
        await ctx.step(steps.echo, "a")
        ctx.continue_as_new(number + 1)

    await asyncio.gather(part(), return_exceptions=True)
    return 0


@pytest.mark.parametrize("body", [from_a_group, from_a_gather])
def test_a_body_goes_on_as_new_also_from_one_of_its_tasks(body: WorkflowFunction[[int], int]) -> None:
    driver = begun(body, 1)
    driver.end("echo")
    assert driver.ended is not None
    assert (driver.ended.status, driver.ended.input) == ("continued", b'{"number":2}')


@workflow
async def recovers(ctx: WorkflowContext) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await ctx.sleep("1d")


def test_a_body_that_has_waited_in_vain_before_can_be_cancelled_like_any_other() -> None:
    driver = begun(recovers)
    driver.cancel()
    assert driver.ended is not None
    assert driver.ended.status == "cancelled"


@workflow
async def travels(ctx: WorkflowContext) -> None:
    several = [ctx.step(steps.act, name, compensate=steps.undo, name=name) for name in ("hotel", "flight", "car")]
    await asyncio.gather(asyncio.gather(*several), ctx.step(steps.fail))


@workflow
def travels_plainly(ctx: SyncWorkflowContext) -> None:
    for name in ("hotel", "flight", "car"):
        ctx.start_step(steps.act, name, compensate=steps.undo, name=name)
    ctx.step(steps.fail)


@pytest.mark.parametrize("body", [travels, travels_plainly])
def test_steps_that_still_run_when_the_body_fails_are_undone_in_whatever_order_they_end(
    body: WorkflowFunction[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    steps.effects.clear()
    driver = begun(body)
    driver.end("fail")
    driver.end("car")
    driver.replay()
    driver.end("flight", outcome="failed")
    driver.end("hotel")
    driver.run()
    assert steps.effects == ["car", "hotel", "undo hotel", "undo car"]
    assert error_of(driver.ended).message == "no luck"
    assert caplog.records == []


@workflow
async def registers(ctx: WorkflowContext, *, fits: bool) -> None:
    values = ["a"]
    if not fits:
        ctx.on_rollback(steps.take_list, object())
    ctx.on_rollback(steps.change_list, values)
    values.append("b")
    raise ValueError("no luck")


def test_what_is_registered_for_a_rollback_is_checked_and_kept_as_it_is_then() -> None:
    refused = error_of(begun(registers, fits=False).ended)
    assert (refused.type, "argument 'values'" in refused.message) == ("EncodeError", True)
    driver = begun(registers, fits=True)
    call = driver.find("change_list").call
    assert call is not None
    assert call.json == b'{"values":["a"]}'


@workflow
async def undoes_wrongly(ctx: WorkflowContext) -> None:
    await ctx.step(steps.act, "a", compensate=steps.count_up)


def test_a_compensation_that_cannot_be_called_with_a_result_alone_is_refused_before_the_step_runs() -> None:
    error = error_of(begun(undoes_wrongly).ended)
    assert error.type == "InvalidError"
    assert "compensate=count_up cannot undo a step: it is called with the step's result alone" in error.message


@workflow
async def nests(ctx: WorkflowContext, *, waits: bool) -> list[str]:
    first = ctx.step(steps.echo, "x")
    if waits:
        await first
    inner = ctx.select(first=first, never=ctx.signal("never"))
    outer = await ctx.select(inner=inner, late=ctx.timer("1h"))
    return [outer.arm, outer.value.arm, outer.value.value]


def test_a_select_may_be_the_arm_of_another_also_where_it_has_ended_at_once() -> None:
    at_once = begun(nests, waits=True)
    at_once.end("echo")
    check(at_once, ["inner", "first", "x"])
    later = begun(nests, waits=False)
    later.end("echo")
    for op, arm in ((1, "first"), (2, "inner")):
        later.tell(Told(told="select", op=op, at=later.at, arm=arm))
    check(later, ["inner", "first", "x"])


@workflow
async def cancels_its_arms(ctx: WorkflowContext) -> str:
    first, second = ctx.step(steps.echo, "a"), ctx.step(steps.echo, "b")
    selected = ctx.select(first=first, second=second)
    first.cancel()
    await asyncio.sleep(0)
    assert not selected.done()
    second.cancel()
    try:
        return (await selected).arm
    except asyncio.CancelledError:
        return "nothing is left"


def test_a_select_whose_arms_are_all_cancelled_ends_instead_of_waiting_for_ever() -> None:
    check(begun(cancels_its_arms), "nothing is left")


@workflow
async def polls(ctx: WorkflowContext) -> str:
    async def met(_value: object) -> bool:
        return False

    return await ctx.poll(steps.echo, "a", every="1s", until=met)  # pyright: ignore[reportArgumentType] - the point


def test_a_condition_of_a_poll_that_is_async_and_so_always_true_is_refused() -> None:
    assert "until=polls.<locals>.met is async" in error_of(begun(polls).ended).message


@workflow
async def maps(ctx: WorkflowContext) -> list[Any]:
    return (await ctx.map(lambda number: number, [1])).results


def test_a_map_of_a_lambda_says_that_it_can_be_no_step() -> None:
    assert "is a lambda" in error_of(begun(maps).ended).message


@workflow
async def sleeps_long(_ctx: WorkflowContext) -> None:
    await asyncio.sleep(1e18)


def test_a_sleep_past_all_calendars_is_a_timer_that_a_store_can_keep() -> None:
    until = msgspec.json.decode(begun(sleeps_long).entries[0])["until"]
    assert until == 253_402_300_799_000


@workflow
async def logs(ctx: WorkflowContext) -> None:
    values = [1]
    ctx.log.warning("100%% of %s", values)
    values.append(2)
    ctx.log.warning("%s and %s", "too few")  # noqa: PLE1206 - the point
    await ctx.sleep("1s")


def test_a_log_shows_values_as_they_were() -> None:
    written, wrong = begun(logs).logs
    assert written.getMessage() == "workflow 'logs' run-1: 100% of [1]"
    with pytest.raises(TypeError, match="not enough arguments"):
        wrong.getMessage()  # which handlers print, and then go on


@workflow
async def leaves_much(ctx: WorkflowContext) -> None:
    await ctx.step(steps.act, "hotel", compensate=steps.undo)
    for _ in range(MOST_OPEN):
        ctx.start_step(steps.echo, "a")
    raise ValueError("no luck")


def test_a_body_that_fails_with_all_that_may_be_open_still_has_its_steps_undone() -> None:
    steps.effects.clear()
    driver = begun(leaves_much)
    driver.end("act")
    driver.end("undo")
    assert steps.effects == ["hotel", "undo hotel"]
    assert error_of(driver.ended).message == "no luck"
    before = list(driver.entries)
    driver.replay()
    assert driver.entries == before


@workflow
async def publishes(ctx: WorkflowContext, size: int, count: int) -> None:
    for number in range(count):
        ctx.publish("same", "x" * (size - number % 2))
        ctx.publish(f"n{number}", 1)


@pytest.mark.parametrize(
    ("size", "count", "message"),
    [(65_536, 1, "'same' of 65538 bytes"), (9, 1_000, "1001 values of")],
)
def test_more_than_a_run_may_publish_is_refused_where_it_is_published(size: int, count: int, message: str) -> None:
    error = error_of(begun(publishes, size, count).ended)
    assert error.type == "InvalidError"
    assert message in error.message


def test_as_much_as_a_run_may_publish_is_published() -> None:
    driver = begun(publishes, 60_000, 900)
    assert driver.ended is not None
    assert driver.ended.status == "completed"


@workflow
async def names_at_length(ctx: WorkflowContext, length: int) -> str:
    return await ctx.step(steps.echo, "a", name="n" * length)


def test_a_name_that_the_engine_would_refuse_is_refused_where_the_step_is_asked_for() -> None:
    begun(names_at_length, 128).run()
    assert "may have 128 characters" in error_of(begun(names_at_length, 129).ended).message


def test_a_method_is_no_workflow() -> None:
    class Shop:
        async def order(self, ctx: WorkflowContext) -> str:
            return ctx.info.id

    with pytest.raises(InvalidError, match="is a method"):
        WorkflowFunction[..., Any](Shop.order)
