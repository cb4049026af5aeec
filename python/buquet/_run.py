"""One assignment while its attempt runs: its context, its deadline, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from buquet import _ops
from buquet._attempt import bind, completed, failed, pack_result, run_sync
from buquet._context import AttemptInfo, TaskContext
from buquet._current import enter, occupy
from buquet._durations import Duration, seconds, wire_duration
from buquet._forked import ForkGuard, refuse_in_child
from buquet._in_thread import run_in_thread
from buquet._process_job import ProcessJob
from buquet._progress import Reporter
from buquet._results import delivery_of
from buquet._sending import send_async
from buquet.errors import BuquetError, InvalidError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._attempt import Attempt, Handler
    from buquet._client import Client
    from buquet._ops import Assignment
    from buquet._processes import ProcessPool
    from buquet._threads import ThreadPool
    from buquet._vault import Delivery

_logger = logging.getLogger("buquet.worker")

# How old a lease may be, in seconds, for the attempt's whole time to fit into it.
_LEASE_STALE = 1.0

Interruption: TypeAlias = Literal["timeout", "lost", "stopped", "cancelled"]
Ending: TypeAlias = Literal["done", "timeout", "lost", "stopped", "cancelled"]


class Run:
    """One attempt in this process. It ends once: by itself, by its deadline, or by an interruption.

    Its parts are callbacks rather than coroutines, since most attempts are short and many.
    """

    def __init__(
        self,
        client: Client,
        worker_id: str,
        assignment: Assignment,
        handler: Handler,
        ended: Callable[[Run, Ending], None],
        *,
        waits: Callable[[Run], None],
    ) -> None:
        """Take an assignment on; its time runs from now.

        :param ended: called once.
        :param waits: called when ``waiting`` changes.
        """
        self.assignment = assignment
        self.handler = handler
        self.loop = asyncio.get_running_loop()
        self.key = (assignment.id, assignment.lease)
        """The task and the lease: one task may come back under a new lease."""
        self._timeout = assignment.timeout_ms / 1000
        self.deadline = self.loop.time() + self._timeout
        self.work: Work | None = None
        self.is_lost = False
        self.is_called_off = False
        self._ending: Ending | None = None
        self.waiting = 0
        """How many tasks the handler waits for."""
        self._ended = ended
        self._waits = waits
        self._timer: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._leased = self.loop.time()
        self._client = client
        self._worker_id = worker_id
        self._home = os.getpid()
        self.info = AttemptInfo(
            id=assignment.id,
            type=assignment.type,
            attempt=assignment.attempt,
            retry_count=assignment.retry_count,
            max_retries=assignment.max_retries,
            deadline=self._wall_deadline(),
            submitted_at=assignment.submitted_at,
            tags=assignment.tags,
            metadata=assignment.metadata,
            parent=assignment.parent,
        )
        self._reporter: Reporter | None = None
        self.context = TaskContext(self.info, self)

    def start(self, threads: ThreadPool, processes: ProcessPool) -> None:
        """Start the handler where it belongs: on the loop, on a thread, or in a process."""
        handler = self.handler
        here = contextvars.copy_context()
        here.run(occupy, self)
        self._reporter = Reporter(self._client, self._worker_id, self.assignment)
        delivery = delivery_of(self._client.vault, self.assignment)
        if handler.is_async:
            task = self.loop.create_task(run_async(handler, delivery, self.context), context=here)
            self._watch(Work(task, task.cancel))
        elif handler.pool == "process":
            job = ProcessJob(handler, delivery, self.info, self, begin=self._begin)
            waiting = threads.run(lambda: processes.call(job))
            self._keeper = self.loop.create_task(self._keep_lease())
            self._watch(Work(waiting.future, job.kill), begun=False)
        else:
            thread_job = here.run(threads.run, lambda: run_sync(handler, delivery, self.context))
            self._watch(Work(thread_job.future, lambda: threads.abandon(thread_job)))

    def _watch(self, work: Work, *, begun: bool = True) -> None:
        self.work = work
        work.future.add_done_callback(lambda _: self._end("done"))
        if begun:
            self._arm()

    def _arm(self) -> None:
        self._timer = self.loop.call_at(self.deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        if self.loop.time() < self.deadline:  # an extension has moved it
            self._arm()
        else:
            self.interrupt("timeout")

    def interrupt(self, why: Interruption) -> None:
        """End the attempt: whatever it still comes to is dropped."""
        if why == "lost":
            self.is_lost = True
        self._end(why)

    def call_off(self) -> None:
        """Tell the handler to stop; what it then comes to counts. One in a process is ended at once."""
        if self.is_called_off or self._ending is not None:
            return
        self.is_called_off = True
        if self.handler.pool == "process":
            self.interrupt("cancelled")
        elif self.handler.is_async and self.work is not None:
            self.work.abandon()

    @property
    def keeps_secrets(self) -> bool:
        """Whether texts that may hold a task's data are not to be logged."""
        return self._client.keeps_secrets

    def called_off(self) -> bool:
        """Whether somebody wants the task called off."""
        return self.is_called_off

    def report(self, value: float, message: str | None) -> None:
        """Tell the engine how far the attempt has come, from any thread."""
        if self._reporter is not None and not self.lost() and os.getpid() == self._home:
            self._reporter.report(value, message)

    def after_reports(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the engine has all that was reported."""
        if self._reporter is None:
            then()
        else:
            self._reporter.then(then)

    def waits(self, by: int) -> None:
        """Note that the handler waits for one more task, or for one fewer."""
        if os.getpid() == self._home:
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self.loop.call_soon_threadsafe(self._waits_by, by)

    def _waits_by(self, by: int) -> None:
        self.waiting += by
        self._waits(self)

    def _end(self, ending: Ending) -> None:
        if self._ending is not None:
            return
        self._ending = ending
        if self._timer is not None:
            self._timer.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
        if self._reporter is not None:
            (self._reporter.close if ending == "lost" else self._reporter.finish)()
        if ending != "done" and self.work is not None:
            self.work.abandon()
        self._ended(self, ending)

    async def _keep_lease(self) -> None:
        """Keep the lease while no process is free to take the attempt."""
        while True:
            await asyncio.sleep(max(self._timeout / 2, _LEASE_STALE))
            await self._renew()

    async def _renew(self) -> None:
        self._leased = self.loop.time()
        try:
            await self._client.call_async(
                _ops.worker_extend(self._worker_id, self.assignment.id, self.assignment.lease, self._timeout)
            )
        except LeaseLostError:
            self.interrupt("lost")
        except BuquetError as error:
            _logger.warning("task %s: cannot keep the lease while it waits for a process: %s", self.info.id, error)

    def _begin(self) -> AttemptInfo:
        """Let the attempt's time run from now. Called from the thread of its process."""
        self.deadline = self.loop.time() + self._timeout
        self.info = msgspec.structs.replace(self.info, deadline=self._wall_deadline())
        with contextlib.suppress(RuntimeError):  # the loop is gone
            self.loop.call_soon_threadsafe(self._begun)
        return self.info

    def _begun(self) -> None:
        if self._ending is not None or self._keeper is None:
            return
        self._arm()
        self._keeper.cancel()
        if self.loop.time() - self._leased >= _LEASE_STALE:
            self._keeper = self.loop.create_task(self._renew())

    def lost(self) -> bool:
        """Whether the lease is gone, or given up by this worker: no result is taken any more."""
        return self.is_lost or self._ending not in {None, "done"}

    async def extend(self, by: Duration) -> datetime:
        """Move the deadline to ``by`` from now, if that is later, and the lease's expiry beyond it."""
        refuse_in_child(self._home)
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
        refuse_in_child(self._home)
        if _running_loop() is self.loop:
            raise InvalidError("extend_sync would block the event loop; write `await ctx.extend(...)` in async code")
        self._check_lease()
        return asyncio.run_coroutine_threadsafe(self.extend(by), self.loop).result()


class Work:
    """A started handler: the future of its attempt, and how to give it up."""

    __slots__ = ("abandon", "future")

    def __init__(self, future: asyncio.Future[Attempt], abandon: Callable[[], object]) -> None:
        """Bring both together."""
        self.future = future
        self.abandon = abandon


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def run_async(handler: Handler, delivery: Delivery, context: TaskContext) -> Attempt:
    """Call an ``async def`` handler. Never raises: what it raises is part of the answer."""
    enter(context.id)
    try:
        if delivery.is_remote:
            args, kwargs = await run_in_thread(lambda: bind(handler, delivery, context), "buquet-read")
        else:
            args, kwargs = bind(handler, delivery, context)
        with ForkGuard():
            result = await handler.function(*args, **kwargs)
        del args, kwargs  # which may be large
        parcel = pack_result(handler, delivery.vault, result)
        return completed(parcel, result, await send_async(delivery.vault, parcel, context.id))
    except GeneratorExit:  # the loop is gone, or the worker gives up a handler that ignores its cancellation
        raise
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, SystemExit too
        # Who cancels an attempt looks at its outcome no more; so this is the handler's own doing.
        return failed(handler, error)
