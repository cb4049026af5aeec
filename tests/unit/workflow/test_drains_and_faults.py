"""What a worker does with its runs when something goes wrong, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from buquet import InvalidError, Queue, UnavailableError, WorkflowFailedError
from buquet.workflow import WorkflowClient, WorkflowContext, WorkflowFunction, workflow
from tests.unit.workflow import driven
from tests.unit.workflow.driven import act, chain, effects, fan, gate, holds, stops, waits
from tests.unit.workflow.driving import result_of, until, worker_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.fake_engine import FakeEngine


@pytest.fixture(autouse=True)
def begin() -> Iterator[None]:
    """No step hangs on to a test, or is counted for the next one."""
    driven.reset()
    yield
    driven.reset()


async def test_a_run_whose_lease_is_lost_is_dropped_and_goes_on_elsewhere(queue: Queue, engine: FakeEngine) -> None:
    async with worker_for(queue, holds):
        run = await WorkflowClient(queue).start(holds, "a", id="r")
        await until(lambda: effects == ["a"], "the step to begin")
        engine.lose_run("r")
        await until(lambda: stops == ["a"], "the step to be stopped")
        gate("a").set()
        assert await run == "AFTER A"
    assert effects == ["a", "a", "after A"]
    assert [report["outcome"] for report in engine.requests("run.report")] == ["completed", "completed"]


async def test_nothing_is_begun_when_the_fate_of_a_round_is_unknown(queue: Queue, engine: FakeEngine) -> None:
    engine.fail_next("run.advance", UnavailableError("nobody knows"))
    async with worker_for(queue, chain):
        run = await WorkflowClient(queue).start(chain, "a", id="r")
        await until(lambda: engine.requests("run.advance"), "the round to be sent")
        await until(lambda: engine.run("r").lease is not None, "the lease")
        assert effects == []
        engine.lose_run("r")
        assert await run == "A-1 A-2"


async def test_reports_and_looks_are_repeated_until_the_store_answers(queue: Queue, engine: FakeEngine) -> None:
    engine.fail_next("run.open", UnavailableError("away"))
    engine.fail_next("run.report", UnavailableError("away"))
    engine.fail_next("run.next", UnavailableError("away"))
    assert await result_of(queue, chain, "a") == "A-1 A-2"
    assert effects == ["a-1", "a-2"]


async def test_a_round_that_the_engine_refuses_fails_the_run_and_says_why(queue: Queue, engine: FakeEngine) -> None:
    engine.fail_next("run.advance", InvalidError("the round has 9 MiB"))
    with pytest.raises(WorkflowFailedError, match="the round has 9 MiB"):
        await result_of(queue, chain, "a")
    assert effects == []


async def test_code_that_does_not_fit_its_journal_pauses_the_run(queue: Queue, engine: FakeEngine) -> None:
    async with worker_for(queue, waits):
        run = await WorkflowClient(queue).start(waits, id="r")
        await until(lambda: engine.run("r").status == "waiting", "the run to wait")

    @workflow(name="waits", version="2")
    async def changed(ctx: WorkflowContext) -> None:
        await ctx.wait_signal("agreed")

    async with worker_for(queue, changed):
        await run.signal_async("approved", "yes")
        await until(lambda: engine.run("r").status == "paused", "the run to be paused")
    assert engine.run("r").mismatch["position"] == 0
    assert "signal 'approved'" in engine.run("r").mismatch["recorded"]
    assert engine.run("r").mismatch["version"] == "2"
    shown = await WorkflowClient(queue).get(engine.run("r").id)
    assert shown.pause is not None
    assert shown.pause.mismatch == engine.run("r").mismatch


async def test_a_worker_leaves_runs_alone_whose_body_it_lacks(queue: Queue, engine: FakeEngine) -> None:
    async with worker_for(queue, chain):
        client = WorkflowClient(queue)
        other = await client.start(waits)
        await client.start(chain, "a")
        assert await result_of_known(client, chain, "b") == "B-1 B-2"
        assert engine.run(other.id).status == "pending"


async def result_of_known(client: WorkflowClient, body: WorkflowFunction[..., Any], *args: Any) -> Any:
    return await (await client.start(body, *args))


async def test_a_drain_lets_steps_end_and_gives_the_run_back(queue: Queue, engine: FakeEngine) -> None:
    worker = worker_for(queue, holds)
    async with worker:
        await WorkflowClient(queue).start(holds, "a", id="r")
        await until(lambda: effects == ["a"], "the step to begin")
        worker.drain()
        await until(lambda: engine.drivers_draining, "the drain to be told")
        gate("a").set()
    run = engine.run("r")
    assert (run.status, run.lease, effects) == ("pending", None, ["a"])
    assert run.open[0]["result"]["output"] == "A"
    assert len(engine.requests("run.release")) == 1


@pytest.mark.parametrize("which", ["hold", "hold_async", "ignore_cancellation"])
async def test_what_outlasts_the_drain_is_released_which_counts_no_attempt(
    queue: Queue, engine: FakeEngine, which: str
) -> None:
    async with worker_for(queue, times_out_never, drain_timeout=0.05):
        await WorkflowClient(queue).start(times_out_never, which, id="r")
        await until(lambda: effects == ["a"], "the step to begin")
    run = engine.run("r")
    assert (run.released, run.open[0]["attempt"], run.status) == ([0], 0, "pending")


@workflow
async def times_out_never(ctx: WorkflowContext, which: str) -> str:
    return await ctx.step(getattr(driven, which), "a")


async def test_steps_that_wait_for_a_thread_are_released_at_once_by_a_drain(queue: Queue, engine: FakeEngine) -> None:
    worker = worker_for(queue, fan, plain_steps=1)
    async with worker:
        await WorkflowClient(queue).start(fan, 3, id="r")
        await until(lambda: effects == ["item-0"], "the first step to begin")
        worker.drain()
        await until(lambda: engine.run("r").released == [1, 2], "the others to be released")
        gate("item-0").set()
    assert effects == ["item-0"]
    assert engine.run("r").open[0]["result"]["output"] == "ITEM-0"


async def test_a_step_that_may_run_only_once_is_not_released_once_it_has_begun(
    queue: Queue, engine: FakeEngine
) -> None:
    async with worker_for(queue, once, drain_timeout=0.05):
        await WorkflowClient(queue).start(once, id="r")
        await until(lambda: effects == ["a"], "the step to begin")
    assert engine.run("r").released == []
    assert len(engine.requests("run.release")) == 1


@workflow
async def once(ctx: WorkflowContext) -> str:
    return await ctx.step(driven.hold_async, "a", at_most_once=True)


async def test_a_run_goes_on_as_new_with_an_empty_journal(queue: Queue, engine: FakeEngine) -> None:
    assert await result_of(queue, counts_down, 3) == "landed"
    run = engine.run("run-1")
    assert (run.execution, effects) == (3, ["3", "2", "1"])


@workflow
async def counts_down(ctx: WorkflowContext, number: int) -> str:
    if number > 0:
        await ctx.step(act, str(number))
        ctx.continue_as_new(number - 1)
    return "landed"


async def test_logs_of_a_body_are_written_once_and_when_the_round_is_stored(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "buquet.workflow.body"):
        await result_of(queue, logs)
    said = [record.getMessage() for record in caplog.records if record.name == "buquet.workflow.body"]
    assert said == ["workflow 'logs' run-1: before", "workflow 'logs' run-1: after A"]


@workflow
async def logs(ctx: WorkflowContext) -> None:
    ctx.log.info("before")
    ctx.log.info("after %s", await ctx.step(act, "a"))


async def test_a_step_gets_a_context_that_names_its_run_and_its_attempt(queue: Queue) -> None:
    assert await result_of(queue, looks) == "look_at_context"
    assert effects == ["run-1 look_at_context 1 here"]


@workflow
async def looks(ctx: WorkflowContext) -> str:
    return await ctx.step(driven.look_at_context, "here")


async def test_a_fault_in_the_driver_gives_the_run_back_instead_of_holding_it(
    queue: Queue, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buquet.workflow._driver._AFTER_FAULT", 0.01)
    engine.fail_next("run.next", DefectError("a defect"))
    assert await result_of(queue, chain, "a") == "A-1 A-2"
    assert len(engine.requests("run.release")) == 1


class DefectError(InvalidError):
    code = "internal"
