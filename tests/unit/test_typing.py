"""What type checkers see: Pyright fails on this file if a signature is lost on the way."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from buquet import Buquet, Queue, TaskCall, TaskContext, TaskFunction, TaskGroup, TaskHandle, group, group_async

app = Buquet("memory:")


@app.task
def plain(path: str, size: int = 256) -> bytes:
    return path.encode() * size


@app.task(retries=5, timeout="2m")
async def with_options(number: int) -> list[str]:
    return [str(number)]


@app.task
def with_context(ctx: TaskContext, path: str) -> int:
    return len(path) + ctx.attempt


@app.task(pool="thread")
async def async_with_context(ctx: TaskContext, *, flag: bool) -> str:
    return f"{ctx.id}{flag}"


@app.task
def with_context_at_will(ctx: TaskContext | None = None, *, path: str = "") -> int:
    return len(path) if ctx is None else -1


def check_types() -> None:
    """Never called: read by the type checker."""
    assert_type(plain("a", size=1), bytes)
    assert_type(plain.submit("a", size=1), TaskHandle[bytes])
    assert_type(plain.submit("a").result(timeout="5s"), bytes)
    assert_type(plain.options(priority=9).submit("a"), TaskHandle[bytes])
    assert_type(plain.map(["a"]), TaskGroup[bytes])
    assert_type(plain.map(["a"]).results(), list[bytes])
    assert_type(plain.handle("id").result(), bytes)
    _ = assert_type(with_options(1), Coroutine[Any, Any, list[str]])
    assert_type(with_options.submit(1), TaskHandle[list[str]])
    assert_type(with_context("a"), int)
    assert_type(with_context.submit(path="a"), TaskHandle[int])
    assert_type(with_context_at_will.submit(path="a"), TaskHandle[int])
    assert_type(async_with_context.submit(flag=True), TaskHandle[str])
    assert_type(plain.bind("a", size=1), TaskCall[bytes])
    assert_type(plain.options(priority=9).bind("a"), TaskCall[bytes])
    assert_type(group(plain.bind("a"), plain.bind("b", size=1)), TaskGroup[bytes])
    assert_type(group(plain.bind("a"), with_options.bind(1)), TaskGroup[bytes | list[str]])
    assert_type(group(plain.submit("a"), with_context.bind("a"), plain.map(["a"])).results(), list[bytes | int])
    plain.bind(1)  # pyright: ignore[reportArgumentType]
    with_context.bind()  # pyright: ignore[reportCallIssue]
    group(plain)  # pyright: ignore[reportArgumentType]
    plain.submit(1)  # pyright: ignore[reportArgumentType]
    plain.submit("a", colour="red")  # pyright: ignore[reportCallIssue]
    with_context.submit()  # pyright: ignore[reportCallIssue]
    plain.map([1])  # pyright: ignore[reportArgumentType]
    async_with_context.map([True])  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    plain.options(retrys=1)  # pyright: ignore[reportCallIssue]


async def check_async_types(queue: Queue) -> None:
    """Never called: read by the type checker."""
    assert_type(await group_async(plain.bind("a"), with_options.bind(1)), TaskGroup[bytes | list[str]])
    assert_type(await group_async(queue.bind("a", 1), await queue.submit("b")), TaskGroup[Any])
    assert_type(await (await plain.submit_async("a")), bytes)
    assert_type(await (await with_options.map_async([1])), list[list[str]])
    assert_type(await with_options.submit(1).result_async(), list[str])
    await plain.map_async([1])  # pyright: ignore[reportArgumentType]


def test_a_task_is_still_the_function_it_was_made_of() -> None:
    assert isinstance(plain, TaskFunction)
    assert plain("ab", size=2) == b"abab"
    assert plain.__doc__ is None
    assert with_context("abc") == 4
