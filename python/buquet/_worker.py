"""The worker as users see it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from buquet._attempt import Handler, Pool
from buquet._cpus import available_cpus
from buquet._durations import Duration, seconds
from buquet._functions import check_function, exception_types
from buquet._hooks import HookRegistry
from buquet._models import check_count
from buquet._schedules import ScheduledWorker
from buquet._schemas import publishable, schema_put
from buquet._signature import PlainSignature
from buquet.errors import InvalidError

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from buquet._background import WorkerThread
    from buquet._config import Configuration
    from buquet._queue import Queue
    from buquet._runner import Runner
    from buquet.workflow._definition import WorkflowFunction


RUNS = 100
PLAIN_BODIES = 20
PLAIN_STEPS = 20


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's parameters, in seconds."""

    concurrency: int = 20
    processes: int | None = None
    prefetch: int | None = None
    drain_timeout: float = 25.0
    runs: int = RUNS
    plain_bodies: int = PLAIN_BODIES
    plain_steps: int = PLAIN_STEPS
    ends_stuck: bool = False
    """Whether the worker ends with an error once it has had no place left for a while."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's parameters as far as its program names them."""

    concurrency: int | None = None
    processes: int | None = None
    prefetch: int | None = None
    drain_timeout: float | None = None
    runs: int | None = None
    plain_bodies: int | None = None
    plain_steps: int | None = None
    ends_stuck: bool = False
    sharers: int = 1
    """Workers of this machine that share its CPUs, this one among them."""

    def over(self, configured: Configuration) -> Settings:
        """These, and where they say nothing, what is configured."""
        concurrency = configured.count("worker.concurrency") if self.concurrency is None else self.concurrency
        prefetch = configured.optional_count("worker.prefetch") if self.prefetch is None else self.prefetch
        processes = configured.optional_count("worker.pool_processes") if self.processes is None else self.processes
        if processes is None and self.sharers > 1:
            processes = max(1, available_cpus() // self.sharers)
        drain = configured.seconds("worker.drain") if self.drain_timeout is None else self.drain_timeout
        return Settings(
            concurrency=concurrency,
            processes=processes,
            prefetch=prefetch,
            drain_timeout=drain,
            runs=RUNS if self.runs is None else self.runs,
            plain_bodies=PLAIN_BODIES if self.plain_bodies is None else self.plain_bodies,
            plain_steps=PLAIN_STEPS if self.plain_steps is None else self.plain_steps,
            ends_stuck=self.ends_stuck,
        )


F = TypeVar("F", bound=Callable[..., Any])


class Worker(ScheduledWorker, HookRegistry):
    """Runs tasks of a queue: ``async def`` on the loop, ``def`` on threads or in processes.

    :param queue: the queue, from ``connect``.
    :param concurrency: most tasks at a time, 1 or more (default: the option ``worker.concurrency``, 20).
    :param processes: most processes for ``pool="process"`` (default: ``worker.pool_processes``, else as many as
        this process may use CPUs).
    :param prefetch: tasks claimed ahead of free capacity (default: ``worker.prefetch``, else the engine's choice).
    :param drain_timeout: how long running tasks may go on after SIGTERM or Ctrl-C, a duration
        (default: the option ``worker.drain``, 25 s).
    :param runs: most runs of workflows that it drives at a time, beside the tasks; those that wait for a signal or a
        timer take no place (default 100).
    :param plain_bodies: most of these whose workflow is a plain ``def``, each of which takes a thread (default 20).
    :param plain_steps: most plain ``def`` steps at a time, on threads (default 20).
    :raises InvalidError: a parameter is out of its range.

    Example::

        worker = Worker(queue, concurrency=20)

        @worker.task("send_email")
        async def send_email(input): ...

        await worker.run()

    Running in the background, it drains at the end of the block::

        async with worker:
            print(await (await queue.submit("send_email", {"to": "a@b.c"})))
    """

    def __init__(
        self,
        queue: Queue,
        *,
        concurrency: int | None = None,
        processes: int | None = None,
        prefetch: int | None = None,
        drain_timeout: Duration | None = None,
        runs: int | None = None,
        plain_bodies: int | None = None,
        plain_steps: int | None = None,
    ) -> None:
        """Describe the worker; nothing is claimed before it runs."""
        super().__init__()
        check_count(prefetch, "prefetch")
        self._queue = queue
        self._wanted = Wanted(
            concurrency=_at_least_one(concurrency, "concurrency"),
            processes=_at_least_one(processes, "processes"),
            prefetch=prefetch,
            runs=_at_least_one(runs, "runs"),
            plain_bodies=_at_least_one(plain_bodies, "plain_bodies"),
            plain_steps=_at_least_one(plain_steps, "plain_steps"),
            drain_timeout=None if drain_timeout is None else seconds(drain_timeout, "drain_timeout"),
        )
        self._handlers: dict[str, Handler] = {}
        self._workflows: dict[str, WorkflowFunction[..., Any]] = {}
        self._runner: Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background: asyncio.Future[None] | None = None
        self._thread: WorkerThread | None = None

    def __repr__(self) -> str:
        """Show what the worker takes."""
        concurrency, taken = self._wanted.concurrency, sorted([*self._handlers, *self._workflows])
        return f"{type(self).__name__}({taken}{'' if concurrency is None else f', concurrency={concurrency}'})"

    def task(
        self,
        name: str,
        *,
        retry_on: type[BaseException] | Collection[type[BaseException]] | None = None,
        no_retry_on: type[BaseException] | Collection[type[BaseException]] = (),
        pool: Pool = "thread",
    ) -> Callable[[F], F]:
        """Handle tasks of the type ``name`` with the decorated function.

        It gets the input, decoded to its parameter's annotation, and the context
        in a parameter annotated ``TaskContext``. The function itself stays as it is.

        :param name: the type name that producers submit under.
        :param retry_on: only these exception types are worth another attempt.
        :param no_retry_on: these are not, whatever ``retry_on`` says.
        :param pool: where a plain ``def`` runs: ``"thread"``, or ``"process"`` for CPU-bound work.
        :raises InvalidError: the function cannot be used, or the name is taken.
        """
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidError('name the task type: @worker.task("send_email")')
        only = None if retry_on is None else exception_types(retry_on, "retry_on")
        never = exception_types(no_retry_on, "no_retry_on")

        def decorate(function: F) -> F:
            check_function(function, pool)
            signature = PlainSignature(function, name)
            self.add(Handler(name, function, signature, retry_on=only, no_retry_on=never, pool=pool))
            return function

        return decorate

    def _handle_with(self, kind: str, function: Callable[..., Any]) -> None:
        self.task(kind)(function)

    def add(self, handler: Handler) -> None:
        """Take on a handler. ``task`` and ``Buquet.worker`` use this."""
        if handler.name in self._handlers:
            raise InvalidError(f"this worker has a handler for {handler.name!r} already")
        self._handlers[handler.name] = handler

    def register(self, *workflows: WorkflowFunction[..., Any]) -> None:
        """Drive the runs of these workflows.

        :raises InvalidError: one is no workflow, or there is another of its name.

        Example::

            worker = Worker(queue)
            worker.register(order)
            await worker.run()
        """
        if not workflows:
            return
        from buquet.workflow._registering import register  # noqa: PLC0415 - who has no workflows does not pay for them

        register(self._workflows, workflows)

    @property
    def id(self) -> str | None:
        """The id in the queue, of this run or the last one; None before the first."""
        return (self._runner.worker_id or None) if self._runner else None

    @property
    def attempts(self) -> int:
        """Attempts started in this run or the last one."""
        return self._runner.attempts if self._runner else 0

    async def run(self, *, handle_signals: bool = True) -> None:
        """Work until drained or stopped.

        The first SIGTERM, SIGHUP or Ctrl-C drains, the second stops at once; either way
        the leases are given back, so nothing waits for them to run out.

        :param handle_signals: install those handlers (in the main thread only).
        :raises InvalidError: there is no task to run, the worker runs already, or a task for a process cannot be sent
            there with its exception types and codecs.
        :raises BuquetError: the store refuses the worker, or a startup hook raised.
        """
        # Imported here, so that describing a worker does not cost what running one does.
        from buquet._background import signals  # noqa: PLC0415

        with signals(self.drain, self.stop) if handle_signals else nullcontext():
            await self._run_from(lambda: None)

    def end_if_stuck(self) -> None:
        """Let the worker end with an error once attempts that do not return have held all its places for a minute.

        For programs that somebody starts again, such as ``buquet worker``.
        """
        self._wanted = msgspec.structs.replace(self._wanted, ends_stuck=True)

    def share_cpus(self, sharers: int) -> None:
        """Let so many workers, this one among them, share the CPUs, unless a number of processes is set.

        For programs that run several, such as ``buquet worker --processes``.
        """
        self._wanted = msgspec.structs.replace(self._wanted, sharers=sharers)

    async def _run_from(self, started: Callable[[], None]) -> None:
        """Do as ``run`` without signals, and call ``started`` once tasks can be taken."""
        from buquet._config import config  # noqa: PLC0415 - as in run
        from buquet._loop_channel import get_running_loop  # noqa: PLC0415 - as in run
        from buquet._runner import Runner  # noqa: PLC0415 - as in run

        if not self._handlers and not self._workflows:
            raise InvalidError(
                "this worker has no tasks; decorate a function with @worker.task(...), or give a workflow to "
                "worker.register(...)"
            )
        if self._loop is not None:
            raise InvalidError("this worker runs already")
        self._loop = get_running_loop()
        try:
            # Not awaited: whoever tells this worker to drain must find its runner. No store is asked.
            settings = self._wanted.over(self._queue.client.call(config()))
            self._runner = Runner(
                self._queue.client,
                self._handlers,
                self._workflows,
                hooks=self.hooks,
                settings=settings,
                declarations=self.declarations,
            )
            if schemas := publishable(self._handlers.values()):
                await self._queue.client.call_async(schema_put(schemas))
            await self._runner.run(started)
        finally:
            self._loop = None

    def drain(self) -> None:
        """Take nothing more and end when what runs has ended. From any thread; returns at once."""
        self._tell("drain")

    def stop(self) -> None:
        """End now and give back what runs. From any thread; returns at once."""
        self._tell("stop")

    def _tell(self, what: str) -> None:
        runner, loop = self._runner, self._loop
        if runner is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(getattr(runner, what))

    async def __aenter__(self) -> Self:
        """Start in the background of the running loop."""
        from buquet._background import start  # noqa: PLC0415 - as in run

        self._background = await start(self._run_from)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain, or stop at once if the block raised, and wait for the end."""
        if self._background is not None:
            (self.stop if kind is not None else self.drain)()
            await self._background
            self._background = None

    def __enter__(self) -> Self:
        """Start in the background, on a thread with an event loop of its own."""
        from buquet._background import WorkerThread  # noqa: PLC0415 - as in run

        self._thread = WorkerThread(self._run_from)
        self._thread.start_and_wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain, or stop at once if the block raised, and wait for the end."""
        if self._thread is not None:
            (self.stop if kind is not None else self.drain)()
            self._thread.finish()
            self._thread = None


def _at_least_one(value: object, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidError(f"{name}={value!r} must be a whole number, 1 or more")
    return value
