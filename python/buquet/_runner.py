"""The worker's loop: take assignments up to the free capacity, run them, report how they ended."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from buquet import _ops
from buquet._attempt import LOGGED_LIMIT, Attempt, FailureInfo, Handler, Outcome, logged, trim
from buquet._endings import attempt_of, ended_early, not_run
from buquet._forked import guard_loop
from buquet._hook_calls import call_hook, call_safely
from buquet._logs import enable_loggers
from buquet._process_job import check_handlers
from buquet._processes import ProcessPool
from buquet._reveal import stored_error
from buquet._run import Run
from buquet._schedules import module_of
from buquet._settler import Settler
from buquet._signature import TaskSignature
from buquet._threads import ThreadPool
from buquet.errors import BuquetError, ClosedError, InvalidError, LayoutError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from buquet._client import Client
    from buquet._context import TaskContext
    from buquet._ops import Assignment, Assignments, CalledOff, Settled
    from buquet._run import Ending
    from buquet._schedules import Declarations
    from buquet._worker import Settings

_logger = logging.getLogger("buquet.worker")

_NEXT_WAIT = 20.0
_CLEANUP_GRACE = 5.0
_RELEASE_GRACE = 10.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_UNREPORTED = 1_000
_HOOK_OF = {"complete": "success", "fail": "error", "timeout": "error"}


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
        self._hooks = hooks
        self._drain_timeout = settings.drain_timeout
        processes = settings.processes or os.cpu_count() or 1
        only_processes = all(handler.pool == "process" for handler in handlers.values())
        # A task that waits for a process could run on another worker.
        self._concurrency = min(settings.concurrency, processes) if only_processes else settings.concurrency
        self._prefetch = settings.prefetch
        self._slot_freed = asyncio.Event()
        self._threads = ThreadPool("buquet-task", unstuck=self._slot_freed.set)
        self._hook_threads = ThreadPool("buquet-hook")
        self._processes = ProcessPool(processes)
        self._running: dict[tuple[str, str], Run] = {}
        self._reporting = 0
        self._conclusions: set[asyncio.Task[None]] = set()
        self._all_done = asyncio.Event()
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._said_drain = False
        self._listening: asyncio.Future[Assignments] | None = None
        self._warned_excess = 0
        self._hook_scopes: set[asyncio.Timeout] = set()
        self.worker_id = ""
        self.attempts = 0

    def drain(self) -> None:
        """Take nothing more, and end when what runs has ended or the drain timeout is up."""
        self._draining.set()

    def stop(self) -> None:
        """End now: give back what runs."""
        self._draining.set()
        self._stopping.set()
        for scope in self._hook_scopes:
            if not scope.expired():
                scope.reschedule(0)

    async def run(self, started: Callable[[], None]) -> None:
        """Work until told to drain or stop."""
        enable_loggers()
        guard_loop(asyncio.get_running_loop())
        await self._prepare_processes()
        self.worker_id = await self._client.call_async(
            _ops.worker_start(sorted(self._handlers), self._concurrency, self._prefetch)
        )
        self._settler = Settler(self._client, self.worker_id)
        _logger.info(
            "worker %s takes %s, up to %d at a time",
            self.worker_id,
            ", ".join(sorted(self._handlers)),
            self._concurrency,
        )
        try:
            modules = {module_of(handler.function) for handler in self._handlers.values()}
            await self._declarations.sync(self._client, modules)
            async with self._unless_stopped():
                for hook in self._hooks["startup"]:
                    await call_hook(self._hook_threads, hook)
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
                self._hook_threads.close()

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
            except (ClosedError, InvalidError, LayoutError):
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
        call = self._ask(free) if free > 0 else self._listen()
        wakers = [asyncio.ensure_future(self._draining.wait())]
        if free == 0:
            wakers.append(asyncio.ensure_future(self._slot_freed.wait()))
        try:
            await asyncio.wait({call, *wakers}, return_when=asyncio.FIRST_COMPLETED)
            if self._draining.is_set() and not call.done():
                await self._say_drain()  # which ends the call
                await asyncio.wait({call}, timeout=_CLEANUP_GRACE)
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
        """What fits now; threads that are stuck in abandoned attempts may double, not grow for ever."""
        excess = max(0, self._threads.stuck - self._concurrency)
        if excess > self._warned_excess:
            _logger.warning(
                "%d thread(s) are stuck in attempts whose time is up; this worker takes %d task(s) fewer at a time",
                self._threads.stuck,
                min(excess, self._concurrency),
            )
        self._warned_excess = excess
        # Outcomes on their way to a slow store must not pile up either.
        backlog = max(0, self._reporting - _UNREPORTED - 4 * self._concurrency)
        return max(0, self._concurrency - len(self._running) - excess - backlog)

    async def _say_drain(self) -> None:
        """Let the engine give back what it holds ahead, once."""
        if self._said_drain:
            return
        self._said_drain = True
        try:
            await asyncio.wait_for(self._client.call_async(_ops.worker_drain(self.worker_id)), _CLEANUP_GRACE)
        except (BuquetError, TimeoutError) as error:
            _logger.warning("cannot announce the drain: %s", error)

    def _take(self, assignment: Assignment) -> None:
        handler = self._handlers.get(assignment.type)
        if handler is None:  # never, if the engine keeps its word; then somebody else must have it
            handler = Handler(assignment.type, _no_handler, TaskSignature(_no_handler, assignment.type))
        run = Run(self._client, self.worker_id, assignment, handler, self._ended)
        self._running[run.key] = run
        self.attempts += 1
        if self._draining.is_set() or handler.function is _no_handler:
            run.interrupt("stopped")
            return
        try:
            run.start(self._threads, self._processes)
        except Exception as error:  # noqa: BLE001 - no thread to be had, say: it must not cost the task its outcome
            self._free_slot(run)
            self._report(run, not_run(run, error))

    def _lose(self, task_id: str, lease: str, reason: str) -> None:
        run = self._running.get((task_id, lease))
        if run is not None:
            _logger.warning("task %s: the lease is lost (%s)", task_id, reason)
            run.interrupt("lost")

    def _call_off(self, wish: CalledOff) -> None:
        run = self._running.get((wish.id, wish.lease))
        if run is not None:
            _logger.info(
                "task %s: called off by %s: %s", wish.id, wish.by or "somebody", wish.reason or "no reason given"
            )
            run.call_off()

    def _free_slot(self, run: Run) -> None:
        if self._running.pop(run.key, None) is not None:
            self._progress()

    def _progress(self) -> None:
        """Something ended: look whether there is room, or nothing left."""
        self._slot_freed.set()
        if self._is_idle():
            self._all_done.set()

    # Reporting.

    def _ended(self, run: Run, ending: Ending) -> None:
        work = run.work
        attempt = attempt_of(run, work) if work is not None and ending == "done" else ended_early(ending, run)
        run.work = None  # it holds the result, which may be large, and a run is part of a cycle
        if attempt is not None:
            self._report(run, attempt)
        if work is not None and run.handler.is_async and ending in {"timeout", "stopped"}:
            # Its clean-up may take a while; the outcome does not wait for it, the slot does.
            work.future.add_done_callback(lambda _: self._free_slot(run))
            run.loop.call_later(_CLEANUP_GRACE, self._free_slot, run)
        else:
            self._free_slot(run)

    def _report(self, run: Run, attempt: Attempt) -> None:
        task_id, lease = run.key
        self._reporting += 1
        outcome = msgspec.structs.replace(attempt.outcome, id=task_id, lease=lease)
        if self._client.codecs and isinstance(outcome.error, FailureInfo):
            chain = self._client.vault.chain
            sealed = stored_error(chain, outcome.error, attempt.error, run.assignment.type)
            outcome = msgspec.structs.replace(outcome, error=sealed)
        self._settler.add(outcome, lambda answer: self._decided(run, attempt, answer))

    def _decided(self, run: Run, attempt: Attempt, answer: Settled | Exception) -> None:
        task_id = run.key[0]
        if isinstance(answer, Exception):
            _logger.error("task %s: an attempt could not be reported; its lease will run out", task_id, exc_info=answer)
        elif answer.state == "lease_lost":
            run.is_lost = True
            _logger.warning("task %s: the lease was lost, its outcome is dropped", task_id)
        elif answer.state == "refused":
            self._refused(run, attempt, answer.message)
        else:
            self._committed(run, attempt, answer.status)
        self._reporting -= 1
        self._progress()

    def _refused(self, run: Run, attempt: Attempt, message: str) -> None:
        task_id = run.key[0]
        if attempt.is_last_resort:
            _logger.error("task %s: no outcome is accepted; its lease will run out", task_id)
            return
        _logger.error("task %s: the outcome is refused: %s", task_id, trim(message, LOGGED_LIMIT))
        outcome = Outcome(outcome="fail", error=FailureInfo("OutcomeRefused", message), retry=False)
        self._report(run, Attempt(outcome, error=InvalidError(message), is_last_resort=True))

    def _committed(self, run: Run, attempt: Attempt, status: str) -> None:
        ended = _HOOK_OF.get(attempt.outcome.outcome)
        if ended == "error":
            is_final = status == "failed"
            # That its time is up is all that a timeout says, and it is stored in plain.
            hidden = self._client.keeps_secrets and attempt.outcome.outcome != "timeout"
            _logger.log(
                logging.WARNING if is_final else logging.INFO,
                "task %s: attempt %d failed%s: %s",
                run.info.id,
                run.info.attempt,
                ", the last one" if is_final else "",
                logged(attempt.error, hidden=hidden),
            )
        if ended is not None and self._hooks[ended]:
            of_interest = attempt.result if ended == "success" else attempt.error
            task = run.loop.create_task(self._call_hooks(ended, run.context, of_interest))
            self._conclusions.add(task)
            task.add_done_callback(self._concluded)

    async def _call_hooks(self, ended: str, context: TaskContext, of_interest: Any) -> None:
        async with self._unless_stopped():
            for hook in self._hooks[ended]:
                await call_safely(self._hook_threads, hook, context, of_interest)

    def _concluded(self, task: asyncio.Task[None]) -> None:
        self._conclusions.discard(task)
        self._progress()

    # Ending.

    @asynccontextmanager
    async def _unless_stopped(self, grace: float = 0.0) -> AsyncGenerator[None]:
        """Give up the hooks called within when the worker is told to end at once, or was: then after ``grace``."""
        scope = asyncio.timeout(grace if self._stopping.is_set() else None)
        try:
            async with scope:
                self._hook_scopes.add(scope)
                yield
        except TimeoutError:
            if not scope.expired():
                raise  # the hook's own
            _logger.warning("stopping: a hook was given up")
        finally:
            self._hook_scopes.discard(scope)

    async def _shut_down(self) -> None:
        if not self._stopping.is_set() and not self._is_idle():
            _logger.info("draining: %d task(s) may run up to %.0f s more", len(self._running), self._drain_timeout)
            hearing = asyncio.ensure_future(self._repeat(self._hear, "hear of cancellations", self._stopping))
            await self._until_all_done(self._drain_timeout, self._stopping)
            await _give_up(hearing)
        for run in list(self._running.values()):
            run.interrupt("stopped")
        await self._until_all_done(_RELEASE_GRACE)
        self._settler.close()
        if self._listening is not None:
            self._listening.cancel()
        for task in self._conclusions:
            task.cancel()
        try:
            released = await asyncio.wait_for(self._client.call_async(_ops.worker_stop(self.worker_id)), _RELEASE_GRACE)
            _logger.info("worker %s stopped, %d lease(s) given back", self.worker_id, released)
        except (BuquetError, TimeoutError) as error:
            _logger.warning("cannot give the leases back (%s); others take over once they run out", error)
        async with self._unless_stopped(grace=_CLEANUP_GRACE):
            for hook in self._hooks["shutdown"]:
                await call_safely(self._hook_threads, hook)

    def _is_idle(self) -> bool:
        return not self._running and not self._reporting and not self._conclusions

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
