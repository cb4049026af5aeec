"""Threads for plain handlers: daemons, so that a stuck one cannot block the exit."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from buquet._forked import ForkGuard

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Job(Generic[T]):
    """A function on its way through a thread, with the future of its result."""

    __slots__ = ("abandoned", "context", "function", "future", "void")

    def __init__(self, function: Callable[[], T], future: asyncio.Future[T]) -> None:
        """Prepare to run ``function``."""
        self.function = function
        self.future = future
        self.context = contextvars.copy_context()
        self.abandoned = False
        self.void = False
        """There was no thread for it: whoever finds it in the queue leaves it alone."""


class ThreadPool:
    """Threads that grow with the work; who submits bounds their number.

    All methods are for the loop's thread.
    """

    def __init__(self, name: str, unstuck: Callable[[], object] = lambda: None) -> None:
        """Start without threads; ``name`` begins theirs. ``unstuck`` is called when a stuck one is back."""
        self._name = name
        self._unstuck = unstuck
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0
        self._numbers = itertools.count(1)
        self.stuck = 0
        """Threads whose job was given up and has not returned yet."""

    def run(self, function: Callable[[], T]) -> Job[T]:
        """Run ``function`` on a thread, with the caller's context variables."""
        job = Job(function, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False):
            name = f"{self._name}-{next(self._numbers)}"
            try:
                threading.Thread(target=self._work, name=name, daemon=True).start()
            except BaseException:
                job.void = True
                raise
            self._threads += 1
        return job

    def abandon(self, job: Job[Any]) -> None:
        """Stop caring about a job; its thread cannot be stopped and comes back when it returns."""
        if not job.abandoned and not job.future.done():
            job.abandoned = True
            self.stuck += 1

    def close(self) -> None:
        """Let the idle threads end, and the busy ones after their job."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.void:
                continue
            try:
                with ForkGuard():
                    outcome: tuple[Any, BaseException | None] = (job.context.run(job.function), None)
            except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the job
                outcome = (None, error)
            loop = job.future.get_loop()
            self._idle.release()
            try:
                loop.call_soon_threadsafe(self._deliver, job, *outcome)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del job, outcome, loop

    def _deliver(self, job: Job[Any], result: Any, error: BaseException | None) -> None:
        if job.abandoned:
            self.stuck -= 1
            self._unstuck()
        if job.abandoned or job.future.done():
            return
        if error is None:
            job.future.set_result(result)
        elif isinstance(error, StopIteration):  # which a future refuses to carry
            job.future.set_exception(RuntimeError(f"StopIteration raised: {error}"))
        else:
            job.future.set_exception(error)
