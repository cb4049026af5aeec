"""``buquet.testing.Replayer``: exported journals against today's code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from buquet import InvalidError
from buquet.testing import Replayer, ReplayError
from buquet.testing._exports import read_runs
from buquet.workflow import SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from tests.unit.workflow import steps
from tests.unit.workflow.driver import Driver, begun

if TYPE_CHECKING:
    from pathlib import Path


@workflow(version="1")
async def order(ctx: WorkflowContext, number: int) -> str:
    paid = await ctx.step(steps.echo, f"paid {number}")
    await ctx.sleep("1d")
    return await ctx.step(steps.act, paid)


@workflow(name="order")
async def order_changed(ctx: WorkflowContext, number: int) -> str:
    paid = await ctx.step(steps.echo, f"paid {number}")
    shipped = await ctx.step(steps.act, paid)
    await ctx.sleep("1d")
    return shipped


@workflow(name="order")
async def order_goes_on(ctx: WorkflowContext, number: int) -> str:
    paid = await ctx.step(steps.echo, f"paid {number}")
    await ctx.sleep("2d")
    shipped = await ctx.step(steps.act, paid)
    return await ctx.step(steps.echo, shipped)


@workflow
def plain(ctx: SyncWorkflowContext) -> int:
    return ctx.step(steps.add, 1)


def export(driver: Driver, status: str, run_id: str = "run-1") -> dict[str, Any]:
    """A run as ``buquet workflow history --json`` writes it."""
    ended = driver.ended
    run = {
        "id": run_id,
        "key": None,
        "workflow": driver.workflow.name,
        "version": driver.version,
        "generation": 1,
        "execution": 1,
        "status": status,
        "submitted_at": "2023-11-14T22:13:20Z",
        "input": json.loads(driver.input),
        "output": json.loads(ended.output) if ended is not None and ended.output is not None else None,
        "patches": driver.patches,
    }
    return {"run": run, "entries": [json.loads(entry) for entry in driver.entries], "steps": []}


def waiting() -> dict[str, Any]:
    """An order that sleeps."""
    driver = begun(order, 1)
    driver.end("echo")
    return export(driver, "waiting")


def completed() -> dict[str, Any]:
    """One that has completed."""
    driver = begun(order, 2)
    driver.run()
    return export(driver, "completed", "run-2")


def test_code_that_fits_is_let_pass_and_calls_no_step(tmp_path: Path) -> None:
    several = [waiting(), completed()]
    steps.effects.clear()
    (tmp_path / "both.json").write_text(json.dumps(several))
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(run) for run in several))
    (tmp_path / "one.json").write_text(json.dumps(waiting()))
    (tmp_path / "notes.txt").write_text("not read")
    assert Replayer(order, plain).check(tmp_path) == 5
    assert Replayer(order).check(str(tmp_path / "one.json")) == 1
    assert Replayer(order).check([tmp_path / "both.json", waiting()]) == 3
    assert steps.effects == []


def test_a_drivers_task_as_it_is_stored_is_read_too() -> None:
    history = completed()
    run = dict(history["run"])
    task: dict[str, Any] = {name: run.pop(name) for name in ("id", "input", "output", "submitted_at")}
    run["name"] = run.pop("workflow")
    task["run"] = run | {"journal": {"chunks": [], "entries": history["entries"]}, "open": {}}
    assert Replayer(order).check(task) == 1
    with pytest.raises(ReplayError):
        Replayer(order_changed).check(task)


def test_runs_under_way_may_go_on_otherwise_and_completed_ones_may_not() -> None:
    assert Replayer(order_goes_on).check(waiting()) == 1
    with pytest.raises(ReplayError, match="it had completed here, and the code now asks for step 'echo' #2"):
        Replayer(order_goes_on).check(completed())


def test_a_difference_is_shown_with_its_place_in_the_journal() -> None:
    with pytest.raises(AssertionError) as raised:
        Replayer(order_changed).check([waiting(), completed()])
    assert isinstance(raised.value, ReplayError)
    assert [difference.run_id for difference in raised.value.differences] == ["run-1", "run-2"]
    lines = str(raised.value).splitlines()
    assert lines[0] == "2 of 2 recorded runs do not fit this code:"
    assert lines[2] == "run-1 (workflow order, a run given as it is)"
    assert lines[3].startswith("  entry 2 of the journal: sleep was recorded, and the code now asks for step 'act'")
    assert lines[4:7] == [
        "        0  asked for step 'echo'",
        "        1  told that step 0 completed",
        "  >     2  asked for sleep",
    ]
    mismatch = raised.value.differences[0].mismatch
    assert mismatch is not None
    assert (mismatch.recorded_version, mismatch.version) == ("1", None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"run": {"output": "other"}}, "its result was 'other', and is now 'paid 2'"),
        ({"run": {"status": "failed"}}, "it failed, and completes now"),
        ({"run": {"workflow": "ordre"}}, "there is no workflow 'ordre' here, only order; did you mean 'order'?"),
        ({"entries": [{"told": "step", "op": 5, "at": 1}]}, "nothing more before it was told"),
        ({"entries": []}, "it had completed here, and the code now asks for step 'echo'"),
    ],
)
def test_other_differences_are_told_too(change: dict[str, Any], problem: str) -> None:
    run = completed()
    changed = run | change | {"run": run["run"] | change.get("run", {})}
    with pytest.raises(ReplayError) as raised:
        Replayer(order).check(changed)
    assert problem in str(raised.value)


def test_a_run_that_fails_again_is_no_difference() -> None:
    @workflow
    async def fails(ctx: WorkflowContext) -> None:
        await ctx.step(steps.fail)

    driver = begun(fails)
    driver.run()
    assert Replayer(fails).check(export(driver, "failed")) == 1
    completed_then = export(driver, "completed")
    with pytest.raises(ReplayError, match="it had completed, and now failed with ValueError: no luck"):
        Replayer(fails).check(completed_then)


def test_plain_bodies_are_replayed_as_well() -> None:
    driver = begun(plain)
    driver.run()
    assert Replayer(plain).check(export(driver, "completed")) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is no exported run"),
        ("[1]", "is no exported run"),
        ("[", "is no JSON"),
        ('{"run": {"workflow": "a", "status": "b"}}', "it lacks an id"),
        ('{"id": "a", "run": {"status": "b"}}', "it lacks the name of its workflow"),
        (
            '{"id": "a", "run": {"name": "a", "status": "b", "journal": {"chunks": [{}]}}}',
            "lacks 1 parts of its journal, which are objects",
        ),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InvalidError, match=problem):
        list(read_runs(tmp_path / "a.json"))


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot be read"):
        list(read_runs(tmp_path / "none.json"))
    with pytest.raises(InvalidError, match=r"there is no \*\.json"):
        list(read_runs(tmp_path))
    with pytest.raises(InvalidError, match="there are two workflows 'order'"):
        Replayer(order, WorkflowFunction(steps.echo, name="order"))
