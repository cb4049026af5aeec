"""The app level: decorate, submit, map, options, handles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from buquet import (
    ArgumentError,
    Buquet,
    EncodeError,
    InvalidError,
    NotFoundError,
    RetryPolicy,
    TaskContext,
    TaskFailedError,
    TaskStatus,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from tests.unit.fake_engine import FakeEngine


@dataclass
class Word:
    text: str
    seen: datetime


def test_an_address_is_shown_without_what_may_be_a_secret() -> None:
    app = Buquet("s3://user:secret@bucket/queue?token=secret")
    assert "s3://bucket/queue" in repr(app)
    assert "secret" not in repr(app) + repr(app.queue) + repr(app.queue.client.config)


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_plain_call_just_calls_the_function(app: Buquet, engine: FakeEngine) -> None:
    @app.task
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    assert add(1) == 2
    assert (getattr(add, "__name__", None), add.__doc__, add.name) == ("add", "Add.", "add")
    assert engine.calls == []


async def test_a_plain_call_of_an_async_task_gives_its_coroutine(app: Buquet) -> None:
    @app.task()
    async def double(x: int) -> int:
        return 2 * x

    assert await double(4) == 8


def test_a_plain_call_makes_up_the_context(app: Buquet) -> None:
    @app.task
    def who(ctx: TaskContext, greeting: str) -> str:
        return f"{greeting} {ctx.id} {ctx.attempt}"

    assert who("hello") == "hello local 1"


def test_a_submit_stores_the_arguments_under_their_names(app: Buquet, engine: FakeEngine) -> None:
    @app.task(name="shrink", retries=5, backoff=RetryPolicy(initial="2s"), timeout=120, priority=7)
    def thumbnail(path: str, size: int = 256) -> str:
        return f"{path}@{size}"

    thumbnail.submit("cat.png", size=128)
    assert engine.requests("submit") == [
        {
            "type": "shrink",
            "input": {"path": "cat.png", "size": 128},
            "timeout": 120.0,
            "retry": {"initial": "2s", "max_retries": 5},
            "priority": 7,
        }
    ]


def test_wrong_arguments_store_nothing(app: Buquet, engine: FakeEngine) -> None:
    @app.task
    def resize(path: str, size: int) -> None: ...

    with pytest.raises(ArgumentError):
        resize.submit("cat.png")  # pyright: ignore[reportCallIssue]
    with pytest.raises(EncodeError, match="'size'"):
        resize.submit("cat.png", "large")  # pyright: ignore[reportArgumentType]
    with pytest.raises(EncodeError, match="'size'"):
        resize.starmap([("cat.png", 1), ("dog.png", float("nan"))])
    assert engine.tasks == {}


def test_unknown_options_are_type_errors(app: Buquet) -> None:
    @app.task
    def noop() -> None: ...

    with pytest.raises(TypeError, match="retry_count"):
        noop.options(retry_count=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="colour"):
        app.task(colour="red")  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_options_change_one_variant_only(app: Buquet, engine: FakeEngine) -> None:
    @app.task(priority=2)
    def noop() -> None: ...

    noop.options(priority=9, delay=60).submit()
    noop.submit()
    first, second = engine.requests("submit")
    assert (first["priority"], first["delay"]) == (9, 60)
    assert (second["priority"], "delay" in second) == (2, False)


def test_a_result_comes_back_as_the_annotated_type(app: Buquet) -> None:
    @app.task
    def find(text: str) -> list[Word]:
        return [Word(text, NOW)]

    with app.worker():
        assert find.submit("x").result(timeout=60) == [Word("x", NOW)]


async def test_an_async_caller_awaits_the_handle(app: Buquet) -> None:
    @app.task
    async def shout(text: str) -> str:
        return text.upper()

    async with app.worker():
        handle = await shout.submit_async("hey")
        assert await handle == "HEY"
        assert await handle.result_async(timeout=60) == "HEY"
        assert await handle.status_async() is TaskStatus.COMPLETED


async def test_waiting_on_a_running_loop_is_refused_rather_than_blocking_it(app: Buquet) -> None:
    @app.task
    def noop() -> None: ...

    with pytest.raises(InvalidError, match="await"):
        noop.submit().result()
    with pytest.raises(InvalidError, match="await"):
        noop.starmap([]).results()


def test_map_and_starmap_submit_together_and_give_ordered_results(app: Buquet, engine: FakeEngine) -> None:
    @app.task
    def power(base: int, exponent: int = 2) -> int:
        return base**exponent

    with app.worker():
        squares = power.map(range(700))
        assert squares.results(timeout=60) == [n * n for n in range(700)]
        assert power.starmap([(2, 3), (3, 1)]).results(timeout=60) == [8, 3]
    assert len(engine.requests("submit_many")) == 2
    assert [len(squares), squares[3].id, len(squares[1:3])] == [700, "task-4", 2]


async def test_a_group_can_be_awaited(app: Buquet) -> None:
    @app.task
    async def negate(x: int) -> int:
        return -x

    async with app.worker():
        assert await (await negate.map_async([1, 2])) == [-1, -2]
        assert await (await negate.starmap_async([(3,)])) == [-3]


def test_an_empty_map_is_an_empty_group(app: Buquet) -> None:
    @app.task
    def noop(x: int) -> None: ...

    assert noop.map([]).results() == []


def test_a_failed_task_raises_with_the_whole_task(app: Buquet) -> None:
    @app.task(retries=0)
    def broken(path: str) -> None:
        raise FileNotFoundError(path)

    with app.worker(), pytest.raises(TaskFailedError, match=r"FileNotFoundError: cat\.png") as caught:
        broken.submit("cat.png").result(timeout=60)
    assert caught.value.task.status is TaskStatus.FAILED
    error = caught.value.task.error
    assert error is not None
    assert error.type == "FileNotFoundError"
    assert (error.traceback or "").splitlines()[1].strip().startswith(f'File "{__file__}"')


def test_a_result_that_is_late_is_a_timeout(app: Buquet) -> None:
    @app.task
    def noop() -> None: ...

    handle = noop.submit()
    with pytest.raises(WaitTimeoutError):
        handle.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        handle.result(timeout=0)


def test_a_handle_tells_status_and_all_of_the_history(app: Buquet) -> None:
    @app.task
    def noop() -> None: ...

    handle = noop.submit()
    assert handle.status() is TaskStatus.PENDING
    assert noop.handle(handle.id).refresh().input == {}
    assert [event.rev for event in handle.history().events] == [1, 2]
    with pytest.raises(NotFoundError, match="task-99"):
        app.handle("task-99").status()


def test_two_functions_of_one_name_are_refused(app: Buquet) -> None:
    def first() -> None: ...

    def second() -> None: ...

    app.task(name="job")(first)
    with pytest.raises(InvalidError, match=r"first.*second"):
        app.task(name="job")(second)
    app.task(name="job")(first)  # a reloaded module defines the same function again


def test_what_no_worker_could_run_is_refused(app: Buquet) -> None:
    def generator() -> Any:
        yield 1

    async def coroutine() -> None: ...

    with pytest.raises(InvalidError, match="generator"):
        app.task(generator)
    with pytest.raises(InvalidError, match="event loop"):
        app.task(pool="process")(coroutine)
    with pytest.raises(InvalidError, match="top level"):
        app.task(pool="process")(lambda: None)
    with pytest.raises(InvalidError, match="pool='rocket'"):
        app.task(pool="rocket")(coroutine)  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(InvalidError, match="retry_on"):
        app.task(retry_on="ValueError")(generator)  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_an_app_opens_nothing_until_it_is_used() -> None:
    app = Buquet("s3://no-such-bucket")

    @app.task
    def noop() -> None: ...

    app.close()
    assert json.loads(json.dumps(sorted(app.tasks))) == ["noop"]
