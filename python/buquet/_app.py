"""The app level: decorate functions, submit calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar, Unpack, cast, overload

from buquet import _ops
from buquet._address import Config
from buquet._cancelling import CancelCounts, CancelResult, cancel, cancel_many, filters
from buquet._checks import parent_id
from buquet._client import Client
from buquet._config import Configuration, config
from buquet._dead_letters_sync import SyncDeadLetters
from buquet._doctor import Diagnosis, doctor
from buquet._forking import whole
from buquet._functions import exception_types
from buquet._handle import TaskHandle
from buquet._hooks import HookRegistry
from buquet._identity import is_same, where
from buquet._ids import HasId, id_of, ids_of
from buquet._joining import group_of
from buquet._options import TASK_NAMES, check_declared, submit_options
from buquet._queue import Queue
from buquet._schedule_calls import AppSchedules
from buquet._schedules import ScheduledApp
from buquet._schemas import publishable, schema_put
from buquet._task import AsyncTaskFunction, BoundTask, TaskDecorator, TaskFunction, define
from buquet._workflows import WorkflowApp
from buquet.codecs import check_codecs
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from buquet._about import AboutOne
    from buquet._attempt import Pool
    from buquet._context import TaskContext
    from buquet._durations import Duration
    from buquet._group import TaskGroup
    from buquet._models import RetryPolicy, TaskPage, TaskStatus, Usage
    from buquet._worker import Worker
    from buquet._workflows import RunLimits
    from buquet.codecs import Codec

P = ParamSpec("P")
R = TypeVar("R")
# Named here, because inside the class `list` is the method.
CancelResults: TypeAlias = list[CancelResult]
AnyTask = TaskFunction[..., Any] | AsyncTaskFunction[..., Any]
ExceptionChoice = type[BaseException] | Collection[type[BaseException]]


class Buquet(ScheduledApp, WorkflowApp, HookRegistry):
    """A set of tasks and the queue they are submitted to.

    Nothing is opened before the first submit, so an app is cheap to import and
    safe to fork after. The queue's place is looked up as in ``connect``.

    :param url: ``s3://bucket/prefix``, ``sqlite:PATH`` or ``memory:``.
    :param region: the S3 region.
    :param endpoint: the S3 server's URL, for other than AWS.
    :param profile: the section of ``.buquet.toml`` to use.
    :param codecs: what inputs, results and errors pass through, in this order; see ``buquet.codecs``.

    Example::

        app = Buquet()

        @app.task(retries=5, timeout="2m")
        def thumbnail(path: str, size: int = 256) -> str: ...

        handle = thumbnail.submit("cat.png", size=128)
        print(handle.result(timeout=60))
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        profile: str | None = None,
        codecs: Iterable[Codec] = (),
    ) -> None:
        """Describe the app; nothing is opened yet."""
        super().__init__()
        config = Config(url=url, region=region, endpoint=endpoint, profile=profile)
        self._client = Client(config, codecs=check_codecs(codecs), reopens=True)
        self._tasks: dict[str, AnyTask] = {}

    def __repr__(self) -> str:
        """Show where the queue is and what is in the app."""
        return f"Buquet({self._client.config.address!r}, tasks={sorted(self._tasks)})"

    # A plain function may return a coroutine too; the overload for async ones is meant to win.
    @overload
    def task(  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTaskFunction[P, R]: ...
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTaskFunction[P, R]: ...
    @overload
    def task(self, function: Callable[Concatenate[TaskContext, P], R], /) -> TaskFunction[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        retries: int | None = None,
        backoff: RetryPolicy | Duration | None = None,
        retry_on: ExceptionChoice | None = None,
        no_retry_on: ExceptionChoice = (),
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        pool: Pool = "thread",
        schema: bool | dict[str, Any] | None = None,
        **about: Unpack[AboutOne],
    ) -> TaskDecorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        retries: int | None = None,
        backoff: RetryPolicy | Duration | None = None,
        retry_on: ExceptionChoice | None = None,
        no_retry_on: ExceptionChoice = (),
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        pool: Pool = "thread",
        schema: bool | dict[str, Any] | None = None,
        **about: Unpack[AboutOne],
    ) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(...)``.

        A parameter annotated ``TaskContext`` is filled in by the worker; put it
        first, so that type checkers leave it out of the signature of ``submit``.

        :param name: the type's name in the queue (default: the function's name).
        :param retries: attempts after the first, 0 or more (default 3).
        :param backoff: wait before the first retry (a duration), or a whole ``RetryPolicy``.
        :param retry_on: only these exception types are worth another attempt.
        :param no_retry_on: these are not, whatever ``retry_on`` says.
        :param timeout: how long one attempt may run, a duration (default 300 s).
        :param priority: 0 to 9, 9 runs first (default 5).
        :param delay: earliest start after the submit, a duration.
        :param pool: where a plain ``def`` runs: ``"thread"``, or ``"process"`` for CPU-bound work.
        :param schema: True publishes a JSON Schema derived from the annotations when a worker of the app starts,
            a dict publishes that one: from then on every input has to fit, whoever submits it.
        :param about: defaults of every submit, such as ``tags``, ``ttl`` or ``unique``, as for ``Queue.submit``.
        :raises InvalidError: the function or an option cannot be used, or the name is taken.
        """
        options = submit_options(
            retries=retries,
            backoff=backoff,
            timeout=timeout,
            priority=priority,
            delay=delay,
            about=about,
            beside=TASK_NAMES,
        )
        check_declared(options)
        only = None if retry_on is None else exception_types(retry_on, "retry_on")
        never = exception_types(no_retry_on, "no_retry_on")

        def decorate(function: Callable[..., Any]) -> AnyTask:
            if isinstance(function, BoundTask):
                raise InvalidError(
                    f"{function!r} is a task already: give @app.task once, next to the function, with @app.cron and "
                    "@app.every above it"
                )
            task = define(
                self._client,
                function,
                name=name,
                options=options,
                retry_on=only,
                no_retry_on=never,
                pool=pool,
                schema=schema,
            )
            self._add(task)
            return task

        return decorate if function is None else decorate(function)

    def _as_task(self, function: Any) -> Any:
        if not isinstance(function, BoundTask):
            return cast("Any", self.task()(function))
        task = cast("AnyTask", function)
        known = self._tasks.get(task.name)
        # Those submitted here would wait for ever: no worker of this app handles them.
        function = task.handler.function
        if known is None or not is_same(known.handler.function, function):
            raise InvalidError(
                f"task {task.name!r} of {where(function)} belongs to another app: declare its schedule there"
            )
        return task

    def _add(self, task: AnyTask) -> None:
        known = self._tasks.get(task.name)
        function = task.handler.function
        if known is not None and not is_same(known.handler.function, function):
            raise InvalidError(
                f"two tasks are named {task.name!r}: {where(known.handler.function)} and {where(function)}; "
                "give one of them another name="
            )
        self._tasks[task.name] = task

    @property
    def tasks(self) -> dict[str, AnyTask]:
        """The tasks by name."""
        return dict(self._tasks)

    @property
    def queue(self) -> Queue:
        """The same queue at the plain level: list, history, workers, usage."""
        return Queue(self._client)

    @property
    def schedules(self) -> AppSchedules:
        """The schedules of the queue: create them, look at them, enable, disable, trigger, fill in."""
        return AppSchedules(self._client)

    @property
    def dead_letters(self) -> SyncDeadLetters:
        """The failed tasks: list, replay, archive and purge them. For async code: ``app.queue.dead_letters``."""
        return SyncDeadLetters(self._client)

    def handle(self, task: str | HasId) -> TaskHandle[Any]:
        """A handle for a task whose id you kept, or that was listed; ``thumbnail.handle(id)`` is typed."""
        return TaskHandle(self._client, id_of(task))

    def group(self, tasks: Iterable[str | HasId]) -> TaskGroup[Any]:
        """A group of tasks whose ids you kept, or that were listed; ``thumbnail.group`` is typed. Reads nothing."""
        return group_of(self._client, tasks, self.handle)

    def list(
        self,
        *,
        status: Iterable[TaskStatus | str] | TaskStatus | str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name everywhere
        tag: str | None = None,
        parent: str | HasId | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> TaskPage:
        """Read one page of tasks, in no particular order; ``app.queue.list`` is the same for async code.

        Pass the page's ``cursor`` on to get the next one, until it is None.

        :param limit: most tasks of the page, 1 to 1000. Those that were stored together, such as by one ``map``, come
            together, so that there may be up to a hundred more.

        Example::

            for task in app.list(status="failed", tag="customer-7").tasks:
                print(task.id, task.error)
        """
        return self._client.call(_ops.list_tasks(status, type, limit, cursor, tag=tag, parent=parent_id(parent)))

    def cancel(
        self, tasks: Iterable[str | HasId], *, reason: str | None = None, by: str | None = None
    ) -> CancelResults:
        """Call tasks off, up to 100,000; see ``Queue.cancel``, which is the same for async code."""
        return self._client.call(cancel(ids_of(tasks), reason, by))

    def cancel_matching(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the field's name everywhere
        tag: str | None = None,
        parent: str | HasId | None = None,
        reason: str | None = None,
        by: str | None = None,
    ) -> CancelCounts:
        """Call off all waiting and running tasks of a type, with a tag, of a parent; see ``Queue.cancel_matching``."""
        wanted = filters(type, tag, parent_id(parent))
        return cancel_many(wanted, reason, by).run(self._client)

    def worker(
        self,
        *,
        concurrency: int | None = None,
        processes: int | None = None,
        prefetch: int | None = None,
        drain_timeout: Duration | None = None,
        **workflows: Unpack[RunLimits],
    ) -> Worker:
        """A worker for all tasks and workflows of this app; parameters as of ``Worker``.

        Example::

            with app.worker():                # in the background, on a thread
                print(thumbnail.submit("cat.png").result())

            asyncio.run(app.worker().run())   # until SIGTERM or Ctrl-C
        """
        # Imported here, so that producers do not pay for what workers need.
        with whole:
            from buquet._worker import Worker  # noqa: PLC0415

        worker = Worker(
            self.queue,
            concurrency=concurrency,
            processes=processes,
            prefetch=prefetch,
            drain_timeout=drain_timeout,
            **workflows,
        )
        worker.register(*self.workflows.values())
        for task in self._tasks.values():
            worker.add(cast("Any", task).handler)
        worker.add_hooks(self)
        worker.declarations.extend(self.declarations)
        return worker

    def usage(self) -> Usage:
        """Requests made by this app since its first call, and their price on S3."""
        return self._client.call(_ops.usage())

    async def usage_async(self) -> Usage:
        """Like ``usage``, for async code."""
        return await self._client.call_async(_ops.usage())

    def publish_schemas(self) -> bool:
        """Publish the schemas of the tasks that have one, as a worker does when it starts; whether anything changed.

        :raises InvalidError: no task has one, or it cannot be used.
        """
        found = publishable(task.handler for task in self._tasks.values())
        if not found:
            raise InvalidError("no task of this app has a schema; declare one with @app.task(schema=True)")
        return self._client.call(schema_put(found))

    def config(self) -> Configuration:
        """Every option, its value, and where that came from. Reaches no store; holds no secret."""
        return self._client.call(config())

    def doctor(self) -> Diagnosis:
        """Look at the store and the queue, and say what is wrong and what to do about it; see ``Queue.doctor``."""
        return self._client.call(doctor())

    def close(self) -> None:
        """Close the connection. What is under way ends with ``ClosedError``; the next call opens a new connection.

        So ``with app:`` may be entered again. A ``memory:`` store is empty then.
        """
        self._client.close()

    async def close_async(self) -> None:
        """Like ``close``, for async code."""
        await self._client.close_async()

    def __enter__(self) -> Self:
        """Give the app itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    async def __aenter__(self) -> Self:
        """Give the app itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self.close_async()
