"""The worker's loop: take assignments up to the free capacity, run them, report how they ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from buquet import _ops
from buquet._attempt import Handler
from buquet._claims import Claims
from buquet._cpus import available_cpus
from buquet._endings import attempt_of, ended_early, not_run
from buquet._forked import guard_loop
from buquet._hook_calls import HookCalls
from buquet._logs import enable_loggers
from buquet._places import CLEANUP_GRACE, Places
from buquet._process_job import check_handlers
from buquet._processes import ProcessPool
from buquet._reporting import Reporting
from buquet._run import Run
from buquet._schedules import module_of
from buquet._signature import TaskSignature
from buquet._threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from buquet._client import Client
    from buquet._ops import Assignment, CalledOff, Woken
    from buquet._run import Ending
    from buquet._schedules import Declarations
    from buquet._worker import Settings
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._drivers import Drivers

_logger = logging.getLogger("buquet.worker")

_RELEASE_GRACE = 10.0


class Runner:
    """One run of a worker, from its registration to its sign-off. Lives on one event loop."""

    def __init__(
        self,
        client: Client,
        handlers: Mapping[str, Handler],
        workflows: Mapping[str, WorkflowFunction[..., Any]],
        *,
        hooks: Mapping[str, list[Any]],
        settings: Settings,
        declarations: Declarations,
    ) -> None:
        """Prepare to run ``handlers``, and to drive runs of ``workflows``."""
        self._client = client
        self._declarations = declarations
        self._handlers = handlers
        self._ends_stuck = settings.ends_stuck
        self._drain_timeout = settings.drain_timeout
        processes = settings.processes or available_cpus()
        only_processes = all(handler.pool == "process" for handler in handlers.values())
        # A task that waits for a process could run on another worker.
        self._concurrency = min(settings.concurrency, processes) if only_processes else settings.concurrency
        self._prefetch = settings.prefetch
        self._slot_freed = asyncio.Event()
        self._threads = ThreadPool("buquet-task", unstuck=self._slot_freed.set)
        self._places = Places(self._concurrency, self._threads, self._slot_freed.set)
        self._hooks = HookCalls(hooks, self._progress)
        self._processes = ProcessPool(processes)
        self._running: dict[tuple[str, str], Run] = {}
        self._all_done = asyncio.Event()
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._claims = Claims(client, self, self._draining, self._slot_freed)
        self._drivers = self._make_drivers(workflows, settings)
        self.attempts = 0

    def _make_drivers(self, workflows: Mapping[str, WorkflowFunction[..., Any]], settings: Settings) -> Drivers | None:
        if not workflows:
            return None
        from buquet.workflow._drivers import Drivers  # noqa: PLC0415 - who has no workflows does not pay for them

        return Drivers(self._client, workflows, settings, draining=self._draining, stopping=self._stopping)

    def drain(self) -> None:
        """Take nothing more, and end when what runs has ended or the drain timeout is up."""
        self._draining.set()

    def stop(self) -> None:
        """End now: give back what runs."""
        self._draining.set()
        self._stopping.set()
        self._hooks.stop()

    @property
    def worker_id(self) -> str:
        """The id in the queue: that for tasks, if there are any."""
        return next((claims.worker_id for claims in self._all_claims), "")

    async def run(self, started: Callable[[], None]) -> None:
        """Work until told to drain or stop."""
        enable_loggers()
        guard_loop(asyncio.get_running_loop())
        await self._prepare_processes()
        await self._register()
        try:
            if self._drivers is not None:
                await self._drivers.register()
            modules = {module_of(handler.function) for handler in self._handlers.values()}
            await self._declarations.sync(self._client, modules)
            await self._hooks.start_up()
            if not self._stopping.is_set():
                started()
                await self._claim()
        except BaseException:
            self.stop()
            raise
        finally:
            try:
                await self._shut_down()
            finally:
                self._processes.close()
                self._threads.close()
                self._hooks.close()
                if self._drivers is not None:
                    self._drivers.close()

    async def _register(self) -> None:
        if self._handlers:
            types = sorted(self._handlers)
            await self._claims.register(types, self._concurrency, self._prefetch)
            _logger.info(
                "worker %s takes %s, up to %d at a time",
                self._claims.worker_id,
                ", ".join(types),
                self._concurrency,
            )
        self._reports = Reporting(self._client, self._claims.worker_id, self._hooks, self._progress)

    async def _prepare_processes(self) -> None:
        if all(handler.pool != "process" for handler in self._handlers.values()):
            return
        check_handlers(self._handlers.values(), self._client.codecs)
        self._processes.is_local = (await self._client.call_async(_ops.connect())).store == "memory"

    # Claiming.

    async def _claim(self) -> None:
        """Take on tasks and runs until told to drain. If one of both fails, the worker ends."""
        claiming = [asyncio.ensure_future(claims.claim()) for claims in self._all_claims]
        try:
            await asyncio.wait(claiming, return_when=asyncio.FIRST_EXCEPTION)
            self.drain()
            await asyncio.gather(*claiming)
        finally:
            for task in claiming:
                task.cancel()
            await asyncio.wait(claiming)

    @property
    def _all_claims(self) -> list[Claims]:
        several = [self._claims] if self._handlers else []
        return several if self._drivers is None else [*several, self._drivers.claims]

    def asking(self) -> None:
        """Say it where people look when places are lost for good, or found again."""
        self._places.watch(self._client, self._claims.worker_id)

    def patience(self) -> float | None:
        """Seconds to wait for a place, if the worker is to end after that."""
        return self._places.patience() if self._ends_stuck else None

    def free(self) -> int:
        """How many more tasks fit."""
        return self._places.free(len(self._running), self._reports.pending + self._hooks.pending)

    def wake(self, _woken: Woken) -> None:
        """Tasks wait for nothing."""

    def take(self, assignment: Assignment) -> None:
        """Run a task."""
        handler = self._handlers.get(assignment.type)
        if handler is None:  # never, if the engine keeps its word; then somebody else must have it
            handler = Handler(assignment.type, _no_handler, TaskSignature(_no_handler, assignment.type))
        run = Run(self._client, self._claims.worker_id, assignment, handler, self._ended, waits=self._places.waits)
        self._running[run.key] = run
        self.attempts += 1
        if self._draining.is_set() or handler.function is _no_handler:
            run.interrupt("stopped")
            return
        try:
            run.start(self._threads, self._processes)
        except Exception as error:  # noqa: BLE001 - no thread to be had, say: it must not cost the task its outcome
            self._free_slot(run)
            self._reports.report(run, not_run(run, error))

    def lose(self, task_id: str, lease: str, reason: str) -> None:
        """Drop a task that is another's."""
        run = self._running.get((task_id, lease))
        if run is not None:
            _logger.warning("task %s: the lease is lost (%s)", task_id, reason)
            run.interrupt("lost")

    def call_off(self, wish: CalledOff) -> None:
        """Tell a task's handler to stop."""
        run = self._running.get((wish.id, wish.lease))
        if run is not None:
            by, reason = wish.by or "somebody", wish.reason or "no reason given"
            _logger.info("task %s: called off by %r: %r", wish.id, by, reason)
            run.call_off()

    def _free_slot(self, run: Run) -> None:
        self._places.gone(run)
        if self._running.pop(run.key, None) is not None:
            self._progress()

    def _progress(self) -> None:
        """Something ended: look whether there is room, or nothing left."""
        self._slot_freed.set()
        if self._is_idle():
            self._all_done.set()

    def _ended(self, run: Run, ending: Ending) -> None:
        work = run.work
        attempt = attempt_of(run, work) if work is not None and ending == "done" else ended_early(ending, run)
        run.work = None  # it holds the result, which may be large, and a run is part of a cycle
        if attempt is not None:
            self._reports.report(run, attempt)
        if work is not None and run.handler.is_async and ending != "done":
            # Its clean-up may take a while; the outcome does not wait for it, the place does.
            self._places.leave(run, work.future, self._free_slot)
        else:
            self._free_slot(run)

    # Ending.

    async def _shut_down(self) -> None:
        if not self._stopping.is_set():
            await asyncio.gather(self._drain_tasks(), self._drain_runs())
        await asyncio.gather(self._stop_tasks(), self._stop_runs())
        await self._hooks.shut_down(CLEANUP_GRACE)

    async def _drain_tasks(self) -> None:
        if self._is_idle():
            return
        _logger.info("draining: %d task(s) may run up to %.0f s more", len(self._running), self._drain_timeout)
        hearing = asyncio.ensure_future(self._claims.hear(self._stopping))
        await self._until_all_done(self._drain_timeout, self._stopping)
        await _give_up(hearing)

    async def _drain_runs(self) -> None:
        if self._drivers is None or self._drivers.is_idle:
            return
        hearing = asyncio.ensure_future(self._drivers.claims.hear(self._stopping))
        await self._drivers.drain(self._drain_timeout)
        await _give_up(hearing)

    async def _stop_tasks(self) -> None:
        for run in list(self._running.values()):
            run.interrupt("stopped")
        await self._until_all_done(_RELEASE_GRACE)
        self._reports.close()
        self._claims.close()
        self._hooks.give_up()
        self._places.abandon()
        await self._claims.stop(_RELEASE_GRACE)

    async def _stop_runs(self) -> None:
        if self._drivers is not None:
            await self._drivers.stop(_RELEASE_GRACE)

    def _is_idle(self) -> bool:
        return not self._running and not self._reports.pending and not self._hooks.pending

    async def _until_all_done(self, limit: float, unless: asyncio.Event | None = None) -> None:
        """Wait until nothing runs and all is reported, at most ``limit`` seconds, unless told otherwise."""
        self._all_done.clear()
        if self._is_idle():
            return
        wakers = [asyncio.ensure_future(event.wait()) for event in (self._all_done, unless) if event is not None]
        await asyncio.wait(wakers, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for waker in wakers:
            waker.cancel()


def _no_handler() -> None:
    """Stand in for the function of a type that this worker never asked for."""


async def _give_up(hearing: asyncio.Future[None]) -> None:
    """End a drain's listening. Its failure costs the news and nothing else."""
    hearing.cancel()
    await asyncio.wait({hearing})
    if not hearing.cancelled() and (error := hearing.exception()) is not None:
        _logger.warning("cancellations were not heard of while draining: %s", error)
