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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ttl": 0}, "ttl=0 leaves no time"),
        ({"ttl": "0s"}, "ttl='0s' leaves no time"),
        ({"ttl": "1m", "delay": "1h"}, "ttl='1m' is over before the task may start"),
        ({"tags": ["x" * 100]}, "1 to 64 characters"),
        ({"tags": [""]}, "1 to 64 characters"),
        ({"tags": ["a\nb"]}, "no.* control character"),
        ({"tags": map(str, range(17))}, "17 of them; give up to 16"),
        ({"metadata": {"a": "ä" * 2048}}, "4097 bytes"),
        ({"unique": "yes"}, "unique='yes' must be True or False"),
        ({"unique": "false"}, "unique='false' must be True or False"),
        ({"unique": 1}, "unique=1 must be True or False"),
        ({"unique": None}, "unique=None must be True or False"),
        ({"unique": True, "unique_window": 0.5}, "1 s or more"),
        ({"idempotency_key": ""}, "1 to 256 characters"),
        ({"parent": "zzz"}, "parent='zzz' is not a task id"),
    ],
)
def test_options_that_no_submit_could_have_are_refused_at_decoration(
    app: Buquet, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidError, match=said):
        app.task(**options)


async def test_what_is_no_collection_of_calls_is_refused(app: Buquet, engine: FakeEngine) -> None:
    @app.task
    def double(x: str | int) -> str | int:
        return 2 * x

    one: Any = 5
    several_bytes: Any = b"abc"
    with pytest.raises(InvalidError, match=r"map takes a collection .* not int \(5\); write map\(\[5\]\)"):
        double.map(one)
    with pytest.raises(InvalidError, match="map_async takes a collection"):
        await double.map_async(one)
    with pytest.raises(InvalidError, match=r"not str \('abc'\); write map\(\['abc'\]\), or submit\('abc'\)"):
        double.map("abc")
    with pytest.raises(InvalidError, match="not bytes"):
        await double.map_async(several_bytes)
    with pytest.raises(InvalidError, match=r"starmap takes a collection .* such as \[\(1, 2\), \(3, 4\)\], not int"):
        double.starmap(one)
    for call in (1, "ab"):
        calls: Any = [(1,), call]
        with pytest.raises(InvalidError, match=r"call 1 of starmap must be a tuple of arguments, not .* or use map"):
            double.starmap(calls)
        with pytest.raises(InvalidError, match="call 1 of starmap_async must be a tuple"):
            await double.starmap_async(calls)
    assert not engine.calls


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
        assert await handle.result_async(timeout=60) == "ran"


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


def test_a_large_default_of_a_unique_task_is_part_of_every_call(app: Buquet) -> None:
    @app.task(unique=True)
    def stamp(number: int, logo: bytes = b"x" * 40_000) -> int:
        return number + len(logo)

    first, second = stamp.bind(1), stamp.bind(1)
    assert first.parcel.json == second.parcel.json
    assert b"$buquet" not in first.parcel.json
