"""Where the functions of steps run: async ones on the loop, plain ones on threads, so many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from buquet._threads import Job, ThreadPool

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

_logger = logging.getLogger("buquet.worker")


class Place:
    """A function on its way to a thread, or on one."""

    __slots__ = ("begun", "context", "ended", "function", "job")

    def __init__(
        self,
        function: Callable[[], Any],
        context: contextvars.Context,
        begun: Callable[[], object],
        ended: Callable[[asyncio.Future[Any]], object],
    ) -> None:
        """Prepare to run ``function``."""
        self.function = function
        self.context = context
        self.begun = begun
        self.ended = ended
        self.job: Job[Any] | None = None
        """Set once it has begun."""


class StepPool:
    """Runs plain functions on threads, in the order they came. All methods are for the loop's thread.

    A function that was given up gives its place to others, though its thread goes on: up to as many of these again as
    there are places.
    """

    def __init__(self, name: str, most: int) -> None:
        """Run up to ``most`` at a time."""
        self._threads = ThreadPool(name, unstuck=self._fill)
        self._most = most
        self._waiting: deque[Place] = deque()
        self._running = 0
        self._is_full_of_stuck = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def run_async(self, coroutine: Coroutine[Any, Any, T], context: contextvars.Context) -> asyncio.Task[T]:
        """Run a coroutine on the loop."""
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def run(
        self,
        function: Callable[[], Any],
        context: contextvars.Context,
        *,
        begun: Callable[[], object],
        ended: Callable[[asyncio.Future[Any]], object],
    ) -> Place:
        """Run ``function`` in ``context`` when it is its turn."""
        place = Place(function, context, begun, ended)
        self._waiting.append(place)
        self._fill()
        return place

    def give_up(self, place: Place) -> None:
        """Stop caring about a function. One that has not begun never will."""
        if place.job is None:
            if place in self._waiting:
                self._waiting.remove(place)
        elif not place.job.future.done():
            self._threads.abandon(place.job)
            self._running -= 1
            self._fill()

    def close(self) -> None:
        """Let the threads end, and break off coroutines that ignore their cancellation: the program has to end."""
        self._waiting.clear()
        self._threads.close()
        for task in list(self._tasks):
            with contextlib.suppress(RuntimeError):  # it ignores that too
                task.get_coro().close()  # pyright: ignore[reportOptionalMemberAccess]
            task.cancel()

    def _free(self) -> int:
        return self._most - self._running - max(0, self._threads.stuck - self._most)

    def _fill(self) -> None:
        while self._waiting and self._free() > 0:
            self._begin(self._waiting.popleft())
        is_full = self._threads.stuck >= 2 * self._most
        if is_full and not self._is_full_of_stuck:
            _logger.error(
                "%d steps whose time is up do not return, and this worker begins no plain step any more; give their "
                "calls limits of their own, and start another worker",
                self._threads.stuck,
            )
        self._is_full_of_stuck = is_full

    def _begin(self, place: Place) -> None:
        place.begun()
        try:
            place.job = place.context.run(self._threads.run, place.function)
        except Exception as error:  # noqa: BLE001 - no thread to be had, say, which must not cost the step its outcome
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            place.ended(failed)
            return
        self._running += 1
        place.job.future.add_done_callback(lambda future: self._ended(place, future))

    def _ended(self, place: Place, future: asyncio.Future[Any]) -> None:
        self._running -= 1
        place.ended(future)
        self._fill()
