"""What ``@app.workflow`` turns a function into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, Unpack, overload

from buquet._ids import HasId, id_of
from buquet.workflow import _workflow_ops as ops
from buquet.workflow._definition import WorkflowFunction
from buquet.workflow._handle import RunHandle, started
from buquet.workflow._starting import StartOptions, StartWith, calls_of, pack, split, start_options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from buquet._client import Call, Client
    from buquet.workflow._context import WorkflowContext
    from buquet.workflow._sync_context import SyncWorkflowContext

P = ParamSpec("P")
R = TypeVar("R")


class AppWorkflow(WorkflowFunction[P, R]):
    """A workflow of an app: ``start`` it, and workers of the app drive its runs."""

    def __init__(
        self,
        function: Callable[..., Any],
        client: Client,
        *,
        name: str | None,
        version: str | None,
        given: StartOptions,
    ) -> None:
        """Declare the function."""
        super().__init__(function, name=name, version=version)
        self._client = client
        self._given = given

    def options(self, **options: Unpack[StartWith]) -> Self:
        """The same workflow with options for what is started through it (see ``StartWith``).

        Here every argument of the body may be named, whatever options are called, and type checkers look at them.

        :raises InvalidError: an option is wrong.

        Example::

            order.options(id="order-17", timeout="30d").start("o-17")
        """
        given = start_options(options).over(self._given)
        return type(self)(self.function, self._client, name=self.name, version=self.version, given=given)

    @overload
    def start(self, /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    def start(self, /, *args: Any, id: str, **kwargs: Any) -> RunHandle[R]: ...
    def start(self, /, *args: Any, **kwargs: Any) -> RunHandle[R]:
        """Start a run; when this returns, it is stored. Options (see ``StartWith``) stand beside the arguments.

        What the body has a parameter for itself is an argument; ``options(...)`` takes options of any name.

        :raises ArgumentError: the arguments do not fit the body's signature. Nothing was stored.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        :raises ConflictError: the id belongs to a run of another workflow or input, or that is not to be started anew.
        :raises UnavailableError: the store does not answer; the run may or may not be stored.

        Example::

            run = order.start("o-17", id="order-17")
            print(run.result(timeout="1m"))
        """
        return self._started(self._client.call(self._start(args, kwargs)))

    @overload
    async def start_async(self, /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    async def start_async(self, /, *args: Any, id: str, **kwargs: Any) -> RunHandle[R]: ...
    async def start_async(self, /, *args: Any, **kwargs: Any) -> RunHandle[R]:
        """Like ``start``, for async code."""
        return self._started(await self._client.call_async(self._start(args, kwargs)))

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[Any, ops.Started]:
        arguments, options = split(self.signature.names, kwargs)
        given = start_options(options).over(self._given)
        return ops.start(self.name, self._pack(args, arguments), given)

    def start_many(self, calls: Iterable[Any]) -> list[RunHandle[R]]:
        """Start one run per item, up to 100 to a record; gives their handles in order.

        :param calls: the arguments of each run: a tuple of them, or its only one.
        :raises InvalidError: an item does not fit. Nothing was stored.
        :raises UnavailableError: the store does not answer; some may be stored.

        Example::

            runs = order.start_many(["o-17", "o-18"])
        """
        return [self.handle(run_id) for part in self._parts(calls) for run_id in self._client.call(part)]

    async def start_many_async(self, calls: Iterable[Any]) -> list[RunHandle[R]]:
        """Like ``start_many``, for async code."""
        return [
            handle for part in self._parts(calls) for handle in map(self.handle, await self._client.call_async(part))
        ]

    def _parts(self, calls: Iterable[Any]) -> list[Call[Any, list[str]]]:
        return many(self.name, [self._pack(args, {}) for args in calls_of(calls)], self._given)

    def handle(self, run: str | HasId) -> RunHandle[R]:
        """A typed handle for a run of this workflow whose id you kept, or that was listed. Reads nothing."""
        return RunHandle(self._client, id_of(run), self.signature.returns)

    def _pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return pack(self._client, self.name, lambda: self.signature.encode(args, kwargs))

    def _started(self, stored: ops.Started) -> RunHandle[R]:
        return started(self._client, stored, self.signature.returns)


def many(name: str, encoded: list[bytes], options: StartOptions) -> list[Call[Any, list[str]]]:
    """What starts very many runs, in parts.

    :raises InvalidError: an option is for a single run.
    """
    options = options.for_many()
    step = ops.START_MANY_LIMIT
    return [ops.start_many(name, encoded[start : start + step], options) for start in range(0, len(encoded), step)]


class AppWorkflowDecorator(Protocol):
    """What ``@app.workflow(...)`` is: it keeps the signature, less the context."""

    # A plain function may return a coroutine too; the overload for async ones is meant to win.
    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, R]], /
    ) -> AppWorkflow[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[SyncWorkflowContext, P], R], /) -> AppWorkflow[P, R]: ...
