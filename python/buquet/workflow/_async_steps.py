"""Steps of an async body, and the futures that stand for what it asks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, TypeVarTuple, Unpack, cast, overload

from buquet.workflow import _asking
from buquet.workflow._loop import BodyFuture
from buquet.workflow._map import Bounds, FanOut, MapResult, scope_name
from buquet.workflow._signatures import check_step
from buquet.workflow._steps import StepCall, StepOptions

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping

    from buquet._context import TaskContext
    from buquet.workflow._core import Core
    from buquet.workflow._loop import BodyLoop, BodyTask
    from buquet.workflow._operations import Operation
    from buquet.workflow._scopes import Scope

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class OperationFuture(BodyFuture[T]):
    """Something that the body asked for: await it for what it brings; cancelled, it ends in the journal too."""

    def __init__(self, loop: BodyLoop, core: Core, operation: Operation) -> None:
        """Wait for an operation."""
        super().__init__(loop)
        self._core = core
        self.operation = operation
        operation.sink = self

    def cancel(self, msg: Any | None = None) -> bool:
        """End it: a step is asked to stop, and what it may give later is dropped."""
        if self.done():
            return False
        self._core.cancel(self.operation)
        return super().cancel(msg)

    def __await__(self) -> Generator[Any, None, T]:
        self._core.awaited(self.operation)
        return super().__await__()

    __iter__ = __await__  # pyright: ignore[reportAssignmentType]

    def result(self) -> T:
        """What it gave, once it has ended."""
        self._core.awaited(self.operation)
        return super().result()

    def exception(self) -> BaseException | None:
        """What it failed with, once it has ended."""
        self._core.awaited(self.operation)
        return super().exception()

    def add_done_callback(
        self, fn: Callable[[asyncio.Future[T]], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        """Also counts as awaiting it."""
        self._core.awaited(self.operation)
        super().add_done_callback(fn, context=context)


class CallbackFuture(OperationFuture[T]):
    """A callback: give its ``token`` to an outside system, in a step, and await what that completes it with."""

    token: str = ""


class AsyncSteps:
    """Steps with options. ``ctx.options(...)`` gives one, and a context is one with none."""

    def __init__(self, core: Core, loop: BodyLoop, given: StepOptions) -> None:
        """Ask for steps with these options."""
        self._core = core
        self._loop = loop
        self._given = given

    def options(self, **options: Unpack[StepOptions]) -> AsyncSteps:
        """The same with options for all steps asked for through it; those given beside the arguments go before.

        Here every argument of the step may be named, whatever options are called.

        Example::

            @workflow
            async def pay(ctx: WorkflowContext, order_id: str) -> str:
                return await ctx.options(retries=5, backoff="2s", compensate=refund).step(charge, order_id=order_id)
        """
        return AsyncSteps(self._core, self._loop, self._given | options)

    @overload
    def step(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> OperationFuture[R]: ...
    @overload
    def step(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> OperationFuture[R]: ...
    @overload
    def step(
        self, function: Callable[Concatenate[TaskContext, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> OperationFuture[R]: ...
    @overload
    def step(
        self, function: Callable[Concatenate[TaskContext, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> OperationFuture[R]: ...
    @overload
    def step(
        self, function: Callable[[Unpack[Ts]], Awaitable[R]], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> OperationFuture[R]: ...
    @overload
    def step(
        self, function: Callable[[Unpack[Ts]], R], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> OperationFuture[R]: ...
    def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> OperationFuture[Any]:
        """Ask for a step: a call of ``function`` that happens once, whatever crashes. Gives a future, at once.

        The function is plain or async and of a module; its arguments and result go through JSON. Options (see
        ``StepOptions``) stand beside its arguments; what it has a parameter for itself is an argument, and
        ``ctx.options(...)`` takes options of any name.

        :raises InvalidError: the function can be no step, or an option is wrong.
        :raises ArgumentError: the arguments do not fit the function's signature.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        :raises NotInBodyError: called in a step, or on another thread.

        Example::

            @workflow
            async def order(ctx: WorkflowContext, order_id: str) -> str:
                payment = await ctx.step(charge, order_id, retries=5, compensate=refund)
                return payment
        """
        return self._step(None, function, args, kwargs)

    start_step = step

    def _step(
        self, scope: Scope | None, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> OperationFuture[Any]:
        def ask(here: Scope) -> Operation:
            return _asking.ask_step(self._core, scope or here, StepCall(function, args, kwargs, self._given))

        return self._begin("step", ask)

    def _begin(self, call: str, ask: Callable[[Scope], Operation]) -> OperationFuture[Any]:
        if self._core.is_given_up:  # it would only ask again
            return cast("OperationFuture[Any]", self._loop.create_future())
        scope = self._core.check(call).scope
        return OperationFuture(self._loop, self._core, ask(scope))

    async def map(
        self,
        function: Callable[[A], Awaitable[R]] | Callable[[A], R],
        items: Iterable[A],
        /,
        *,
        name: str | None = None,
        max_concurrency: int | None = None,
        min_successful: int | None = None,
        tolerated_failures: int | None = None,
        tolerated_percentage: float | None = None,
    ) -> MapResult[R]:
        """Run one step for each item, given as its only argument; with ``enumerate(items)`` a pair with its index.

        Without further options it ends with the first failure. What still runs at the end is cancelled.

        :param name: of the scope in the journal (default: the function's qualified name).
        :param max_concurrency: how many may run at a time, 1 or more (default: all).
        :param min_successful: end as soon as so many have succeeded, 1 or more; as many may fail as leaves enough.
        :param tolerated_failures: how many may fail, 0 or more.
        :param tolerated_percentage: how many of a hundred may fail, 0 to 100. Of several rules the stricter counts.
        :raises InvalidError: a bound makes no sense, or the function can be no step.

        Example::

            @workflow
            async def resize(ctx: WorkflowContext, order_ids: list[str]) -> list[str]:
                charged = await ctx.map(charge, order_ids, max_concurrency=10, tolerated_percentage=5)
                return charged.results
        """
        values = list(items)
        bounds = Bounds(
            len(values),
            max_concurrency=max_concurrency,
            min_successful=min_successful,
            tolerated_failures=tolerated_failures,
            tolerated_percentage=tolerated_percentage,
        )
        scope = self._core.check("map").scope.child(scope_name(name or check_step(function).__qualname__))
        return await self._fan_out(
            len(values), bounds, lambda index: self._step(scope.at(str(index)), function, (values[index],), {})
        )

    async def parallel(
        self,
        *branches: Callable[[], Awaitable[R]],
        name: str = "parallel",
        max_concurrency: int | None = None,
        min_successful: int | None = None,
        tolerated_failures: int | None = None,
        tolerated_percentage: float | None = None,
    ) -> MapResult[R]:
        """Run branches of the body, each with steps of its own, by the rules of ``map``.

        :param branches: async functions without parameters. They are parts of the body and no steps: local functions
            and lambdas are welcome.
        :raises InvalidError: a bound makes no sense.
        """
        bounds = Bounds(
            len(branches),
            max_concurrency=max_concurrency,
            min_successful=min_successful,
            tolerated_failures=tolerated_failures,
            tolerated_percentage=tolerated_percentage,
        )
        scope = self._core.check("parallel").scope.child(scope_name(name))

        async def run(branch: Callable[[], Awaitable[R]]) -> R:
            return await branch()

        def start(index: int) -> BodyTask[R]:
            return self._loop.task_in(scope.at(str(index)), run(branches[index]))

        return await self._fan_out(len(branches), bounds, start)

    async def _fan_out(self, count: int, bounds: Bounds, start: Callable[[int], Any]) -> MapResult[Any]:
        over = self._loop.create_future()
        fan_out = FanOut[Any](count, bounds, start, lambda: over.done() or over.set_result(None))
        fan_out.go_on()
        try:
            await over
        except asyncio.CancelledError:
            fan_out.stop()
            raise
        return fan_out.result
