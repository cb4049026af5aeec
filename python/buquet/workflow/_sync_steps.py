"""Steps of a plain ``def`` body, and what stands for those that it has not waited for yet."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    TypeVarTuple,
    Unpack,
    overload,
)

from buquet.workflow import _asking
from buquet.workflow._cancelled import RunCancelledError
from buquet.workflow._map import Bounds, FanOut, MapResult, scope_name
from buquet.workflow._signatures import check_step
from buquet.workflow._steps import StepCall, StepOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from buquet._context import TaskContext
    from buquet.workflow._core import Core
    from buquet.workflow._operations import Operation
    from buquet.workflow._scopes import Scope

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Waits(Protocol):
    """How the body's thread waits."""

    def wait(self, is_over: Callable[[], bool], cancel: Callable[[], object]) -> None:
        """Let the driver go on until it is over; ``cancel`` ends what is waited for, if the run is cancelled."""
        ...


class Pending(Generic[T]):
    """Something that the body asked for and may wait for: ``ctx.start_step`` and ``ctx.callback`` give it."""

    def __init__(self, core: Core, waits: Waits, operation: Operation) -> None:
        """Wait for an operation."""
        self._core = core
        self._waits = waits
        self._is_done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Any], object]] = []
        self.operation = operation
        operation.sink = self

    def done(self) -> bool:
        """Whether it has ended."""
        return self._is_done

    def result(self) -> T:
        """Wait for what it gives.

        :raises Exception: what it failed with.
        """
        self._core.awaited(self.operation)
        if not self._is_done:
            self._core.check("result")
            self._waits.wait(self.done, self.cancel)
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self) -> BaseException | None:
        """What it failed with; None if it has not, or has not ended."""
        self._core.awaited(self.operation)
        return self._error

    def cancel(self) -> bool:
        """End it: a step is asked to stop, and what it may give later is dropped."""
        if self._is_done:
            return False
        self._core.cancel(self.operation)
        self._end(None, RunCancelledError("it was cancelled"))
        return True

    def cancelled(self) -> bool:
        """Whether the body has ended it."""
        return isinstance(self._error, RunCancelledError)

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None:
        """Call ``fn`` with this when it has ended."""
        self._core.awaited(self.operation)
        self._callbacks.append(fn)

    def set_result(self, result: Any, /) -> None:
        """It ended with this; the body's runtime says so."""
        self._end(result, None)

    def set_exception(self, exception: Exception, /) -> None:
        """It failed with this; the body's runtime says so."""
        self._end(None, exception)

    def _end(self, value: Any, error: BaseException | None) -> None:
        self._is_done, self._value, self._error = True, value, error
        for callback in self._callbacks:
            callback(self)


class PendingCallback(Pending[T]):
    """A callback: give its ``token`` to an outside system, in a step, and wait for ``result()``."""

    token: str = ""


class SyncSteps:
    """Steps with options. ``ctx.options(...)`` gives one, and a context is one with none."""

    def __init__(self, core: Core, waits: Waits, given: StepOptions) -> None:
        """Ask for steps with these options."""
        self._core = core
        self._waits = waits
        self._given = given

    def options(self, **options: Unpack[StepOptions]) -> SyncSteps:
        """The same with options for all steps asked for through it; those given beside the arguments go before."""
        return SyncSteps(self._core, self._waits, self._given | options)

    @overload
    def step(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def step(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def step(
        self, function: Callable[Concatenate[TaskContext, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def step(self, function: Callable[Concatenate[TaskContext, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def step(
        self, function: Callable[[Unpack[Ts]], Awaitable[R]], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> R: ...
    @overload
    def step(self, function: Callable[[Unpack[Ts]], R], /, *args: *Ts, **options: Unpack[StepOptions]) -> R: ...
    def step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a step, a call of ``function`` that happens once, whatever crashes, and wait for its result.

        As ``WorkflowContext.step`` otherwise; async functions are welcome too.

        Example::

            @workflow
            def order(ctx: SyncWorkflowContext, order_id: str) -> str:
                return ctx.step(charge, order_id, retries=5, compensate=refund)
        """
        return self._step(None, function, args, kwargs).result()

    @overload
    def start_step(self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Pending[R]: ...
    @overload
    def start_step(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Pending[R]: ...
    @overload
    def start_step(
        self, function: Callable[[Unpack[Ts]], Awaitable[R]], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> Pending[R]: ...
    @overload
    def start_step(
        self, function: Callable[[Unpack[Ts]], R], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> Pending[R]: ...
    def start_step(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Pending[Any]:
        """Ask for a step and go on; ``result()`` of what this gives waits for it.

        Example::

            @workflow
            def order(ctx: SyncWorkflowContext, order_id: str) -> list[str]:
                both = [ctx.start_step(charge, order_id), ctx.start_step(charge, order_id + "b")]
                return [one.result() for one in both]
        """
        return self._step(None, function, args, kwargs)

    def _step(
        self, scope: Scope | None, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Pending[Any]:
        def ask(here: Scope) -> Operation:
            return _asking.ask_step(self._core, scope or here, StepCall(function, args, kwargs, self._given))

        return self._begin("step", ask)

    def _begin(self, call: str, ask: Callable[[Scope], Operation]) -> Pending[Any]:
        scope = self._core.check(call).scope
        return Pending(self._core, self._waits, ask(scope))

    def map(
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
        """Run one step for each item and wait for all that it takes. As ``WorkflowContext.map`` otherwise.

        :raises InvalidError: a bound makes no sense, or the function can be no step.
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
        fan_out = FanOut[Any](
            len(values),
            bounds,
            lambda index: self._step(scope.at(str(index)), function, (values[index],), {}),
            lambda: None,
        )
        fan_out.go_on()
        if fan_out.reason is None:
            self._waits.wait(lambda: fan_out.reason is not None, fan_out.stop)
        return fan_out.result
