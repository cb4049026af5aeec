"""Timers, signals, selects, callbacks and polls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from buquet import StepTimeoutError
from buquet.workflow import Selected, SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from buquet.workflow._entries import ErrorInfo, Told
from tests.unit.workflow import steps
from tests.unit.workflow.driver import BEGUN, Driver, begun, check, error_of, kinds, result

pytestmark = pytest.mark.usefixtures("crashing")


async def sleeps(ctx: WorkflowContext) -> str:
    await ctx.sleep("1h30m")
    await ctx.sleep(timedelta(days=1))
    await ctx.sleep(0.25)
    await ctx.sleep_until(datetime(2023, 11, 20, tzinfo=UTC))
    return ctx.now().isoformat()


def sleeps_plain(ctx: SyncWorkflowContext) -> str:
    ctx.sleep("1h30m")
    ctx.sleep(timedelta(days=1))
    ctx.sleep(0.25)
    ctx.sleep_until(datetime(2023, 11, 20, tzinfo=UTC))
    return ctx.now().isoformat()


@kinds(sleeps, sleeps_plain)
def test_sleeps_are_timers_counted_from_what_was_told_last(body: WorkflowFunction[[], str]) -> None:
    driver = begun(body)
    driver.run()
    untils = [entry.until for entry in driver.asks()]
    hour = 3_600_000
    assert [untils[0], untils[1]] == [BEGUN + 1.5 * hour, BEGUN + 25.5 * hour]
    check(driver, "2023-11-20T00:00:00+00:00")


@pytest.mark.parametrize(
    ("zone", "day"),
    [("America/New_York", (2024, 3, 10)), ("America/New_York", (2024, 11, 3)), ("America/Santiago", (2024, 4, 7))],
)
def test_sleeping_until_a_local_time_happens_once_when_clocks_are_turned(zone: str, day: tuple[int, int, int]) -> None:
    at = datetime(*day, 2, 30, tzinfo=ZoneInfo(zone))

    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await ctx.sleep_until(at)
        await ctx.sleep("1d")

    driver = begun(body)
    driver.run()
    first, second = (entry.until for entry in driver.asks())
    assert first == round(at.timestamp() * 1000)
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert second - first == 24 * 3_600_000


def test_a_naive_time_is_refused() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await ctx.sleep_until(datetime(2024, 1, 1))  # noqa: DTZ001 - it is the point

    assert "no time zone" in error_of(begun(body).ended).message


async def waits(ctx: WorkflowContext) -> list[Any]:
    first = await ctx.wait_signal("approved", timeout="7d", type=dict[str, int])
    second = await ctx.wait_signal("approved", timeout="1h")
    return [first, second]


def waits_plain(ctx: SyncWorkflowContext) -> list[Any]:
    first = ctx.wait_signal("approved", timeout="7d", type=dict[str, int])
    second = ctx.wait_signal("approved", timeout="1h")
    return [first, second]


@kinds(waits, waits_plain)
def test_a_signal_gives_its_payload_and_none_when_the_time_is_up(body: WorkflowFunction[[], list[Any]]) -> None:
    driver = begun(body)
    driver.end("approved", payload={"by": 7})
    driver.replay()
    driver.end("approved", outcome="timeout")
    check(driver, [{"by": 7}, None])
    assert [entry.until for entry in driver.asks()] == [BEGUN + 7 * 86_400_000, BEGUN + 1 + 3_600_000]


def test_a_payload_of_another_shape_is_an_error_that_the_body_may_handle() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> int | None:
        return await ctx.wait_signal("number", type=int)

    driver = begun(body)
    driver.end("number", payload="seven")
    assert "the payload of signal 'number' does not fit its type" in error_of(driver.ended).message


async def collects(ctx: WorkflowContext) -> list[int]:
    seen: list[int] = []
    async for number in ctx.signals("number", type=int):
        seen.append(number)
        if number == 0:
            break
    return seen


def collects_plain(ctx: SyncWorkflowContext) -> list[int]:
    seen: list[int] = []
    for number in ctx.signals("number", type=int):
        seen.append(number)
        if number == 0:
            break
    return seen


@kinds(collects, collects_plain)
def test_signals_come_one_after_another(body: WorkflowFunction[[], list[int]]) -> None:
    driver = begun(body)
    for number in (3, 1, 0):
        driver.end("number", payload=number)
    check(driver, [3, 1, 0])


async def selects(ctx: WorkflowContext) -> list[Any]:
    late, won = ctx.timer("1h"), list[Any]()
    while not won or won[-1][0] != "late":
        won.append(await ctx.select(approved=ctx.signal("approved", str), late=late))
    return won


def selects_plain(ctx: SyncWorkflowContext) -> list[Any]:
    late, won = ctx.timer("1h"), list[Any]()
    while not won or won[-1][0] != "late":
        won.append(ctx.select(approved=ctx.signal("approved", str), late=late))
    return won


def win(driver: Driver, arm: str, **told: Any) -> None:
    """Let this arm of the select win."""
    driver.end("select", arm=arm, **told)


@kinds(selects, selects_plain)
def test_one_timer_serves_several_selects_and_each_has_one_winner(body: WorkflowFunction[[], list[Any]]) -> None:
    driver = begun(body)
    win(driver, "approved", payload="a")
    driver.replay()
    win(driver, "approved", payload="b")
    driver.replay()
    win(driver, "late")
    check(driver, [["approved", "a"], ["approved", "b"], ["late", None]])
    arms = [entry.arms for entry in driver.asks()]
    assert arms == [{"approved": {"signal": "approved"}, "late": {"timer": BEGUN + 3_600_000}}] * 3


async def races(ctx: WorkflowContext) -> list[Any]:
    step = ctx.step(steps.echo, "done")
    first = await ctx.select(step=step, late=ctx.timer("1h"))
    second = await ctx.select(late=ctx.timer("1h"), step=step)
    return [*first, *second]


def races_plain(ctx: SyncWorkflowContext) -> list[Any]:
    step = ctx.start_step(steps.echo, "done")
    first = ctx.select(step=step, late=ctx.timer("1h"))
    second = ctx.select(late=ctx.timer("1h"), step=step)
    return [*first, *second]


@kinds(races, races_plain)
def test_a_step_can_win_and_one_that_has_ended_wins_at_once(body: WorkflowFunction[[], list[Any]]) -> None:
    driver = begun(body)
    driver.end("echo")
    win(driver, "step")
    check(driver, ["step", "done", "step", "done"])
    assert [entry.ask for entry in driver.asks()] == ["step", "select"]
    assert driver.asks()[1].arms == {"step": {"op": 0}, "late": {"timer": BEGUN + 3_600_000}}


def test_a_step_that_fails_in_a_select_raises_there() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> Selected:
        return await ctx.select(step=ctx.step(steps.fail))

    driver = begun(body)
    driver.end("fail")
    win(driver, "step")
    assert error_of(driver.ended).type == "ValueError"


def test_a_select_of_other_arms_is_a_mismatch() -> None:
    @workflow
    async def after(ctx: WorkflowContext) -> Selected:
        return await ctx.select(rejected=ctx.signal("rejected", str), late=ctx.timer("2h"))

    driver = begun(WorkflowFunction[..., Any](selects))
    with pytest.raises(Exception, match=r"select of approved \(signal approved\), late"):
        driver.replay(after)


def test_a_select_without_arms_or_of_something_else_is_refused() -> None:
    @workflow
    async def empty(ctx: WorkflowContext) -> None:
        await ctx.select()

    @workflow
    async def odd(ctx: WorkflowContext) -> None:
        await ctx.select(a=5)

    assert "at least one arm" in error_of(begun(empty).ended).message
    assert "arm 'a' is int" in error_of(begun(odd).ended).message


async def signs(ctx: WorkflowContext) -> list[Any]:
    first, second = ctx.callback(timeout="7d", heartbeat="1m", type=str), ctx.callback(type=int)
    await ctx.step(steps.echo, first.token)
    await ctx.sleep("1d")
    number = await second
    try:
        return [await first, number]
    except StepTimeoutError as error:
        await ctx.sleep("1h")
        return [error.type, number]


def signs_plain(ctx: SyncWorkflowContext) -> list[Any]:
    first, second = ctx.callback(timeout="7d", heartbeat="1m", type=str), ctx.callback(type=int)
    ctx.step(steps.echo, first.token)
    ctx.sleep("1d")
    number = second.result()
    try:
        return [first.result(), number]
    except StepTimeoutError as error:
        ctx.sleep("1h")
        return [error.type, number]


SIGNS = kinds(signs, signs_plain)


@SIGNS
def test_callbacks_are_completed_in_any_order_before_and_after_they_are_awaited(
    body: WorkflowFunction[[], list[Any]],
) -> None:
    driver = begun(body)
    first, second = driver.find("callback"), list(driver.open.values())[1]
    assert (first.ask.heartbeat_ms, first.ask.until) == (60_000, BEGUN + 7 * 86_400_000)
    driver.end("echo")
    assert result_of_step(driver) == "run-1.1.1.0", "its token: run, generation, execution, operation"
    driver.end_operation(first, output="signed")
    driver.replay()
    driver.end("sleep")
    driver.end_operation(driver.open[second.op], output=5)
    check(driver, ["signed", 5])


def result_of_step(driver: Driver) -> Any:
    """What the first step has given."""
    told = next(entry for entry in driver.read() if isinstance(entry, Told))
    assert isinstance(told.output, msgspec.Raw)
    return msgspec.json.decode(told.output)


@SIGNS
@pytest.mark.parametrize(
    "told",
    [
        {"outcome": "timeout"},
        {"outcome": "timeout", "error": ErrorInfo(type="CallbackTimeout", message="no heartbeat")},
    ],
)
def test_a_callback_that_times_out_can_be_caught_and_followed_by_a_wait(
    body: WorkflowFunction[[], list[Any]], told: dict[str, Any]
) -> None:
    driver = begun(body)
    first = driver.find("callback")
    driver.end("echo")
    driver.end("sleep")
    driver.end_operation(list(driver.open.values())[1], output=5)
    driver.end_operation(first, **told)
    driver.replay()
    driver.end("sleep")
    assert result(driver.ended)[1] == 5


def test_a_callback_that_fails_raises_what_it_failed_with() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        try:
            return await ctx.callback(type=str)
        except ValueError as error:
            return f"refused: {error}"

    driver = begun(body)
    driver.end("callback", outcome="failed", error=ErrorInfo(type="ValueError", message="no", args=["no"]))
    check(driver, "refused: no")


async def polls(ctx: WorkflowContext) -> Any:
    return await ctx.poll(
        steps.count_up, 2, initial=None, every=lambda rounds, _state: rounds * 10, until=lambda state: state >= 5
    )


def polls_plain(ctx: SyncWorkflowContext) -> Any:
    return ctx.poll(
        steps.count_up, 2, initial=None, every=lambda rounds, _state: rounds * 10, until=lambda state: state >= 5
    )


@kinds(polls, polls_plain)
def test_a_poll_carries_its_state_and_has_its_own_schedule(body: WorkflowFunction[[], Any]) -> None:
    driver = begun(body)
    driver.run()
    check(driver, 6)
    assert driver.calls == ["count_up"] * 3
    waits = [entry.until for entry in driver.asks() if entry.ask == "timer"]
    assert [waits[0], waits[1]] == [BEGUN + 1 + 10_000, BEGUN + 10_002 + 20_000]


def test_a_poll_that_is_met_at_once_does_not_wait_and_one_that_never_is_gives_up() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[Any]:
        at_once = await ctx.poll(steps.echo, "yes", every="1s")
        try:
            await ctx.poll(steps.echo, "", every="1m", timeout="3m")
        except StepTimeoutError as error:
            return [at_once, error.message]
        return []

    driver = begun(body)
    driver.run()
    check(driver, ["yes", "3 rounds did not meet the condition; the last gave ''"])
