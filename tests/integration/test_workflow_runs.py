"""Workflows on the real engine: every kind of thing that a body asks for, on an embedded store."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from buquet import (
    Buquet,
    ConflictError,
    NotFoundError,
    RunEndedError,
    StepTimeoutError,
    WorkflowCancelledError,
    WorkflowFailedError,
)
from buquet.testing import Replayer
from buquet.workflow import (
    RunHandle,
    RunStatus,
    SyncWorkflowContext,
    WorkflowClient,
    WorkflowContext,
    WorkflowFunction,
    workflow,
)
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

effects: list[str] = []
gate = threading.Event()
LONG = "2m"


def act(what: str) -> str:
    effects.append(what)
    return what.upper()


async def act_async(what: str) -> str:
    effects.append(what)
    return what.upper()


def fail(what: str) -> str:
    effects.append(what)
    raise ValueError(what)


def fail_until_fixed(what: str) -> str:
    effects.append(what)
    if "fixed" not in effects:
        raise ValueError(what)
    return "fixed"


def hang(what: str) -> str:
    effects.append(what)
    time.sleep(0.5)
    return what


def hold(what: str) -> str:
    effects.append(what)
    assert gate.wait(60)
    return what


def large(size: int) -> str:
    return "x" * size


@workflow
async def chain(ctx: WorkflowContext, name: str) -> list[str]:
    return [await ctx.step(act, f"{name}-1"), await ctx.step(act_async, f"{name}-2"), await ctx.step(act, f"{name}-3")]


@workflow
def plain_chain(ctx: SyncWorkflowContext, name: str) -> list[str]:
    return [ctx.step(act, f"{name}-1"), ctx.step(act_async, f"{name}-2"), ctx.step(act, f"{name}-3")]


@workflow
async def fan(ctx: WorkflowContext, count: int) -> int:
    parts = await asyncio.gather(*(ctx.step(act, f"part-{number}") for number in range(count)))
    return len(set(parts))


@workflow
async def sleeps(ctx: WorkflowContext, length: str) -> str:
    await ctx.sleep(length)
    return await ctx.step(act, "awake")


@workflow
async def approval(ctx: WorkflowContext, patience: str) -> str:
    ctx.publish("stage", "asked")
    first = await ctx.select(approved=ctx.signal("approved", str), late=ctx.timer(patience))
    return first.arm if first.value is None else await ctx.step(act, first.value)


@workflow
async def saga(ctx: WorkflowContext, ends: str) -> str:
    await ctx.step(act, "one", compensate=undo)
    await ctx.step(act, "two", compensate=undo)
    if ends == "waits":
        await ctx.wait_signal("never")
    return await ctx.step(fail, "three", retries=0)


def undo(what: str) -> None:
    effects.append(f"undo {what}")


@workflow
async def counts(ctx: WorkflowContext, total: int, left: int) -> int:
    for _ in range(2):
        if left == 0:
            return total
        total += await ctx.wait_signal("add", type=int) or 0
        left -= 1
    ctx.continue_as_new(total, left)
    return total


@workflow
async def callback(ctx: WorkflowContext, limit: str) -> str:
    future = ctx.callback(timeout=limit, type=str)
    ctx.publish("token", future.token)
    try:
        return await future
    except StepTimeoutError:
        return "nobody came"


@workflow
async def slow_step(ctx: WorkflowContext) -> str:
    try:
        return await ctx.step(hang, "hung", timeout="100ms", retries=1, backoff="1ms")
    except TimeoutError:
        return "gave up"


@workflow
async def fixable(ctx: WorkflowContext) -> str:
    await ctx.step(act, "before")
    return await ctx.step(fail_until_fixed, "broken", retries=0)


@workflow
async def holds(ctx: WorkflowContext) -> str:
    return await ctx.step(hold, "held")


@workflow
async def much(ctx: WorkflowContext, size: int) -> str:
    first = await ctx.step(large, size)
    await ctx.wait_signal("go")
    return first


ALL: tuple[WorkflowFunction[..., Any], ...] = (
    chain,
    plain_chain,
    fan,
    sleeps,
    approval,
    saga,
    counts,
    callback,
    slow_step,
    fixable,
    holds,
    much,
)


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Buquet]:
    """An app with all workflows of this module, and no worker yet."""
    effects.clear()
    with Buquet("memory:" if request.param == "memory" else f"sqlite:{tmp_path}/queue.db") as app:
        app.register(*ALL)
        yield app


def start(app: Buquet, body: WorkflowFunction[..., Any], *args: Any, **options: Any) -> RunHandle[Any]:
    client = WorkflowClient(app).options(**options)
    return asyncio.run(client.start(body, *args))


def until(app: Buquet, run: RunHandle[Any], condition: Callable[[Any], bool], what: str) -> Any:
    del app

    def look() -> Any:
        seen = run.refresh(steps=True)
        return seen if condition(seen) else None

    return wait_until(look, within=60, what=what)


def waits(run: Any) -> bool:
    return run.status is RunStatus.WAITING


@pytest.mark.parametrize("body", [chain, plain_chain])
def test_a_run_takes_its_steps_and_its_journal_replays(app: Buquet, body: WorkflowFunction[..., Any]) -> None:
    with app.worker():
        run = start(app, body, "a")
        assert run.result(LONG) == ["A-1", "A-2", "A-3"]
    assert effects == ["a-1", "a-2", "a-3"]
    seen = run.refresh(steps=True)
    assert seen.steps is not None
    assert [(step.kind, step.status, step.attempts) for step in seen.steps] == [("step", "completed", 1)] * 3
    assert seen.counts == {"completed": 3}
    assert_replays(app, run, body)


def assert_replays(app: Buquet, run: RunHandle[Any], body: WorkflowFunction[..., Any]) -> None:
    from buquet.cli._runs_shown import export  # noqa: PLC0415 - what the command line writes

    assert Replayer(body).check(export(app.queue.client, run.id)) == 1


def test_steps_go_on_side_by_side(app: Buquet) -> None:
    with app.worker():
        assert start(app, fan, 100).result(LONG) == 100
    assert len(effects) == 100


def test_many_runs_are_started_together_and_all_end(app: Buquet) -> None:
    runs = asyncio.run(WorkflowClient(app).start_many(chain, [f"r{number}" for number in range(120)]))
    with app.worker():
        results = [run.result(LONG) for run in runs]
    assert results == [[f"R{number}-{step}" for step in (1, 2, 3)] for number in range(120)]
    assert len(effects) == 360


@pytest.mark.parametrize("length", ["20ms", "1500ms"])
def test_a_sleep_ends_in_place_or_wakes_the_run(app: Buquet, length: str) -> None:
    with app.worker():
        begun = time.monotonic()
        assert start(app, sleeps, length).result(LONG) == "AWAKE"
        assert time.monotonic() - begun >= (0.02 if length == "20ms" else 1.5)


def test_a_signal_wakes_a_waiting_run_and_one_sent_before_is_not_lost(app: Buquet) -> None:
    early = start(app, approval, "7d", id="early")
    early.signal("approved", "ada")
    with app.worker():
        late = start(app, approval, "7d", id="late")
        assert until(app, late, waits, "the run to wait").published == {"stage": "asked"}
        late.signal("approved", "bob", id="once")
        assert (early.result(LONG), late.result(LONG)) == ("ADA", "BOB")
        with pytest.raises(RunEndedError, match="late has ended as completed"):
            late.signal("approved", "eve")
        assert start(app, approval, "1200ms").result(LONG) == "late"


def test_a_failed_run_undoes_what_it_did_in_reverse_order(app: Buquet) -> None:
    with app.worker():
        run = start(app, saga, "fails")
        with pytest.raises(WorkflowFailedError, match="ValueError: three"):
            run.result(LONG)
    assert effects == ["one", "two", "three", "undo TWO", "undo ONE"]
    seen = run.refresh(steps=True)
    assert [step.status for step in seen.steps or ()][:3] == ["compensated", "compensated", "failed"]


def test_a_cancelled_run_undoes_what_it_did(app: Buquet) -> None:
    with app.worker():
        run = start(app, saga, "waits", id="saga")
        until(app, run, waits, "the run to wait")
        run.cancel("enough")
        with pytest.raises(WorkflowCancelledError):
            run.result(LONG)
    assert effects == ["one", "two", "undo TWO", "undo ONE"]


def test_a_run_that_has_not_begun_is_cancelled_at_once(app: Buquet) -> None:
    run = start(app, chain, "a")
    assert run.cancel().status is RunStatus.CANCELLED
    with app.worker(), pytest.raises(WorkflowCancelledError):
        run.result(LONG)
    assert effects == []


def test_a_terminated_run_ends_without_undoing(app: Buquet) -> None:
    with app.worker():
        run = start(app, saga, "waits")
        until(app, run, waits, "the run to wait")
        run.terminate()
        with pytest.raises(WorkflowCancelledError):
            run.result(LONG)
    assert effects == ["one", "two"]


def test_a_run_is_terminated_while_its_step_runs(app: Buquet) -> None:
    gate.clear()
    with app.worker():
        run = start(app, holds)
        until(app, run, lambda _: "held" in effects, "the step to begin")
        run.terminate("now")
        with pytest.raises(WorkflowCancelledError):
            run.result(LONG)
        gate.set()
    assert effects == ["held"]


def test_code_that_does_not_fit_pauses_a_run_and_code_that_fits_lets_it_go_on(tmp_path: Path) -> None:
    effects.clear()
    url = f"sqlite:{tmp_path}/queue.db"

    async def other(ctx: WorkflowContext, patience: str) -> str:
        return await ctx.step(act, patience)

    with Buquet(url) as app:
        app.register(approval)
        with app.worker():
            run = start(app, approval, "7d", id="r")
            until(app, run, waits, "the run to wait")
    with Buquet(url) as app:
        app.register(WorkflowFunction(other, name="approval", version="2"))
        with app.worker():
            run = app.run_handle("r")
            run.signal("approved", "ada")
            paused = until(app, run, lambda seen: seen.status is RunStatus.PAUSED, "the run to be paused")
            assert paused.pause.cause == "mismatch"
            assert "select" in paused.pause.mismatch["recorded"]
    with Buquet(url) as app:
        app.register(approval)
        with app.worker():
            run = app.run_handle("r")
            run.resume()
            assert run.result(LONG) == "ADA"


def test_a_paused_run_begins_nothing_until_it_is_resumed(app: Buquet) -> None:
    with app.worker():
        run = start(app, approval, "7d")
        until(app, run, waits, "the run to wait")
        run.pause("look at it", by="ada")
        paused = until(app, run, lambda seen: seen.status is RunStatus.PAUSED, "the run to be paused")
        assert (paused.pause.reason, paused.pause.by) == ("look at it", "ada")
        run.signal("approved", "ada")
        run.resume()
        assert run.result(LONG) == "ADA"


def test_a_retry_goes_on_from_the_step_that_failed(app: Buquet) -> None:
    with app.worker():
        run = start(app, fixable)
        with pytest.raises(WorkflowFailedError):
            run.result(LONG)
        effects.append("fixed")
        run.retry()
        assert run.result(LONG) == "fixed"
    assert effects == ["before", "broken", "fixed", "broken"]


def test_a_run_goes_on_as_new_and_loses_no_signal(app: Buquet) -> None:
    run = start(app, counts, 0, 7, id="counter")
    for number in range(7):
        run.signal("add", number)
    with app.worker():
        assert run.result(LONG) == sum(range(7))
    assert run.refresh().execution == 3


def test_a_callback_is_completed_from_outside_or_its_time_is_up(app: Buquet) -> None:
    client = WorkflowClient(app)
    with app.worker():
        run = start(app, callback, "1h")
        token = until(app, run, lambda seen: "token" in seen.published, "the token").published["token"]
        asyncio.run(client.complete(token, "signed"))
        assert run.result(LONG) == "signed"
        assert start(app, callback, "1s").result(LONG) == "nobody came"


def test_a_step_whose_time_is_up_fails_and_is_tried_again(app: Buquet) -> None:
    with app.worker():
        assert start(app, slow_step).result(LONG) == "gave up"
    assert effects == ["hung", "hung"]


def test_a_deadline_cancels_the_run_and_fails_it(app: Buquet) -> None:
    with app.worker():
        run = start(app, saga, "waits", timeout="1s")
        with pytest.raises(WorkflowFailedError, match="DeadlineExceeded"):
            run.result(LONG)
    assert effects[-2:] == ["undo TWO", "undo ONE"]


def test_large_results_are_read_from_where_they_lie(app: Buquet) -> None:
    with app.worker():
        run = start(app, much, 200_000, id="much")
        until(app, run, waits, "the run to wait")
        run.signal("go")
        assert len(run.result(LONG)) == 200_000
    assert_replays(app, run, much)


def test_runs_of_one_name_are_one(app: Buquet) -> None:
    first, second = start(app, chain, "a", id="one"), start(app, chain, "a", id="one")
    assert (first.created, second.created) == (True, False)
    with pytest.raises(ConflictError):
        start(app, chain, "b", id="one")
    with pytest.raises(ConflictError):
        start(app, chain, "a", id="one", on_existing="reject")
    with app.worker():
        assert second.result(LONG) == ["A-1", "A-2", "A-3"]
        again = start(app, chain, "a", id="one", on_existing="again_if_ended")
        assert again.created
        until(app, again, lambda seen: seen.generation == 2 and seen.status.is_over, "the second to end")
    assert len(effects) == 6


async def test_runs_are_listed_by_status_and_tag(tmp_path: Path) -> None:
    async with Buquet(f"sqlite:{tmp_path}/queue.db") as app:
        app.register(chain, approval)
        client = WorkflowClient(app)
        async with app.worker():
            done = await client.options(tags=["shop"]).start(chain, "a")
            await done
            waiting = await client.start(approval, "7d", id="w")

            async def listed() -> bool:
                page = await client.list(status="waiting")
                return [run.key for run in page.runs] == ["w"]

            await wait_until_async(listed, within=60, what="the waiting run to be listed")
            assert [run.id for run in (await client.list(tag="shop", status="completed")).runs] == [done.id]
            await waiting.cancel_async()


async def test_pruned_runs_are_gone(tmp_path: Path) -> None:
    async with Buquet(f"sqlite:{tmp_path}/queue.db") as app:
        app.register(chain)
        client = WorkflowClient(app)
        async with app.worker():
            await (await client.start(chain, "a", id="one"))
        assert (await client.prune("0s", dry_run=True)).runs == 1
        await client.prune("0s", status="completed", workflow=chain)
        assert (await client.list()).runs == []
        with pytest.raises(NotFoundError):
            await client.get("one")
