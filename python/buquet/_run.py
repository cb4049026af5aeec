"""One assignment while its attempt runs: its context, its deadline, and what interrupts it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from buquet import _ops
from buquet._attempt import completed, failed, run_sync
from buquet._context import AttemptInfo, TaskContext
from buquet._durations import Duration, seconds, wire_duration
from buquet._processes import ProcessJob
from buquet.errors import BuquetError, InvalidError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._attempt import Attempt, Handler
    from buquet._client import Client
    from buquet._ops import Assignment
    from buquet._processes import ProcessPool
    from buquet._threads import ThreadPool

_logger = logging.getLogger("buquet.worker")

# How old a lease may be, in seconds, for the attempt's whole time to fit into it.
_LEASE_STALE = 1.0

Interruption: TypeAlias = Literal["lost", "stopped"]
Ending: TypeAlias = Literal["done", "timeout", "lost", "stopped"]


class Run:
    """One attempt in this process."""

    def __init__(self, client: Client, worker_id: str, assignment: Assignment, handler: Handler) -> None:
        """Take an assignment on; its time runs from now."""
        self.assignment = assignment
        self.handler = handler
        self.loop = asyncio.get_running_loop()
        self._timeout = assignment.timeout_ms / 1000
        self.deadline = self.loop.time() + self._timeout
        self.is_lost = False
        self._is_given_up = False
        self._keepers: set[asyncio.Task[None]] = set()
        self._client = client
        self._worker_id = worker_id
        self._interruption: asyncio.Future[Interruption] = self.loop.create_future()
        self.info = AttemptInfo(
            id=assignment.id,
            type=assignment.type,
            attempt=assignment.attempt,
            retry_count=assignment.retry_count,
            max_retries=assignment.max_retries,
            deadline=self._wall_deadline(),
            submitted_at=assignment.submitted_at,
        )
        self.context = TaskContext(self.info, self)

    @property
    def key(self) -> tuple[str, str]:
        """The task and the lease: one task may come back under a new lease."""
        return self.assignment.id, self.assignment.lease

    @property
    def is_interrupted(self) -> bool:
        """Whether there is no use in going on."""
        return self._interruption.done()

    def interrupt(self, why: Interruption) -> None:
        """Stop waiting for the attempt."""
        if why == "lost":
            self.is_lost = True
        if not self._interruption.done():
            self._interruption.set_result(why)

    async def _wait_begin(self, work: asyncio.Future[Attempt], begun: asyncio.Event) -> None:
        """Wait until a process takes the attempt: its time runs from then, its lease is kept until then."""
        waiting = self.loop.create_task(begun.wait())
        keeping = self.loop.create_task(self._keep_lease(begun))
        keeping.add_done_callback(self._keepers.discard)
        self._keepers.add(keeping)
        await asyncio.wait({work, waiting, self._interruption}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not begun.is_set():
            keeping.cancel()

    async def _keep_lease(self, begun: asyncio.Event) -> None:
        leased = self.loop.time()
        while not begun.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(begun.wait(), max(self._timeout / 2, _LEASE_STALE))
            if self.loop.time() - leased >= _LEASE_STALE and not self.is_interrupted:
                leased = self.loop.time()
                await self._renew()

    async def _renew(self) -> None:
        try:
            await self._client.call_async(
                _ops.worker_extend(self._worker_id, self.assignment.id, self.assignment.lease, self._timeout)
            )
        except LeaseLostError:
            self.interrupt("lost")
        except BuquetError as error:
            _logger.warning("task %s: cannot keep the lease while it waits for a process: %s", self.info.id, error)

    def begin(self) -> AttemptInfo:
        """Let the attempt's time run from now. Called from the thread of its process."""
        self.deadline = self.loop.time() + self._timeout
        self.info = msgspec.structs.replace(self.info, deadline=self._wall_deadline())
        return self.info

    async def watch(self, work: asyncio.Future[Attempt], begun: asyncio.Event | None = None) -> Ending:
        """Wait for the attempt's end: its own, its deadline's, or an interruption."""
        if begun is not None:
            await self._wait_begin(work, begun)
        while True:
            left = self.deadline - self.loop.time()
            if work.done():
                return "done"
            if self._interruption.done() or left <= 0:
                self._is_given_up = True
                return self._interruption.result() if self._interruption.done() else "timeout"
            # An extension moves the deadline meanwhile; hence the loop.
            await asyncio.wait({work, self._interruption}, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def lost(self) -> bool:
        """Whether the lease is gone, or given up by this worker: no result is taken any more."""
        return self.is_lost or self._is_given_up

    async def extend(self, by: Duration) -> datetime:
        """Move the deadline to ``by`` from now, if that is later, and the lease's expiry beyond it."""
        self._check_lease()
        amount = wire_duration(by, "by")
        later = self.loop.time() + seconds(by, "by")
        lease = self.assignment.lease
        call = _ops.worker_extend(self._worker_id, self.assignment.id, lease, amount)
        try:
            await self._client.call_async(call)
        except LeaseLostError:
            self.interrupt("lost")
            raise
        self._check_lease()  # it may have been given up meanwhile
        self.deadline = max(self.deadline, later)
        return self._wall_deadline()

    def _wall_deadline(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.deadline - self.loop.time())

    def _check_lease(self) -> None:
        if self.lost():
            raise LeaseLostError(f"the lease of task {self.assignment.id} is gone")

    def extend_sync(self, by: Duration) -> datetime:
        """Do as ``extend``, from a thread."""
        if _running_loop() is self.loop:
            raise InvalidError("extend_sync would block the event loop; write `await ctx.extend(...)` in async code")
        self._check_lease()
        return asyncio.run_coroutine_threadsafe(self.extend(by), self.loop).result()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Work:
    """A started handler: the future of its attempt, and how to give it up."""

    def __init__(
        self,
        future: asyncio.Future[Attempt],
        abandon: Callable[[], object],
        begun: asyncio.Event | None = None,
    ) -> None:
        """Bring both together; ``begun`` is set when a process takes what has to wait for one."""
        self.begun = begun
        self.future = future
        self.abandon = abandon


def start(run: Run, threads: ThreadPool, processes: ProcessPool) -> Work:
    """Start the handler where it belongs: on the loop, on a thread, or in a process."""
    handler, raw, context = run.handler, run.assignment.input, run.context
    if handler.is_async:
        task = run.loop.create_task(run_async(handler, raw, context), name=f"task {run.assignment.id}")
        return Work(task, task.cancel)
    if handler.pool == "process":
        begun = asyncio.Event()

        def begin() -> AttemptInfo:
            info = run.begin()
            run.loop.call_soon_threadsafe(begun.set)
            return info

        process_job = ProcessJob(handler, bytes(raw), run.info, run, begin)
        waiting = threads.run(lambda: processes.call(process_job))
        return Work(waiting.future, process_job.kill, begun)
    job = threads.run(lambda: run_sync(handler, raw, context))
    return Work(job.future, lambda: threads.abandon(job))


async def run_async(handler: Handler, raw: bytes | msgspec.Raw, context: TaskContext) -> Attempt:
    """Call an ``async def`` handler. Never raises: what it raises is part of the answer."""
    try:
        bound = handler.signature.bind_input(raw, context)
        return completed(handler, await handler.function(*bound.args, **bound.kwargs))
    except GeneratorExit:  # the loop is gone
        raise
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, SystemExit too
        # Who cancels an attempt looks at its outcome no more; so this is the handler's own doing.
        return failed(handler, error)
