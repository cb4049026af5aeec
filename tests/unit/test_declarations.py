"""What a decorator or a submit refuses, and what task functions and handles are as values."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from buquet import Buquet, InvalidError, Queue, TaskHandle, Worker

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine

module_app = Buquet()


@module_app.task
def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize("name", ["", "a b", ".a", "a..b", "ä", "x" * 129, "a/b"])
def test_a_name_that_no_engine_takes_is_refused_at_decoration(app: Buquet, queue: Queue, name: str) -> None:
    def function() -> None: ...

    with pytest.raises(InvalidError, match="task type"):
        app.task(name=name)(function)
    with pytest.raises(InvalidError, match="task type"):
        Worker(queue).task(name)(function)


def test_a_wrong_duration_is_refused_at_decoration(app: Buquet) -> None:
    with pytest.raises(InvalidError, match="timeout='soon'"):
        app.task(timeout="soon")


def test_a_plain_handler_of_two_inputs_is_refused_at_decoration(queue: Queue) -> None:
    def function(a: int, b: int) -> int:
        return a + b

    with pytest.raises(InvalidError, match="takes one input"):
        Worker(queue).task("add")(function)


@pytest.mark.parametrize("kind", [complex, list[int] | list[str]], ids=str)
def test_a_result_that_nobody_could_read_is_refused_at_submit(app: Buquet, engine: FakeEngine, kind: Any) -> None:
    def function() -> Any: ...

    function.__annotations__["return"] = kind
    with pytest.raises(InvalidError, match="the result of task 'function'"):
        app.task(function).submit()
    assert not engine.tasks


def test_a_task_that_never_returns_can_be_submitted(app: Buquet) -> None:
    @app.task
    def function() -> NoReturn:
        raise ValueError

    assert function.submit().id


async def test_no_input_suits_a_task_without_arguments(app: Buquet, queue: Queue) -> None:
    @app.task
    def noargs() -> str:
        return "ran"

    assert noargs.name == "noargs"
    handle = await queue.submit("noargs")
    async with app.worker():
        assert await handle.result_async(timeout=10) == "ran"


async def test_a_wrong_retry_is_named_as_it_was_given(queue: Queue) -> None:
    with pytest.raises(InvalidError, match="retry='abc'"):
        await queue.submit("a", retry=cast("Any", "abc"))


def test_a_task_function_is_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(double)) is double  # noqa: S301


def test_a_task_with_options_can_be_called_too() -> None:
    assert double.options(priority=9)(4) == 8


def test_handles_of_one_task_are_equal(app: Buquet, queue: Queue) -> None:
    assert app.handle("a") == queue.handle("a")
    assert len({app.handle("a"), queue.handle("a"), app.handle("b")}) == 2
    assert app.handle("a") != Buquet("sqlite:elsewhere.db").handle("a")
    assert cast("Any", app.handle("a")) != "a"
    assert isinstance(app.handle("a"), TaskHandle)
