"""The runs that a worker drives at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from buquet._claims import Claims
from buquet._threads import ThreadPool
from buquet.workflow._driver import RunDriver
from buquet.workflow._step_pool import StepPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from buquet._client import Client
    from buquet._ops import Assignment, CalledOff, Woken
    from buquet._worker import Settings
    from buquet.workflow._definition import WorkflowFunction

T = TypeVar("T")

_logger = logging.getLogger("buquet.worker")

KIND = "workflow:"
"""How the type of a driver's task begins."""


class Drivers:
    """Drives runs for a worker. It is an engine's worker of its own, so that runs do not take the places of tasks."""

    def __init__(
        self,
        client: Client,
        workflows: Mapping[str, WorkflowFunction[..., Any]],
        settings: Settings,
        *,
        draining: asyncio.Event,
        stopping: asyncio.Event,
    ) -> None:
        """Prepare to drive runs of ``workflows``."""
        self.client = client
        self._workflows = workflows
        self._most = settings.runs
        self._drivers: dict[tuple[str, str], RunDriver] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._bodies = ThreadPool("buquet-body")
        self._plain = asyncio.Semaphore(settings.plain_bodies)
        self.step_pool = StepPool("buquet-step", settings.plain_steps)
        self._draining = draining
        self._stopping = stopping
        self.claims = Claims(client, self, draining, self._changed)

    async def register(self) -> None:
        """Begin to be a worker."""
        kinds = sorted(KIND + name for name in self._workflows)
        await self.claims.register(kinds, self._most, None)
        _logger.info(
            "worker %s drives runs of %s, up to %d at a time",
            self.claims.worker_id,
            ", ".join(sorted(self._workflows)),
            self._most,
        )

    @property
    def is_idle(self) -> bool:
        """Whether it drives no run."""
        return not self._tasks

    # What the claims tell.

    def free(self) -> int:
        """How many more runs fit."""
        return max(0, self._most - len(self._drivers))

    def asking(self) -> None:
        """Nothing is to be told of first."""

    def patience(self) -> float | None:
        """Runs are waited for without an end."""
        return None

    def take(self, assignment: Assignment) -> None:
        """Drive a run."""
        definition = self._workflows[assignment.type.removeprefix(KIND)]
        driver = RunDriver(self, self.claims.worker_id, assignment, definition)
        key = (assignment.id, assignment.lease)
        self._drivers[key] = driver
        if self._draining.is_set():
            driver.drain()
        task = asyncio.get_running_loop().create_task(driver.run())
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._over(key, task))

    def _over(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        del self._drivers[key]
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("run %s: its driver met a fault", key[0], exc_info=error)

    def lose(self, task_id: str, lease: str, _reason: str) -> None:
        """Drop a run that is another's."""
        if (driver := self._drivers.get((task_id, lease))) is not None:
            driver.lose()

    def call_off(self, _wish: CalledOff) -> None:
        """Runs learn of that in another way."""

    def wake(self, woken: Woken) -> None:
        """Look what came for a run."""
        if (driver := self._drivers.get((woken.id, woken.lease))) is not None:
            driver.wake()

    # What the drivers use.

    async def enter(self, definition: WorkflowFunction[..., Any]) -> None:
        """Wait for a place for a plain body; an async one needs none."""
        if not definition.is_async:
            await self._plain.acquire()

    def leave(self, definition: WorkflowFunction[..., Any]) -> None:
        """Give the place back."""
        if not definition.is_async:
            self._plain.release()

    async def in_body(self, definition: WorkflowFunction[..., Any], work: Callable[[], T]) -> T:
        """Run a part of a body: on the loop, or, of a plain one, where it does not block that."""
        return work() if definition.is_async else await self._bodies.run(work).future

    # Ending.

    async def drain(self, limit: float) -> None:
        """Give all runs back when their running steps have ended, at most ``limit`` seconds, unless told to stop."""
        for driver in self._drivers.values():
            driver.drain()
        if self._tasks:
            _logger.info("draining: %d run(s) are given back when their steps have ended", len(self._tasks))
            stopping = asyncio.ensure_future(self._stopping.wait())
            everything = asyncio.ensure_future(asyncio.wait(self._tasks))
            await asyncio.wait({stopping, everything}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            everything.cancel()

    async def stop(self, limit: float) -> None:
        """Give all runs back now."""
        for driver in self._drivers.values():
            driver.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit)
        for task in list(self._tasks):
            task.cancel()
        await self.claims.stop(limit)

    def close(self) -> None:
        """Let the threads end."""
        self.step_pool.close()
        self._bodies.close()
