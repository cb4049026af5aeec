"""The worker's loop: take assignments up to the free capacity, run them, report how they ended."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from buquet import _ops
from buquet._attempt import Handler
from buquet._cpus import available_cpus
from buquet._endings import attempt_of, ended_early, not_run
from buquet._forked import guard_loop
from buquet._hook_calls import HookCalls
from buquet._logs import enable_loggers
from buquet._places import CLEANUP_GRACE, PATIENCE, NoPlaceError, Places
from buquet._process_job import check_handlers
from buquet._processes import ProcessPool
from buquet._reporting import Reporting
from buquet._run import Run
from buquet._schedules import module_of
from buquet._signature import TaskSignature
from buquet._threads import ThreadPool
from buquet.errors import BuquetError, ClosedError, InvalidError, LayoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from buquet._client import Client
    from buquet._ops import Assignment, Assignments, CalledOff
    from buquet._run import Ending
    from buquet._schedules import Declarations
    from buquet._worker import Settings

_logger = logging.getLogger("buquet.worker")

_NEXT_WAIT = 20.0
_RELEASE_GRACE = 10.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class Runner:
    """One run of a worker, from its registration to its sign-off. Lives on one event loop."""

    def __init__(
        self,
        client: Client,
        handlers: Mapping[str, Handler],
        hooks: Mapping[str, list[Any]],
        settings: Settings,
        declarations: Declarations,
    ) -> None:
        """Prepare to run ``handlers``."""
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
        self._said_drain = False
        self._listening: asyncio.Future[Assignments] | None = None
        self.worker_id = ""
        self.attempts = 0

    def drain(self) -> None:
        """Take nothing more, and end when what runs has ended or the drain timeout is up."""
        self._draining.set()

    def stop(self) -> None:
        """End now: give back what runs."""
        self._draining.set()
        self._stopping.set()
        self._hooks.stop()

    async def run(self, started: Callable[[], None]) -> None:
        """Work until told to drain or stop."""
        enable_loggers()
        guard_loop(asyncio.get_running_loop())
        await self._prepare_processes()
        self.worker_id = await self._client.call_async(
            _ops.worker_start(sorted(self._handlers), self._concurrency, self._prefetch)
        )
        self._reports = Reporting(self._client, self.worker_id, self._hooks, self._progress)
        _logger.info(
            "worker %s takes %s, up to %d at a time",
            self.worker_id,
            ", ".join(sorted(self._handlers)),
            self._concurrency,
        )
        try:
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

    async def _prepare_processes(self) -> None:
        if all(handler.pool != "process" for handler in self._handlers.values()):
            return
        check_handlers(self._handlers.values(), self._client.codecs)
        self._processes.is_local = (await self._client.call_async(_ops.connect())).store == "memory"

    # Claiming.

    async def _claim(self) -> None:
        await self._repeat(self._next, "look for work", self._draining)
        await self._say_drain()

    async def _repeat(self, ask: Callable[[], Awaitable[None]], what: str, until: asyncio.Event) -> None:
        """Ask the engine again and again, and more seldom while the store gives trouble."""
        pause = _FIRST_PAUSE
        while not until.is_set():
            try:
                await ask()
            except (ClosedError, InvalidError, LayoutError, NoPlaceError):
                raise
            except BuquetError as error:
                _logger.warning("cannot %s (%s); again in %.1f s", what, error, pause)
                await _wait_for(until, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE

    async def _next(self) -> None:
        """Ask for what fits, and take it on; or wait until something fits."""
        self._slot_freed.clear()
        if self._free_slots() == 0:
            # What needs no waiting is over after a turn of the loop or two.
            for _ in range(2):
                await asyncio.sleep(0)
        free = self._free_slots()
        self._places.watch(self._client, self.worker_id)
        call = self._ask(free) if free > 0 else self._listen()
        wakers = [asyncio.ensure_future(self._draining.wait())]
        if free == 0:
            wakers.append(asyncio.ensure_future(self._slot_freed.wait()))
        try:
            patience = self._places.patience() if self._ends_stuck else None
            ended, _ = await asyncio.wait({call, *wakers}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not ended:
                raise NoPlaceError(
                    f"this worker had no place left for {PATIENCE:.0f} s: {self._concurrency} and more attempts were "
                    "given up when their time was up, and have not returned; it ends, so that another can be started"
                )
            if self._draining.is_set() and not call.done():
                await self._say_drain()  # which ends the call
                await asyncio.wait({call}, timeout=CLEANUP_GRACE)
        finally:
            for waker in wakers:
                waker.cancel()
            if free > 0 and not call.done():
                call.cancel()
        if call.done():
            self._take_in(call.result())

    async def _hear(self) -> None:
        """Learn of losses and cancellations of what still runs, while nothing is taken on."""
        await asyncio.shield(self._listen())

    def _ask(self, free: int) -> asyncio.Future[Assignments]:
        return asyncio.ensure_future(self._client.call_async(_ops.worker_next(self.worker_id, free, _NEXT_WAIT)))

    def _listen(self) -> asyncio.Future[Assignments]:
        """Ask for losses alone. One such call is kept under way and never given up: its answer would be lost."""
        if self._listening is None or self._listening.done():
            self._listening = self._ask(0)
            self._listening.add_done_callback(self._heard)
        return self._listening

    def _heard(self, call: asyncio.Future[Assignments]) -> None:
        if not call.cancelled() and call.exception() is None:
            self._take_in(call.result())

    def _take_in(self, answer: Assignments) -> None:
        """Act on an answer. Doing it twice is harmless: what was lost is lost, and a listener is given no tasks."""
        for problem in answer.problems:
            _logger.warning("set aside: %s: %s", problem.key, problem.message)
        for warning in answer.warnings:
            _logger.warning("%s", warning)
        for loss in answer.lost:
            self._lose(loss.id, loss.lease, loss.reason)
        for wish in answer.cancelled:
            self._call_off(wish)
        for assignment in answer.assignments:
            self._take(assignment)
        if answer.state != "running":
            self.drain()

    def _free_slots(self) -> int:
        return self._places.free(len(self._running), self._reports.pending + self._hooks.pending)

    async def _say_drain(self) -> None:
        """Let the engine give back what it holds ahead, once."""
        if self._said_drain:
            return
        self._said_drain = True
        try:
            await asyncio.wait_for(self._client.call_async(_ops.worker_drain(self.worker_id)), CLEANUP_GRACE)
        except (BuquetError, TimeoutError) as error:
            _logger.warning("cannot announce the drain: %s", error)

    def _take(self, assignment: Assignment) -> None:
        handler = self._handlers.get(assignment.type)
        if handler is None:  # never, if the engine keeps its word; then somebody else must have it
            handler = Handler(assignment.type, _no_handler, TaskSignature(_no_handler, assignment.type))
        run = Run(self._client, self.worker_id, assignment, handler, self._ended, waits=self._places.waits)
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

    def _lose(self, task_id: str, lease: str, reason: str) -> None:
        run = self._running.get((task_id, lease))
        if run is not None:
            _logger.warning("task %s: the lease is lost (%s)", task_id, reason)
            run.interrupt("lost")

    def _call_off(self, wish: CalledOff) -> None:
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
        if not self._stopping.is_set() and not self._is_idle():
            _logger.info("draining: %d task(s) may run up to %.0f s more", len(self._running), self._drain_timeout)
            hearing = asyncio.ensure_future(self._repeat(self._hear, "hear of cancellations", self._stopping))
            await self._until_all_done(self._drain_timeout, self._stopping)
            await _give_up(hearing)
        for run in list(self._running.values()):
            run.interrupt("stopped")
        await self._until_all_done(_RELEASE_GRACE)
        self._reports.close()
        if self._listening is not None:
            self._listening.cancel()
        self._hooks.give_up()
        self._places.abandon()
        try:
            released = await asyncio.wait_for(self._client.call_async(_ops.worker_stop(self.worker_id)), _RELEASE_GRACE)
            _logger.info("worker %s stopped, %d lease(s) given back", self.worker_id, released)
        except (BuquetError, TimeoutError) as error:
            _logger.warning("cannot give the leases back (%s); others take over once they run out", error)
        await self._hooks.shut_down(CLEANUP_GRACE)

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


async def _wait_for(event: asyncio.Event, limit: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), limit)
    except TimeoutError:
        return
