"""What ``@app.task`` turns a function into."""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from buquet._attempt import ExceptionTypes, Handler, Pool
from buquet._calls import TaskCall
from buquet._context import TaskContext, local_context
from buquet._functions import check_function
from buquet._group import TaskGroup
from buquet._handle import TaskHandle
from buquet._ids import HasId, id_of
from buquet._joining import group_of
from buquet._names import no_attribute
from buquet._options import SubmitOptions, submit_options
from buquet._schemas import check_schema
from buquet._sending import submissions, submissions_async, submit, submit_async
from buquet._signature import TaskSignature
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from datetime import datetime

    from buquet import _ops
    from buquet._about import AboutOne, On
    from buquet._address import Config
    from buquet._client import Client
    from buquet._durations import Duration
    from buquet._models import RetryPolicy
    from buquet._vault import Parcel

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_SUBMIT = "submit it with .submit(...)"
_WITH_OPTIONS = "submit it with .options(...).submit(...)"
_ELSEWHERE = {
    "apply_async": _WITH_OPTIONS,
    "delay": _SUBMIT,
    "enqueue": _SUBMIT,
    "kiq": _SUBMIT,
    "s": "make a call for a group with .bind(...)",
    "schedule": _WITH_OPTIONS,
    "send": _SUBMIT,
    "send_with_options": _WITH_OPTIONS,
    "signature": "make a call for a group with .bind(...)",
}
"""What other queues call it, and how it is done here."""


class TakesOne(Protocol[A_contra, R_co]):
    """A task that can be called with one argument alone, as ``map`` does."""

    def submit(self, value: A_contra, /) -> TaskHandle[R_co]:
        """Store one call."""
        ...


class TaskDefinition:
    """A task as it was declared: its function, name, handler and default options."""

    def __init__(
        self, client: Client, function: Callable[..., Any], handler: Handler, signature: TaskSignature
    ) -> None:
        """Bring the parts together."""
        self.client = client
        self.function = function
        self.handler = handler
        self.signature = signature


class BoundTask(Generic[P, R]):
    """A task with its options: what ``.submit`` and ``.map`` hang on."""

    def __init__(self, definition: TaskDefinition, options: SubmitOptions) -> None:
        """Bind ``options`` to a task."""
        self._definition = definition
        self._options = options

    if not TYPE_CHECKING:  # or type checkers would let any name pass

        def __getattr__(self, name: str) -> Any:
            """Say what it is called here."""
            raise no_attribute(self, name, _ELSEWHERE)

    @property
    def name(self) -> str:
        """The task type's name in the queue."""
        return self._definition.handler.name

    @property
    def handler(self) -> Handler:
        """What a worker runs."""
        return self._definition.handler

    @property
    def submit_options(self) -> SubmitOptions:
        """What is submitted through it has these options."""
        return self._options

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Store one call; when this returns, it is durable. One round trip.

        :raises ArgumentError: the arguments do not fit the function's signature.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        :raises UnavailableError: the store does not answer; the task may or may not be stored.

        Example::

            handle = thumbnail.submit("cat.png", size=128)
            print(handle.result(timeout="1m"))
        """
        parcel = self._pack(args, kwargs)
        return self._stored(submit(self._definition.client.vault, self.name, parcel, self._options))

    async def submit_async(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Like ``submit``, for async code."""
        parcel = self._pack(args, kwargs)
        return self._stored(await submit_async(self._definition.client.vault, self.name, parcel, self._options))

    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R]:
        """A call with these arguments for ``group`` to submit, together with calls of other tasks. Stores nothing.

        :raises ArgumentError: the arguments do not fit the function's signature.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.

        Example::

            from buquet import group

            print(group(thumbnail.bind("cat.png"), thumbnail.options(priority=9).bind("dog.png", size=64)).results())
        """
        return TaskCall(self._definition.client, self.name, self._pack(args, kwargs), self._options, self._stored)

    def map(self: TakesOne[A, T], values: Iterable[A]) -> TaskGroup[T]:
        """Store one call per value, each passed as the only argument; about a hundred to a request.

        All are encoded, and checked against the schema if the task has one, before the first is stored.

        :raises InvalidError: a value does not fit; the message says which, counted from 0. Nothing was stored.
        :raises UnavailableError: the store does not answer; some may be stored.

        Example::

            group = thumbnail.map(["cat.png", "dog.png"])
            print(group.results())
        """
        task = cast("BoundTask[..., T]", self)
        return task.starmap((value,) for value in _several(values, "map"))

    async def map_async(self: TakesOne[A, T], values: Iterable[A]) -> TaskGroup[T]:
        """Like ``map``, for async code."""
        task = cast("BoundTask[..., T]", self)
        return await task.starmap_async((value,) for value in _several(values, "map_async"))

    def starmap(self, calls: Iterable[tuple[Any, ...]]) -> TaskGroup[R]:
        """Store one call per tuple of arguments, as ``map`` does for single ones.

        Type checkers cannot compare tuples with the function's parameters; they do with ``bind`` and ``group``.
        """
        client = self._definition.client
        parcels = [self._pack(args, {}) for args in _tuples(calls, "starmap")]
        handles: list[TaskHandle[R]] = []
        for call in submissions(client.vault, self.name, parcels, self._options):
            handles += map(self._new, client.call(call))
        return TaskGroup(client, handles)

    async def starmap_async(self, calls: Iterable[tuple[Any, ...]]) -> TaskGroup[R]:
        """Like ``starmap``, for async code."""
        client = self._definition.client
        parcels = [self._pack(args, {}) for args in _tuples(calls, "starmap_async")]
        handles: list[TaskHandle[R]] = []
        async for call in submissions_async(client.vault, self.name, parcels, self._options):
            handles += map(self._new, await client.call_async(call))
        return TaskGroup(client, handles)

    def options(
        self,
        *,
        retries: int | None = None,
        backoff: RetryPolicy | Duration | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        **about: Unpack[AboutOne],
    ) -> Self:
        """The same task with other options for what is submitted through it.

        :param retries: attempts after the first, 0 or more.
        :param backoff: wait before the first retry (a duration), or a whole ``RetryPolicy``.
        :param timeout: how long one attempt may run, a duration.
        :param priority: 0 to 9, 9 runs first.
        :param delay: earliest start from now, a duration. Not together with ``at``.
        :param at: earliest start, an aware datetime.
        :param about: ``tags``, ``metadata``, ``parent``, ``ttl`` or ``expires_at``, ``idempotency_key`` or ``unique``
            with ``unique_scope`` and ``unique_window``, as for ``Queue.submit``.
        :raises InvalidError: an option is wrong.

        Example::

            thumbnail.options(priority=9, delay="10m").submit("cat.png")
        """
        mine = submit_options(
            retries=retries,
            backoff=backoff,
            timeout=timeout,
            priority=priority,
            delay=delay,
            at=at,
            about=about,
            declared=self._options,
        )
        return type(self)(self._definition, mine.over(self._options))

    @property
    def client(self) -> Client:
        """The connection, for the layers above."""
        return self._definition.client

    def after(
        self, ids: Sequence[str], on: On, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, one: bool
    ) -> tuple[Parcel, SubmitOptions]:
        """Pack a call that gets what came of these tasks as its first argument; use ``handle.then`` instead.

        :raises ArgumentError: the other arguments do not fit the function's signature.
        :raises InvalidError: it is unique, or has no first parameter.
        """
        signature = self._definition.signature
        if self._options.known_by is not None:
            raise InvalidError(f"task {self.name!r} is unique, and a unique task cannot run after others")
        if not ids:  # of none nothing comes, and nothing is waited for
            return self._pack(([], *args), dict(kwargs)), self._options
        results = {"into": signature.takes_first, "one": one}
        options = SubmitOptions(after=list(ids), on=on, results=results).over(self._options)
        vault = self._definition.client.vault
        return vault.pack(lambda: signature.encode_rest(args, kwargs), "input", self.name), options

    def stored(self, task_id: str) -> TaskHandle[R]:
        """The handle of a task that was stored just now."""
        return self._new(task_id)

    def handle(self, task: str | HasId) -> TaskHandle[R]:
        """A typed handle for a task of this type whose id you kept, or that was listed. Reads nothing."""
        return self._handle(id_of(task))

    def group(self, tasks: Iterable[str | HasId]) -> TaskGroup[R]:
        """A typed group of tasks of this type whose ids you kept, or that were listed. Reads nothing."""
        return group_of(self._definition.client, tasks, self._handle)

    def encoded(self, arguments: Mapping[str, Any]) -> tuple[bytes, SubmitOptions]:
        """The input of a call with these arguments by name, and the options it would be submitted with."""
        return self._definition.signature.encode((), arguments), self._options

    def use(self, config: Config, *, is_local: bool) -> None:
        """Let the app use the queue of the worker that runs it in a process, unless it has opened one.

        :param is_local: the queue is in the worker's memory, out of reach.
        """
        client = self._definition.client
        if client.config.place != config.place:
            client.reconfigure(config)
        if is_local:
            client.refuse_to_open(
                "this queue is in the memory of its worker, and a handler with pool='process' runs in another process: "
                "use sqlite:PATH, or let the handler run on a thread"
            )

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        definition = self._definition
        args, kwargs = definition.signature.with_context(args, kwargs, lambda: local_context(self.name))
        return definition.function(*args, **kwargs)

    def _handle(self, task_id: str, *, created: bool | None = None) -> TaskHandle[R]:
        definition = self._definition
        return TaskHandle(definition.client, task_id, definition.signature.returns, created=created)

    def _stored(self, stored: _ops.Submitted) -> TaskHandle[R]:
        return self._handle(stored.id, created=stored.created)

    def _new(self, task_id: str) -> TaskHandle[R]:
        return self._handle(task_id, created=True)

    def _pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Parcel:
        definition = self._definition
        return definition.client.vault.pack(
            lambda: definition.signature.encode(args, kwargs, whole=self._options.known_by is not None),
            "input",
            self.name,
            known_by=self._options.known_by,
        )


class TaskFunction(BoundTask[P, R]):
    """A plain function that can also be submitted. Calling it just calls it."""

    def __init__(self, definition: TaskDefinition, options: SubmitOptions) -> None:
        """Take on the function's name, docstring and module."""
        super().__init__(definition, options)
        functools.update_wrapper(self, definition.function)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<task {self.name!r}>"

    def __reduce__(self) -> str:
        """Pickle by name, as functions are."""
        return self._definition.function.__qualname__

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now; a ``TaskContext`` it wants is made up."""
        return self._call(args, kwargs)


class AsyncTaskFunction(BoundTask[P, R]):
    """An ``async def`` function that can also be submitted. Calling it gives its coroutine."""

    def __init__(self, definition: TaskDefinition, options: SubmitOptions) -> None:
        """Take on the function's name, docstring and module."""
        super().__init__(definition, options)
        functools.update_wrapper(self, definition.function)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<async task {self.name!r}>"

    def __reduce__(self) -> str:
        """Pickle by name, as functions are."""
        return self._definition.function.__qualname__

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function here and now; a ``TaskContext`` it wants is made up."""
        return self._call(args, kwargs)


class TaskDecorator(Protocol):
    """What ``@app.task(...)`` is: it keeps the signature, less a leading ``TaskContext``."""

    # A plain function may return a coroutine too; the overload for async ones is meant to win.
    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


def define(
    client: Client,
    function: Callable[..., Any],
    *,
    name: str | None,
    options: SubmitOptions,
    retry_on: ExceptionTypes | None,
    no_retry_on: ExceptionTypes,
    pool: Pool,
    schema: bool | dict[str, Any] | None = None,
) -> TaskFunction[..., Any] | AsyncTaskFunction[..., Any]:
    """Turn a function into a task.

    :raises InvalidError: the function or an option cannot be used.
    """
    check_function(function, pool)
    kind = name if name is not None else function.__name__
    signature = TaskSignature(function, kind)
    handler = Handler(
        kind,
        function,
        signature,
        retry_on=retry_on,
        no_retry_on=no_retry_on,
        pool=pool,
        schema=check_schema(schema),
    )
    definition = TaskDefinition(client, function, handler, signature)
    return (AsyncTaskFunction if handler.is_async else TaskFunction)(definition, options)


def _several(values: Iterable[Any], method: str) -> Iterable[Any]:
    """Refuse what holds no values; text is none of its characters."""
    if isinstance(values, str | bytes) or not isinstance(cast("object", values), Iterable):
        shown = reprlib.repr(values)
        raise InvalidError(
            f"{method} takes a collection with a value for each call, not {type(values).__name__} ({shown}); "
            f"write {method}([{shown}]), or submit({shown}) for a single task"
        )
    return values


def _tuples(calls: Iterable[Any], method: str) -> Iterable[tuple[Any, ...]]:
    """The arguments of each call; text is no tuple of its characters."""
    if not isinstance(cast("object", calls), Iterable):
        raise InvalidError(
            f"{method} takes a collection with a tuple of arguments for each call, such as [(1, 2), (3, 4)], "
            f"not {type(calls).__name__} ({reprlib.repr(calls)})"
        )
    for index, args in enumerate(calls):
        if isinstance(args, str | bytes) or not isinstance(args, Iterable):
            shown = reprlib.repr(cast("object", args))
            raise InvalidError(
                f"call {index} of {method} must be a tuple of arguments, not {type(args).__name__} ({shown}); "
                f"write ({shown},), or use map, which passes each value as the only argument"
            )
        yield tuple(cast("Iterable[Any]", args))
