"""Workers drive runs: what they begin, what they store, and what they do when something goes wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Queue, WorkflowFailedError
from buquet.workflow import WorkflowClient, WorkflowContext, WorkflowFunction, workflow
from tests.unit.workflow import driven
from tests.unit.workflow.driven import act, chain, effects, fan, gate, holds, plain_chain, plain_holds, stops, waits
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


@pytest.mark.parametrize("body", [chain, plain_chain], ids=["async", "plain"])
async def test_a_run_takes_its_steps_one_after_another_and_gives_its_result(
    queue: Queue, body: WorkflowFunction[..., str]
) -> None:
    assert await result_of(queue, body, "a") == "A-1 A-2"
    assert effects == ["a-1", "a-2"]


async def test_a_step_begins_only_when_the_round_that_asks_for_it_is_stored(queue: Queue, engine: FakeEngine) -> None:
    await result_of(queue, chain, "a")
    told = [op.removeprefix("run.") for op, _ in engine.calls if op in {"run.report", "run.advance"}]
    assert told == ["advance", "report", "advance", "report", "advance"]
    ends = [request["end"] for request in engine.requests("run.advance") if "end" in request]
    assert ends == [{"completed": "A-1 A-2"}]


async def test_tasks_and_runs_go_on_in_one_worker_and_do_not_take_each_others_places(
    queue: Queue, engine: FakeEngine
) -> None:
    worker = worker_for(queue, waits, holds, concurrency=1, runs=2)
    held = asyncio.Event()

    @worker.task("t")
    async def handler() -> str:
        await held.wait()
        return "done"

    async with worker:
        task = await queue.submit("t")
        client = WorkflowClient(queue)
        run = await client.start(holds, "a")
        await until(lambda: "a" in effects, "the step to begin while the only place for tasks is taken")
        gate("a").set()
        assert await run == "AFTER A"
        held.set()
        assert await task == "done"
    assert {tuple(request["types"]) for request in engine.requests("worker.start")} == {
        ("t",),
        ("workflow:holds", "workflow:waits"),
    }


async def test_a_worker_takes_no_more_runs_than_it_has_places_for(queue: Queue, engine: FakeEngine) -> None:
    async with worker_for(queue, holds, runs=2):
        runs = await WorkflowClient(queue).start_many(holds, ["a", "b", "c"])
        await until(lambda: len(effects) == 2, "two runs to begin")
        assert effects == ["a", "b"]
        assert engine.run(runs[2].id).status == "pending"
        for name in "abc":
            gate(name).set()
        assert [await run for run in runs] == ["AFTER A", "AFTER B", "AFTER C"]


async def test_plain_bodies_have_a_limit_of_their_own(queue: Queue) -> None:
    async with worker_for(queue, plain_holds, chain, runs=10, plain_bodies=1):
        client = WorkflowClient(queue)
        runs = await client.start_many(plain_holds, ["a", "b"])
        await until(lambda: effects == ["a"], "the first to begin")
        assert await (await client.start(chain, "c")) == "C-1 C-2"
        assert effects == ["a", "c-1", "c-2"]
        gate("a").set()
        gate("b").set()
        assert [await run for run in runs] == ["A", "B"]


async def test_plain_steps_run_on_so_many_threads_and_no_more(queue: Queue) -> None:
    async with worker_for(queue, fan, plain_steps=2):
        run = await WorkflowClient(queue).start(fan, 5)
        await until(lambda: len(effects) == 2, "two steps to begin")
        assert effects == ["item-0", "item-1"]
        for number in range(5):
            gate(f"item-{number}").set()
        assert await run == [f"ITEM-{number}" for number in range(5)]


async def test_a_waiting_run_takes_no_place_and_a_signal_lets_it_go_on(queue: Queue, engine: FakeEngine) -> None:
    async with worker_for(queue, waits, runs=1):
        client = WorkflowClient(queue)
        first, second = await client.start(waits, id="first"), await client.start(waits, id="second")
        await until(lambda: engine.run("first").status == engine.run("second").status == "waiting", "both to wait")
        assert (await client.get(first)).published == {"stage": "waiting"}
        await second.signal_async("approved", "b")
        await first.signal_async("approved", "a")
        assert (await first, await second) == ("A", "B")
    assert engine.run("first").opened == 2


async def test_a_signal_reaches_a_run_that_is_being_driven(queue: Queue) -> None:
    async with worker_for(queue, holds_and_waits):
        run = await WorkflowClient(queue).start(holds_and_waits, "a")
        await until(lambda: effects == ["a"], "the step to begin")
        await run.signal_async("go", "now")
        await until(lambda: "now" in effects, "the signal to be heard while the step still runs")
        gate("a").set()
        assert await run == ["A", "NOW"]


@workflow
async def holds_and_waits(ctx: WorkflowContext, what: str) -> list[str]:
    async def heard() -> str:
        return await ctx.step(act, await ctx.wait_signal("go", type=str) or "nothing")

    return list(await asyncio.gather(ctx.step(driven.hold_async, what), heard()))


async def test_steps_are_tried_again_as_long_as_their_policy_says(queue: Queue) -> None:
    assert await result_of(queue, tries, "fail_twice") == "third time"
    assert effects == ["again"] * 3


async def test_a_step_says_itself_when_it_is_tried_again(queue: Queue, engine: FakeEngine) -> None:
    assert await result_of(queue, tries, "busy") == "later"
    reports = engine.requests("run.report")
    assert [report["outcome"] for report in reports] == ["failed", "completed"]
    assert reports[0]["retry_at"] > engine.run("run-1").began


@workflow
async def tries(ctx: WorkflowContext, which: str) -> str:
    return await ctx.step(getattr(driven, which), "again", backoff="1ms")


async def test_errors_that_no_retry_helps_are_not_tried_again(queue: Queue, engine: FakeEngine) -> None:
    with pytest.raises(WorkflowFailedError, match="ValueError: no use") as caught:
        await result_of(queue, fails, "fail", "no use", {"no_retry_on": ["ValueError"]})
    assert effects == ["no use"]
    assert caught.value.run.error is not None
    assert caught.value.run.error.type == "ValueError"
    assert engine.requests("run.report")[0]["retry"] is False


@workflow
async def fails(ctx: WorkflowContext, which: str, argument: Any, options: dict[str, list[str]]) -> None:
    never = ValueError if "no_retry_on" in options else ()
    await ctx.step(getattr(driven, which), argument, retries=1, backoff="1ms", no_retry_on=never)


@pytest.mark.parametrize("which", ["leave", "leave_async"])
async def test_a_step_that_exits_fails_and_leaves_the_worker_alone(queue: Queue, which: str) -> None:
    with pytest.raises(WorkflowFailedError, match="SystemExit"):
        await result_of(queue, fails, which, 3, {})
    assert effects == ["exit 3"] * 2


async def test_a_result_that_cannot_be_encoded_fails_its_step_once_and_names_it(queue: Queue) -> None:
    with pytest.raises(WorkflowFailedError, match="the result of step 'unencodable'"):
        await result_of(queue, gives_a_function)


@workflow
async def gives_a_function(ctx: WorkflowContext) -> None:
    await ctx.step(driven.unencodable)


async def test_a_result_that_the_engine_refuses_fails_its_step(queue: Queue, engine: FakeEngine) -> None:
    engine.outputs_refused_over = 1_000
    with pytest.raises(WorkflowFailedError, match="the output is too large"):
        await result_of(queue, gives_much, 2_000)


async def test_results_that_lie_elsewhere_are_read_live_and_at_a_replay(queue: Queue, engine: FakeEngine) -> None:
    engine.outputs_set_aside_over = 1_000
    async with worker_for(queue, reads_much):
        run = await WorkflowClient(queue).start(reads_much, id="r")
        await until(lambda: engine.run("r").status == "waiting", "the run to wait")
        assert "output" not in engine.run("r").entries[-2]
        await run.signal_async("go")
        assert await run == [2_000, 3_000]
    assert [request["key"] for request in engine.requests("workflow.read")] == ["results/0", "results/1"] * 2


@workflow
async def reads_much(ctx: WorkflowContext) -> list[int]:
    texts = await asyncio.gather(ctx.step(driven.large, 2_000), ctx.step(driven.large, 3_000))
    await ctx.wait_signal("go")
    return [len(text) for text in texts]


@workflow
async def gives_much(ctx: WorkflowContext, size: int) -> int:
    return len(await ctx.step(driven.large, size))


@pytest.mark.parametrize("which", ["hold", "hold_async", "ignore_cancellation"])
async def test_a_step_whose_time_is_up_fails_whatever_its_function_does(queue: Queue, which: str) -> None:
    async with worker_for(queue, times_out):
        run = await WorkflowClient(queue).start(times_out, which)
        assert await run == "StepTimeoutError: StepTimeout: step 'slow' took longer than its timeout of 0.05 s"
        assert effects == ["slow", "slow"]
        gate("slow").set()


@workflow
async def times_out(ctx: WorkflowContext, which: str) -> str:
    try:
        await ctx.options(name="slow").step(getattr(driven, which), "slow", timeout="50ms", retries=1, backoff="1ms")
    except TimeoutError as error:
        return f"{type(error).__name__}: {error}"
    return "in time"


async def test_a_step_that_the_body_gives_up_is_told_to_stop_and_not_waited_for(queue: Queue) -> None:
    async with worker_for(queue, gives_up):
        run = await WorkflowClient(queue).start(gives_up)
        assert await run == "FAST"
        await until(lambda: stops == ["slow"], "the other step to be stopped")


@workflow
async def gives_up(ctx: WorkflowContext) -> str:
    slow, fast = ctx.step(driven.hold_async, "slow"), ctx.step(act, "fast")
    won = await fast
    slow.cancel()
    return won


async def test_a_cancelled_run_is_told_once_and_undoes_its_steps(queue: Queue, engine: FakeEngine) -> None:
    async with worker_for(queue, compensates):
        run = await WorkflowClient(queue).start(compensates)
        await until(lambda: "slow" in effects, "the second step to begin")
        await run.cancel_async("enough")
        with pytest.raises(WorkflowFailedError):
            await run
    assert effects == ["first", "slow", "undo FIRST"]
    assert stops == ["slow"]
    assert engine.run(run.id).status == "cancelled"


@workflow
async def compensates(ctx: WorkflowContext) -> None:
    await ctx.step(act, "first", compensate=driven.undo)
    await ctx.step(driven.hold_async, "slow")


async def test_a_terminated_run_ends_without_its_body(queue: Queue) -> None:
    async with worker_for(queue, compensates):
        run = await WorkflowClient(queue).start(compensates)
        await until(lambda: "slow" in effects, "the second step to begin")
        await run.terminate_async()
        await until(lambda: stops == ["slow"], "its step to be stopped")
    assert effects == ["first", "slow"]


async def test_a_paused_run_lets_its_steps_end_and_begins_no_other(queue: Queue, engine: FakeEngine) -> None:
    async with worker_for(queue, holds):
        run = await WorkflowClient(queue).start(holds, "a", id="r")
        await until(lambda: effects == ["a"], "the step to begin")
        await run.pause_async()
        gate("a").set()
        await until(lambda: engine.run("r").lease is None, "the run to be given up")
        assert effects == ["a"]
        await run.resume_async()
        assert await run == "AFTER A"
    assert effects == ["a", "after A"]
