"""A completion queue as one event loop uses it.

Asyncio is imported where it is used: programs without async code do not pay for it, and all others have it already.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING

from buquet._channels import DRAIN_LIMIT, read_completions, unwrap
from buquet.errors import ClosedError

if TYPE_CHECKING:
    import asyncio

    import msgspec

    from buquet._engine import Completion, CompletionQueue

MOST_IN_FLIGHT = 32_768
"""Operations in flight at a time; further ones wait for their turn. Half of what a completion queue takes."""


def get_running_loop() -> asyncio.AbstractEventLoop:
    """The loop that the caller runs on.

    :raises RuntimeError: it runs on none.
    """
    import asyncio  # noqa: PLC0415 - see above

    return asyncio.get_running_loop()


class LoopChannel:
    """Calls of one event loop, woken through the queue's descriptor."""

    def __init__(self, queue: CompletionQueue, loop: asyncio.AbstractEventLoop) -> None:
        """Take over ``queue`` and watch it on ``loop``, the running one."""
        from asyncio import Semaphore  # noqa: PLC0415 - see above

        self._queue = queue
        self._loop = weakref.ref(loop)
        self._tokens = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Completion]] = {}
        self._turn = Semaphore(MOST_IN_FLIGHT)
        self._descriptor = queue.fileno()
        self._closed = False
        self._frozen = False
        loop.add_reader(self._descriptor, self._on_readable)

    async def call(self, op: str, request: bytes) -> msgspec.Raw:
        """Run one operation; cancelling this cancels it."""
        if self._frozen:
            await get_running_loop().create_future()  # for ever, which is not long now
        if self._closed:
            raise ClosedError("the queue was closed while this ran")
        async with self._turn:
            return await self._call(op, request)

    async def _call(self, op: str, request: bytes) -> msgspec.Raw:
        token = next(self._tokens)
        future: asyncio.Future[Completion] = get_running_loop().create_future()
        self._pending[token] = future
        try:
            self._queue.submit(op, request, token)
            return unwrap(await future)
        except BaseException:  # the await was cancelled, or the operation has failed and there is nothing to cancel
            self._queue.cancel(token)
            raise
        finally:
            # Kept no longer: a future holds its loop, and would keep a closed one alive.
            self._pending.pop(token, None)

    def _on_readable(self) -> None:
        if self._closed or self._frozen:
            return
        try:
            arrived = read_completions(self._queue.drain(DRAIN_LIMIT) or b"[]")
        except ClosedError:
            self.close()
            return
        for completion in arrived:
            future = self._pending.get(completion.token)
            if future is not None and not future.done():
                future.set_result(completion)

    def freeze(self) -> None:
        """Deliver nothing more, and leave all calls waiting: the interpreter is about to exit."""
        self._frozen = True
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.remove_reader, self._descriptor)

    def close(self) -> None:
        """Free the queue, from any thread; who still waits on it gets ``ClosedError``."""
        loop = self._loop()
        if loop is None or loop.is_closed():
            self._closed = True
            self._queue.close()
        elif _is_running_here(loop):
            self._close_on_loop(loop)
        elif loop.is_running():
            loop.call_soon_threadsafe(self._close_on_loop, loop)
        else:
            self._close_on_loop(loop)

    def _close_on_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            return
        self._closed = True
        loop.remove_reader(self._descriptor)
        self._queue.close()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ClosedError("the queue was closed while this ran"))


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return get_running_loop() is loop
    except RuntimeError:
        return False
