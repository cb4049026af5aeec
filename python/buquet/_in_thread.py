"""Blocking calls of async code, each in a short-lived daemon thread: none is kept, none blocks the exit."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, TypeVar

from buquet._loop_channel import get_running_loop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

T = TypeVar("T")

MOST_THREADS = 32
"""How many calls of a loop run at a time; further ones wait for their turn."""

_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


async def run_in_thread(function: Callable[[], T], name: str) -> T:
    """Run ``function`` in a thread of this name, when it is its turn."""
    from asyncio import Semaphore  # noqa: PLC0415 - who runs on a loop has it imported

    loop = get_running_loop()
    turn = _turns.get(loop)
    if turn is None:
        turn = _turns[loop] = Semaphore(MOST_THREADS)
    await turn.acquire()
    # Given back when the thread has ended, which it does later than an await that is cancelled.
    return await _start(function, name, loop, turn.release)


async def run_at_once(function: Callable[[], T], name: str) -> T:
    """Likewise, without a turn: for what others may wait for."""
    return await _start(function, name, get_running_loop(), lambda: None)


def _start(
    function: Callable[[], T], name: str, loop: asyncio.AbstractEventLoop, ended: Callable[[], object]
) -> asyncio.Future[T]:
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        ended()
        if future.done():
            return
        if isinstance(error, StopIteration):  # which a future refuses to carry
            future.set_exception(RuntimeError(f"StopIteration raised: {error}"))
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (function(), None)
        except BaseException as error:  # noqa: BLE001 - handed to the awaiting task
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(deliver, *outcome)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except BaseException:
        ended()
        raise
    return future
