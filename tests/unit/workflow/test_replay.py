"""Replays: what is recorded is matched with what the code asks for, and a difference is told in full."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from buquet import CorruptError, MismatchError
from buquet.workflow import SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from buquet.workflow._body import Body
from buquet.workflow._core import Start
from buquet.workflow._entries import read_entries
from tests.unit.workflow import steps
from tests.unit.workflow.driver import BEGUN, begun, result
from tests.unit.workflow.scripts import run_script


@workflow(version="1")
async def two(ctx: WorkflowContext) -> str:
    first = await ctx.step(steps.echo, "first")
    return await ctx.step(steps.act, first)


def changed(after: WorkflowFunction[..., Any], ends: int = 1) -> MismatchError:
    """The mismatch of this code with a run of ``two`` of which so many steps have ended."""
    driver = begun(two)
    for _ in range(ends):
        driver.end_operation(driver.ready()[0])
    with pytest.raises(MismatchError) as raised:
        driver.replay(after)
    return raised.value


def test_another_step_at_a_place_is_a_mismatch_that_says_all_of_it() -> None:
    @workflow(version="2")
    async def after(ctx: WorkflowContext) -> int:
        return await ctx.step(steps.double, 1, name="renamed")

    error = changed(after)
    assert (error.position, error.argument) == (0, None)
    assert (error.recorded, error.asked) == ("step 'echo'", "step 'renamed'")
    assert (error.recorded_version, error.version) == ("1", "2")
    assert "entry 0 of the journal: step 'echo' was recorded, and the code now asks for step 'renamed'" in str(error)
    assert "recorded by version 1, this is version 2" in str(error)


def test_other_arguments_are_a_mismatch_that_names_the_argument_and_both_digests() -> None:
    @workflow
    async def after(ctx: WorkflowContext) -> str:
        return await ctx.step(steps.echo, "other")

    error = changed(after)
    assert error.argument == "value"
    assert error.recorded.startswith("step 'echo' (its digest: ")
    assert error.recorded != error.asked


def test_a_step_that_is_not_asked_for_any_more_is_a_mismatch() -> None:
    @workflow
    async def after(ctx: WorkflowContext) -> str:
        return await ctx.step(steps.echo, "first")

    error = changed(after, ends=1)
    assert (error.position, error.recorded) == (2, "step 'act'")
    assert error.asked == "nothing: the body completed"


def test_a_body_that_ends_before_its_journal_does_is_a_mismatch() -> None:
    @workflow
    async def forgets(ctx: WorkflowContext) -> str:
        await ctx.step(steps.echo, "first")
        ctx.step(steps.act, "first")
        return ""

    @workflow
    async def cancels(ctx: WorkflowContext) -> str:
        await ctx.step(steps.echo, "first")
        ctx.step(steps.act, "first").cancel()
        return ""

    forgetting, cancelling = changed(forgets, ends=2), changed(cancels, ends=2)
    assert forgetting.recorded == "that the body was told how step 2 ended"
    assert forgetting.asked.startswith("nothing more: the body failed with NotAwaitedError")
    assert cancelling.recorded == "nothing more before it was told how step 2 ended"
    assert cancelling.asked == "cancel of operation 2"


def test_a_step_that_is_new_among_recorded_ones_is_a_mismatch() -> None:
    @workflow
    async def after(ctx: WorkflowContext) -> str:
        await ctx.step(steps.echo, "first")
        await ctx.step(steps.double, 1)
        return await ctx.step(steps.act, "first")

    error = changed(after)
    assert (error.recorded, error.asked) == ("step 'act'", "step 'double'")


def test_steps_that_are_not_reached_yet_may_change_and_so_may_what_a_step_does() -> None:
    @workflow
    async def after(ctx: WorkflowContext) -> str:
        await ctx.step(steps.echo, "first")
        second = await ctx.step(steps.act, "first", retries=9, timeout="1h")
        return await ctx.step(steps.echo, second * 2)

    driver = begun(two)
    driver.end("echo")
    driver.replay(after)
    assert result(driver.run()) == "firstfirst"


@workflow
async def gated(ctx: WorkflowContext) -> str:
    await ctx.step(steps.echo, "before")
    await ctx.wait_signal("open")
    return await ctx.step(steps.act, "a") + await ctx.step(steps.echo, "b")


@workflow(name="gated", version="of next month")
async def gated_later(ctx: WorkflowContext) -> str:
    await ctx.step(steps.echo, "before")
    await ctx.wait_signal("open", timeout="14d")
    return await ctx.step(steps.echo, "b") + await ctx.step(steps.act, "a")


def test_a_run_that_waits_at_a_gate_goes_on_with_code_of_another_version_whose_later_steps_have_another_order() -> None:
    driver = begun(gated)
    driver.end("echo")
    driver.replay(gated_later)
    driver.end("open", payload=None)
    assert result(driver.run()) == "ba"


def test_arguments_without_a_digest_may_change() -> None:
    @workflow
    async def before(ctx: WorkflowContext) -> str:
        return await ctx.step(steps.echo, "a", digest=False)

    @workflow
    async def after(ctx: WorkflowContext) -> str:
        return await ctx.step(steps.echo, "b")

    driver = begun(before)
    assert driver.asks()[0].args is None
    assert result(driver.replay(after).run()) == "b"


SETS = """
import json, sys
from buquet import MismatchError
from buquet.workflow import WorkflowContext, workflow
from tests.unit.workflow import steps
from tests.unit.workflow.driver import Driver

@workflow
async def send(ctx: WorkflowContext) -> int:
    names = {f"name {number}" for number in range(50)}
    await ctx.step(steps.take_set, names)
    await ctx.step(steps.take_dict, {name: 1 for name in names})
    return await ctx.step(steps.take_list, list(names))

entries = [json.dumps(entry).encode() for entry in json.loads(sys.argv[1])]
driver = Driver(send, entries=entries)
try:
    driver.begin().run()
except MismatchError as error:
    print("mismatch", error.position, error.argument, error.recorded != error.asked)
else:
    print(b"[" + b",".join(driver.entries) + b"]")
"""


def test_a_list_in_the_order_of_a_set_is_told_as_a_mismatch_under_another_hash_seed_and_a_set_is_none() -> None:
    def run(seed: str, journal: str) -> str:
        return run_script(SETS, journal, PYTHONHASHSEED=seed)

    journal = json.loads(run("1", "[]")[2:-2])
    del journal[-1]["output"]
    assert run("2", json.dumps(journal)) == "mismatch 4 values True\n"


@workflow
async def with_patch(ctx: WorkflowContext) -> str:
    await ctx.step(steps.echo, "first")
    if ctx.patched("both"):
        return await ctx.step(steps.echo, "new")
    return await ctx.step(steps.act, "first")


def test_a_patch_is_off_in_runs_that_have_passed_its_place_and_on_in_others() -> None:
    passed = begun(two)
    passed.end("echo")
    passed.replay(with_patch)
    assert passed.patches == {"both": False}
    assert result(passed.run()) == "first"

    coming = begun(two)
    coming.replay(with_patch)
    assert coming.patches == {}
    coming.end("echo")
    assert coming.patches == {"both": True}
    coming.replay()
    assert result(coming.run()) == "new"

    assert result(begun(with_patch).run()) == "new"


def test_the_first_answer_of_a_patch_counts_for_all_of_the_run() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[bool]:
        answers = [ctx.patched("once")]
        await ctx.step(steps.echo, "a")
        return [*answers, ctx.patched("once")]

    driver = begun(body)
    assert driver.patches == {"once": True}
    assert result(driver.replay().run()) == [True, True]


@workflow
async def told_the_same(ctx: WorkflowContext) -> list[Any]:
    numbers = [ctx.random.random(), ctx.now().isoformat(), str(ctx.uuid())]
    await ctx.step(steps.echo, "a")
    with ctx.scope("part"):
        numbers += [ctx.random.random(), str(ctx.uuid())]
    await asyncio.sleep(60)
    return [*numbers, ctx.now().isoformat(), asyncio.get_running_loop().time(), ctx.random.random()]


def test_time_random_numbers_and_ids_are_the_same_at_every_replay() -> None:
    driver = begun(told_the_same)
    told = result(driver.run())
    assert told[1] == "2023-11-14T22:13:20+00:00"
    assert told[6] == BEGUN / 1000 + 60.001
    assert len({told[0], told[3], told[7]}) == 3
    driver.replay()
    assert result(driver.ended) == told


def test_logging_is_silent_at_a_replay_and_publishing_is_not_done_again() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        ctx.log.warning("begun %s", "now")
        ctx.publish("stage", 1)
        await ctx.step(steps.echo, "a")
        ctx.log.warning("100%% done")
        ctx.publish("stage", 2)

    driver = begun(body)
    assert [record.getMessage() for record in driver.logs] == ["workflow 'body' run-1: begun now"]
    assert driver.published == {"stage": 1}
    driver.logs.clear()
    driver.published.clear()
    driver.replay()
    assert (driver.logs, driver.published) == ([], {})
    driver.run()
    assert (len(driver.logs), driver.published) == (1, {"stage": 2})


def test_the_body_is_told_what_is_stored_also_when_live() -> None:
    seen: list[Any] = []

    @workflow
    async def body(ctx: WorkflowContext) -> None:
        seen.append(await ctx.step(steps.untyped_set))
        seen.append(await ctx.step(steps.typed_set))

    driver = begun(body)
    driver.run()
    driver.replay()
    assert seen == [[1, 2], {1, 2}] * 2


def test_context_variables_reach_a_step_and_what_it_sets_stays_there() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[str]:
        steps.variable.set("of the body")
        return [await ctx.step(steps.read_and_set_variable), steps.variable.get()]

    assert result(begun(body).run()) == ["of the body", "of the body"]
    assert steps.variable.get() == "nothing"


def test_a_name_used_again_is_told_apart_by_its_occurrence_and_at_once_by_its_order() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[str]:
        looped = [await ctx.step(steps.echo, name) for name in "abc"]
        return [*looped, *await asyncio.gather(ctx.step(steps.echo, "d"), ctx.step(steps.echo, "e"))]

    driver = begun(body)
    driver.run()
    assert [entry.n for entry in driver.asks()] == [0, 1, 2, 3, 4]
    driver.replay()
    assert result(driver.ended) == ["a", "b", "c", "d", "e"]


def begin(entries: bytes) -> None:
    """Begin ``two`` with these entries."""
    start = Start(id="run-1", at=BEGUN, entries=read_entries(entries))
    Body(two, start).begin()


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (b'[{"ask":"step","name":"echo","n":0},{"told":"step","op":9,"at":1}]', "operation 9"),
        (b'[{"ask":"step","name":"echo","n":0},{"told":"timer","op":0,"at":1}]', "timer 0, and that is a step"),
        (b'[{"ask":"step","name":"echo","n":0},{"ask":"step","name":"echo","n":0}]', "as another of its block"),
        (b'[{"asks":"step"}]', "entry 0 of the journal is neither"),
        (b'[{"told":"step"}]', "entry 0 of the journal cannot be read"),
        (b'{"ask":"step"}', "a journal is a list"),
    ],
)
def test_a_journal_that_makes_no_sense_is_refused(entries: bytes, problem: str) -> None:
    with pytest.raises(CorruptError, match=problem):
        begin(entries)


@workflow
async def long(ctx: WorkflowContext, count: int) -> int:
    total = 0
    for _ in range(count):
        total = await ctx.step(steps.add, total)
    return total


@workflow
def long_and_plain(ctx: SyncWorkflowContext, count: int) -> int:
    total = 0
    for _ in range(count):
        total = ctx.step(steps.add, total)
    return total


@pytest.mark.parametrize("body", [long, long_and_plain], ids=["async", "plain"])
def test_ten_thousand_steps_are_replayed_in_less_than_three_seconds(body: WorkflowFunction[[int], int]) -> None:
    driver = begun(body, 10_000)
    driver.run()
    started = time.process_time()
    driver.replay()
    assert time.process_time() - started < 3
    assert result(driver.ended) == 10_000
