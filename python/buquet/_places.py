"""The places of a worker: how many tasks fit, and what attempts take of them that were given up and do not return."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from buquet import _ops
from buquet.errors import BuquetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._attempt import Attempt
    from buquet._client import Client
    from buquet._run import Run
    from buquet._threads import ThreadPool

_logger = logging.getLogger("buquet.worker")

CLEANUP_GRACE = 5.0
"""Seconds that an async handler has for its clean-up once it is cancelled, before its place is another's."""
PATIENCE = 60.0
"""Seconds that a worker without a place left waits for one, if its program wants it to end then."""
STANDSTILL = 5.0
"""Seconds that all places wait for other tasks before that is worth a warning."""
_UNREPORTED = 1_000


class NoPlaceError(BuquetError):
    """A worker had no place left for a while, and ends so that another can be started."""


class Places:
    """Counts places. All methods are for the loop's thread."""

    def __init__(self, concurrency: int, threads: ThreadPool, changed: Callable[[], None]) -> None:
        """Start with all places free. ``changed`` is called when an attempt that was given up is back."""
        self.concurrency = concurrency
        self._threads = threads
        self._changed = changed
        self._deaf: dict[asyncio.Future[Attempt], Run] = {}
        self._lost = 0
        self._full_since: float | None = None
        self._waiting: set[Run] = set()
        self._standstill: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def lost(self) -> int:
        """Places that are taken for good: by attempts that were given up, beyond as many as there are places.

        They may double what runs, not grow for ever.
        """
        stuck = self._threads.stuck + len(self._deaf)
        return min(self.concurrency, max(0, stuck - self.concurrency))

    def free(self, running: int, unreported: int) -> int:
        """How many tasks fit now; what is on its way to a slow store must not pile up either."""
        backlog = max(0, unreported - _UNREPORTED - 4 * self.concurrency)
        return max(0, self.concurrency - running - self.lost - backlog)

    def leave(self, run: Run, future: asyncio.Future[Attempt], free: Callable[[Run], None]) -> None:
        """Let an async handler that was cancelled end; its place is free then, or after a grace."""

        def over() -> None:
            free(run)
            if not future.done():
                self._deaf[future] = run
                self._changed()

        def ended(_: object) -> None:
            timer.cancel()
            free(run)
            if self._deaf.pop(future, None) is not None:
                self._changed()

        timer = run.loop.call_later(CLEANUP_GRACE, over)
        future.add_done_callback(ended)

    def waits(self, run: Run) -> None:
        """Note whether the handler of a run waits for other tasks."""
        (self._waiting.add if run.waiting > 0 else self._waiting.discard)(run)
        if len(self._waiting) >= self.concurrency:
            if self._standstill is None:
                self._standstill = run.loop.call_later(STANDSTILL, self._warn_of_standstill)
        elif self._standstill is not None:
            self._standstill.cancel()
            self._standstill = None

    def gone(self, run: Run) -> None:
        """Note that a run takes no place any more."""
        if run in self._waiting:
            run.waiting = 0
            self.waits(run)

    def _warn_of_standstill(self) -> None:
        _logger.warning(
            "all %d places of this worker are taken by tasks that wait for other tasks, and it takes no others: unless "
            "another worker does what they wait for, they wait until their time is up; raise the concurrency",
            self.concurrency,
        )

    def watch(self, client: Client, worker_id: str) -> None:
        """Say it where people look when places are lost for good, or found again."""
        lost = self.lost
        if lost == self._lost:
            return
        stuck = self._threads.stuck + len(self._deaf)
        if lost == self.concurrency:
            _logger.error(
                "no place is left: %d attempt(s) whose time is up do not return, and this worker takes nothing more; "
                "give their calls limits of their own, and start another worker",
                stuck,
            )
        elif lost > self._lost:
            _logger.warning(
                "%d attempt(s) whose time is up do not return; this worker takes %d task(s) fewer at a time",
                stuck,
                lost,
            )
        self._lost = lost
        self._full_since = asyncio.get_running_loop().time() if lost == self.concurrency else None
        task = asyncio.ensure_future(self._tell(client, worker_id, lost))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, client: Client, worker_id: str, lost: int) -> None:
        with contextlib.suppress(BuquetError):  # the next heartbeat that can be written says it
            await client.call_async(_ops.worker_stuck(worker_id, lost))

    def patience(self) -> float | None:
        """Seconds until a worker without a place has waited long enough; None while it has one."""
        if self._full_since is None:
            return None
        return max(0.0, self._full_since + PATIENCE - asyncio.get_running_loop().time())

    def abandon(self) -> None:
        """Break off async handlers that ignore their cancellation, or they would keep the program from ending."""
        for future, run in self._deaf.items():
            if isinstance(future, asyncio.Task):
                _logger.warning("task %s: its handler ignores its cancellation and is broken off", run.info.id)
                future.add_done_callback(_look_at)
                coroutine = future.get_coro()
                with contextlib.suppress(RuntimeError):  # it ignores that too
                    coroutine.close()
                future.cancel()  # what waits for nothing any more ends


def _look_at(future: asyncio.Future[Attempt]) -> None:
    """See the error of a handler that was broken off: it is of no interest."""
    if not future.cancelled():
        future.exception()
