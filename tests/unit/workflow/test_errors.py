"""Errors of steps are the same live and replayed: by type where that can be made again, else with all that is known."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from buquet import RetryableError, StepCancelledError, StepError, StepTimeoutError
from buquet.workflow import WorkflowContext, workflow
from buquet.workflow._entries import ErrorInfo
from buquet.workflow._failures import rebuild, record
from tests.unit.workflow import failures, steps
from tests.unit.workflow.driver import begun, error_of, result

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("crashing")


def raised_by(step: Callable[[], None]) -> Exception:
    """The exception that a body gets of this step, the same live and at a replay."""
    caught: list[Exception] = []

    @workflow
    async def body(ctx: WorkflowContext) -> None:
        try:
            await ctx.step(step)
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            caught.append(error)

    driver = begun(body)
    driver.run()
    driver.replay()
    live, *_, replayed = caught
    assert type(live) is type(replayed)
    assert str(live) == str(replayed)
    assert repr(live) == repr(replayed)
    assert vars(live) == vars(replayed)
    return replayed


def test_an_exception_with_an_init_of_its_own_is_caught_by_its_type_with_its_attributes() -> None:
    error = raised_by(failures.custom)
    assert isinstance(error, failures.CustomError)
    assert (str(error), error.code, error.detail) == ("404: no such thing", 404, "no such thing")


def test_what_no_json_can_hold_is_lost_and_the_rest_is_not() -> None:
    error = raised_by(failures.response)
    assert isinstance(error, failures.ResponseError)
    assert str(error) == "503 from the bank"
    assert not hasattr(error, "response")


def test_causes_are_kept_with_their_types() -> None:
    error = raised_by(failures.chained)
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, failures.CustomError)
    assert isinstance(error.__cause__.__cause__, KeyError)
    assert error.__cause__.__cause__.args == ("deep",)


def test_groups_are_kept_with_their_members() -> None:
    error = raised_by(failures.grouped)
    assert isinstance(error, ExceptionGroup)
    group = cast("ExceptionGroup[Exception]", error)
    assert group.message == "several"
    matched, rest = group.split(failures.CustomError)
    assert matched is not None
    assert rest is not None


@pytest.mark.parametrize(
    ("step", "kind"),
    [(failures.system, FileNotFoundError), (failures.numbered, ValueError), (failures.noted, ValueError)],
)
def test_built_in_exceptions_are_what_they_were(step: Callable[[], None], kind: type[Exception]) -> None:
    assert type(raised_by(step)) is kind


def test_notes_and_the_steps_traceback_are_notes() -> None:
    notes = raised_by(failures.noted).__notes__
    assert notes[0] == "a note"
    assert "in noted" in notes[1]


@pytest.mark.parametrize(
    ("step", "name", "message"),
    [
        (failures.local, "tests.unit.workflow.failures.local.<locals>.LocalError", "of a function"),
        (failures.exits, "SystemExit", "3"),
        (failures.stops, "tests.unit.workflow.failures.Stop", "enough"),
    ],
)
def test_what_cannot_be_made_again_is_a_step_error_with_all_that_is_known(
    step: Callable[[], None], name: str, message: str
) -> None:
    error = raised_by(step)
    assert type(error) is StepError
    assert (error.type, error.message) == (name, message)
    assert str(error) == f"{name}: {message}"
    assert "Traceback" in (error.traceback or "")


def test_an_exception_whose_text_cannot_be_made_again_is_a_step_error() -> None:
    error = raised_by(failures.shown)
    assert type(error) is StepError
    assert error.message.startswith("about <object")
    assert type(raised_by(failures.undecodable)).__name__ in {"UnicodeDecodeError", "StepError"}


def test_a_class_that_is_gone_at_the_replay_is_a_step_error() -> None:
    info = record(failures.CustomError(1, detail="x"))
    for name in ("tests.unit.workflow.failures.Gone", "no.such.module.Gone", "json.loads", "__main__.Error"):
        gone = ErrorInfo(type=name, message=info.message, args=info.args)
        error = rebuild(gone)
        assert type(error) is StepError
        assert error.type == name
    assert "no" not in sys.modules


def test_errors_of_buquet_are_made_again() -> None:
    error = RetryableError("busy", delay="5s")
    again = rebuild(record(error))
    assert type(again) is RetryableError
    assert (str(again), again.delay) == ("busy", "5s")
    assert type(rebuild(record(StepError("A", "b", "c")))) is StepError


def test_step_errors_are_pickled() -> None:
    error: StepError = pickle.loads(pickle.dumps(StepTimeoutError("Timeout", "too late", "where")))  # noqa: S301 - our own
    assert (type(error), error.type, error.message, error.traceback) == (
        StepTimeoutError,
        "Timeout",
        "too late",
        "where",
    )


@workflow
async def falls_back(ctx: WorkflowContext) -> str:
    try:
        await ctx.step(steps.fail)
    except ValueError:
        return await ctx.step(steps.echo, "instead")
    return ""


def test_a_failure_that_the_body_catches_leads_to_the_same_branch_at_a_replay() -> None:
    driver = begun(falls_back)
    driver.end("fail")
    driver.replay()
    assert driver.names() == ["echo"]
    assert result(driver.run()) == "instead"


@workflow
async def passes_on(ctx: WorkflowContext) -> None:
    await ctx.step(steps.echo, "a")
    await ctx.step(steps.fail)


def test_the_error_that_a_body_passes_on_says_which_step_it_was() -> None:
    error = error_of(begun(passes_on).run())
    assert (error.type, error.message, error.op) == ("ValueError", "no luck", 2)


@pytest.mark.parametrize(
    ("told", "kind", "text"),
    [
        ({"outcome": "cancelled"}, StepCancelledError, "step 'echo' was cancelled"),
        ({"outcome": "timeout"}, StepTimeoutError, "did not end in its time"),
        ({"outcome": "failed"}, StepError, "nothing is known about why"),
        ({"outcome": "failed", "error": ErrorInfo(type="StepTimeout", message="after 5 s")}, StepTimeoutError, "5 s"),
    ],
)
def test_other_ends_are_errors_of_their_own(told: dict[str, Any], kind: type[Exception], text: str) -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        try:
            return await ctx.step(steps.echo, "a")
        except kind as error:
            return str(error)

    driver = begun(body)
    driver.end("echo", **told)
    assert text in result(driver.ended)


def test_a_cancelled_child_does_not_cancel_its_parent() -> None:
    @workflow
    async def child(ctx: WorkflowContext) -> str:
        return ctx.info.id

    @workflow
    async def parent(ctx: WorkflowContext) -> str:
        try:
            return await ctx.child(child)
        except StepCancelledError:
            return "the child was cancelled"

    driver = begun(parent)
    driver.end("child", outcome="cancelled")
    assert result(driver.ended) == "the child was cancelled"


def test_a_result_that_does_not_fit_its_type_is_an_error_of_the_body() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> int:
        return await ctx.step(steps.add, 1)

    driver = begun(body)
    driver.end("add", output="no number")
    error = error_of(driver.ended)
    assert error.type == "DecodeError"
    assert "the result of step 'add' does not fit its type" in error.message


def test_a_body_whose_result_cannot_be_encoded_fails_naming_it() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> object:
        return ctx

    @workflow
    async def wrong(ctx: WorkflowContext) -> int:
        return ctx.info.id  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    assert "the result of workflow 'body' cannot be stored as JSON" in error_of(begun(body).ended).message
    assert "the result of workflow 'wrong' does not fit its type" in error_of(begun(wrong).ended).message


def test_a_body_that_exits_fails_its_run_and_not_its_worker() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        del ctx
        sys.exit(3)

    error = error_of(begun(body).ended)
    assert (error.type, error.message) == ("SystemExit", "3")


def deep(depth: int, text: str) -> Exception:
    """An exception with so many causes."""
    error = failures.CustomError(depth, detail=text)
    if depth:
        error.__cause__ = deep(depth - 1, text)
    return error


@pytest.mark.parametrize(
    ("error", "kept"),
    [(deep(5, "short"), 5), (deep(50, "short"), 8), (deep(8, "x" * 1200), 3), (ValueError("\x00" * 100_000), 0)],
)
def test_errors_with_all_their_causes_stay_within_what_a_journal_takes(error: Exception, kept: int) -> None:
    info: ErrorInfo | None = record(error)
    assert len(msgspec.json.encode(info)) <= 16 * 1024
    depth = -1
    while info is not None:
        depth, info = depth + 1, info.cause
    assert depth == kept
