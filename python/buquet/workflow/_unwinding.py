"""Takes the coroutines of a body apart, without a word on stderr."""

from __future__ import annotations

import gc
import inspect
import operator
from typing import TYPE_CHECKING, Any, cast

from buquet.workflow._suspended import TRIES, Suspended

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

_LONGEST = 10_000
"""Longer lists are not searched: a body cannot have more open than that."""
_SEQUENCES = (list, tuple, type(iter([])), type(iter(())))


def unwound(throw: Callable[[BaseException], object]) -> bool:
    """Raise the suspension into a coroutine until it ends; gives whether it did."""
    for _ in range(TRIES):
        try:
            throw(Suspended())
        except BaseException:  # noqa: BLE001 - however it ends, it has ended
            return True
    return False


def close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """End an async generator that was left early."""
    ending = generator.athrow(Suspended())
    try:
        ending.send(None)
    except BaseException:  # noqa: BLE001 - however it ends
        return
    ending.close()


def not_started(coroutine: Coroutine[Any, Any, Any]) -> list[Coroutine[Any, Any, Any]]:
    """The coroutines that a suspended one holds and has not awaited yet.

    They are those of ``limited(work(i))`` behind a semaphore, or of a list that is awaited one by one. When they are
    dropped, Python would warn that nobody has awaited them.
    """
    found: list[Coroutine[Any, Any, Any]] = []
    awaiting: Any = coroutine
    while inspect.iscoroutine(awaiting):
        found += [each for each in _held(awaiting) if _is_new(each)]
        awaiting = awaiting.cr_await
    return found


def _held(coroutine: Any) -> Iterator[Any]:
    """What the variables and the stack of a coroutine hold, and the items of lists among that."""
    for value in gc.get_referents(coroutine):
        yield value
        if isinstance(value, _SEQUENCES) and operator.length_hint(cast("list[Any]", value)) <= _LONGEST:
            for item in gc.get_referents(value):  # an iterator's list is one level further down
                yield item
                if isinstance(item, list | tuple) and not isinstance(value, list | tuple):
                    yield from item


def _is_new(value: Any) -> bool:
    return inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED


def close_quietly(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that was never started, unless it was meanwhile."""
    if _is_new(coroutine):
        coroutine.close()
