"""What can be a step, its options, and what it is called with."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from buquet import ArgumentError, Buquet, EncodeError, File, InvalidError, NotInBodyError, RetryableError, RetryPolicy
from buquet.workflow import SyncWorkflowContext, WorkflowContext, WorkflowFunction, workflow
from buquet.workflow._entries import Ask, write_entry
from tests.unit.workflow import steps
from tests.unit.workflow.driver import begun, error_of, result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.usefixtures("crashing")

app = Buquet("memory:")


class Shop:
    """Has functions of all kinds."""

    def sell(self, what: str) -> str:
        return what

    @classmethod
    def buy(cls, what: str) -> str:
        return f"{cls.__name__} buys {what}"

    @staticmethod
    def count(what: str) -> int:
        return len(what)


def generate() -> Iterator[int]:
    yield 1


async def generate_async() -> AsyncIterator[int]:
    yield 1


def give_generator() -> Any:
    return generate()


def with_options(retries: int, timeout: int = 5) -> list[int]:
    return [retries, timeout]


def use_context(ctx: object) -> None:
    del ctx


@app.task
def a_task(path: str, size: int = 1) -> str:
    return path * size


def ask(function: Any, *args: Any, **kwargs: Any) -> Ask:
    """What a body asks for that calls this as a step."""

    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await ctx.step(function, *args, **kwargs)

    driver = begun(body)
    if driver.ended is not None and driver.ended.exception is not None:
        raise driver.ended.exception
    return driver.asks()[0]


def local(number: int) -> Any:
    """A function within a function."""

    def inner() -> int:
        return number

    return inner


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: 1, "is a lambda, which has no name"),
        (local(1), "is a local function, which may use variables"),
        (generate, "is a generator, whose items cannot be recorded"),
        (generate_async, "is a generator, whose items cannot be recorded"),
        (Shop().sell, "is bound to a Shop"),
        (Shop.sell, "is a method without its Shop"),
        (Shop, "Shop is a class; write a function that uses it"),
        (functools.partial(steps.add, 1), "a step is a plain or async function of a module"),
        (len, "a step is a plain or async function of a module"),
        ("add", "a step is a plain or async function of a module"),
    ],
)
def test_what_can_be_no_step_is_refused_where_it_is_called_with_the_reason(function: Any, reason: str) -> None:
    with pytest.raises(InvalidError, match=reason):
        ask(function)


def test_static_and_class_methods_and_tasks_are_steps_by_their_qualified_names() -> None:
    assert ask(Shop.count, "a").name == "Shop.count"
    assert ask(Shop.buy, "a").name == "Shop.buy"
    assert ask(a_task, "a", size=2).name == "a_task"


def test_a_step_that_returns_a_generator_fails_naming_itself() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await ctx.step(give_generator)

    error = error_of(begun(body).run())
    assert error.type == "EncodeError"
    assert "the result of step 'give_generator' cannot be stored as JSON" in error.message


def test_arguments_that_do_not_fit_are_refused_where_the_step_is_asked_for() -> None:
    with pytest.raises(ArgumentError, match="step 'add' called as it is not defined"):
        ask(steps.add)
    with pytest.raises(EncodeError, match="argument 'left' of step 'add' does not fit its type"):
        ask(steps.add, "one")
    with pytest.raises(EncodeError, match="argument 'ctx' of step 'use_context' cannot be stored"):
        ask(use_context, object())


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_the_context_is_refused_as_an_argument(kind: str) -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await ctx.step(use_context, ctx)

    @workflow
    def plain(ctx: SyncWorkflowContext) -> None:
        ctx.step(use_context, ctx)

    several: dict[str, WorkflowFunction[[], None]] = {"async": body, "plain": plain}
    error = error_of(begun(several[kind]).ended)
    assert error.type == "EncodeError"
    assert "argument 'ctx' is the workflow's context, and steps may not use it" in error.message


def test_the_context_is_refused_in_a_step_that_got_hold_of_it() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        steps.held.append(ctx)
        await ctx.step(steps.use_held)

    error = error_of(begun(body).run())
    assert error.type == "NotInBodyError"
    assert "ctx.wait_signal was called outside of the body of workflow 'body': in a step" in error.message
    with pytest.raises(NotInBodyError):
        steps.held.pop().patched("a")


def test_options_are_written_into_the_ask() -> None:
    written = ask(
        steps.echo,
        "a",
        retries=5,
        backoff=RetryPolicy(initial="2s", max="1m"),
        timeout="1m30s",
        at_most_once=True,
        on_failure="pause",
        name="renamed",
    )
    assert written.name == "renamed"
    whole = {"max_retries": 5, "initial_ms": 2_000, "max_ms": 60_000, "multiplier": 2.0, "jitter": 0.2}
    assert written.retry == whole, "what was left out has the engine's default"
    assert (written.timeout_ms, written.at_most_once, written.on_failure) == (90_000, True, "pause")
    plain = ask(steps.echo, "a")
    assert b"retry" not in begun_bytes(plain)


def begun_bytes(written: Ask) -> bytes:
    """An ask as JSON."""
    return write_entry(written)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"retries": -1}, "retries=-1"),
        ({"timeout": 0}, "timeout=0 must be more than 0 seconds"),
        ({"timeout": "soon"}, "timeout='soon'"),
        ({"retry_on": "ValueError"}, "retry_on= takes exception types"),
        ({"compensate": lambda: None}, "is a lambda"),
        ({"at_most_once": "yes"}, "at_most_once='yes' must be True or False"),
        ({"on_failure": "ignore"}, "on_failure='ignore' must be 'fail' or 'pause'"),
        ({"name": "a/b"}, "'a/b' cannot be a step's name"),
        ({"retrys": 3}, "unexpected keyword argument 'retrys'"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidError, match=problem):
        ask(steps.echo, "a", **options)


def test_what_the_function_has_a_parameter_for_is_an_argument_and_options_have_a_way_of_their_own() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[int]:
        return await ctx.options(retries=7, timeout=60).step(with_options, retries=1, timeout=2)

    driver = begun(body)
    retry = driver.asks()[0].retry
    assert isinstance(retry, dict)
    assert retry["max_retries"] == 7
    assert result(driver.run()) == [1, 2]


def test_only_errors_that_may_pass_are_retried() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> None:
        await ctx.step(steps.echo, "a", retry_on=(OSError, ValueError), no_retry_on=FileNotFoundError)

    driver = begun(body)
    call = driver.find("echo").call
    assert call is not None
    answers = {kind: call.retries(kind()) for kind in (OSError, ValueError, FileNotFoundError, KeyError, EncodeError)}
    assert [kind for kind, answer in answers.items() if answer] == [OSError, ValueError]
    assert call.retries(RetryableError())


def test_digests_do_not_depend_on_the_order_of_a_dict_or_a_set_and_tell_large_bytes_apart() -> None:
    one, other = ask(steps.take_dict, {"a": 1, "b": 2}), ask(steps.take_dict, {"b": 2, "a": 1})
    assert one.args == other.args
    assert ask(steps.take_set, {"a", "b"}).args == ask(steps.take_set, {"b", "a"}).args
    large = [ask(steps.take_bytes, bytes([value]) * 40_000).args for value in (1, 1, 2)]
    assert large[0] == large[1] != large[2]
    assert isinstance(one.args, dict)
    assert [len(digest) for digest in one.args.values()] == [16]


def test_a_step_gets_its_arguments_as_a_replay_would_give_them() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> list[str]:
        values = ["a"]
        future = ctx.step(steps.change_list, values)
        values.append("b")
        return [*await future, *values]

    assert result(begun(body).run()) == ["a", "changed", "a", "b"]
    big = b"x" * 100_000

    @workflow
    async def bytes_body(ctx: WorkflowContext) -> int:
        return await ctx.step(steps.take_bytes, big)

    assert result(begun(bytes_body).run()) == 100_000


class Kept:
    """What a store has."""

    def pieces(self) -> Iterator[bytes]:
        yield b"content"


def test_stored_files_are_handed_on_and_files_of_this_machine_are_refused_by_name() -> None:
    @workflow
    async def body(ctx: WorkflowContext) -> str:
        stored = File.from_store(Kept(), "kept.txt", 7)
        assert await ctx.step(steps.take_files, [stored, stored]) == 2
        return (await ctx.step(steps.take_file, stored)).decode()

    driver = begun(body)
    assert result(driver.run()) == "content"
    driver.replay()
    for function, argument in ((steps.take_file, File("/etc/nothing")), (steps.take_files, [File("/etc/nothing")])):
        with pytest.raises(EncodeError, match=r"argument 'files?' is File\('/etc/nothing'\), a file of this machine"):
            ask(function, argument)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (generate, "is a generator"),
        (len, "a workflow is a plain or async function"),
        (lambda: None, "cannot be a workflow's name"),
    ],
)
def test_what_can_be_no_workflow_is_refused(function: Any, problem: str) -> None:
    with pytest.raises(InvalidError, match=problem):
        workflow(function)


def test_a_workflow_without_a_context_is_refused_and_one_that_is_called_too() -> None:
    with pytest.raises(InvalidError, match="its first parameter is to be ctx: WorkflowContext"):
        WorkflowFunction(steps.use_held)
    with pytest.raises(
        InvalidError, match=r"is started, not called: in another workflow use ctx\.child\(echo, \.\.\.\)"
    ):
        WorkflowFunction(steps.echo)()
