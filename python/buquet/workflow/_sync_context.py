"""The context of a plain ``def`` body, which runs on a thread: what it asks for, it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from buquet._durations import seconds
from buquet.errors import StepTimeoutError
from buquet.workflow import _asking
from buquet.workflow._context_base import ContextBase, Selected, milliseconds
from buquet.workflow._steps import StepOptions
from buquet.workflow._sync_steps import Pending, PendingCallback, SyncSteps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import datetime

    from buquet._durations import Duration
    from buquet._task import BoundTask
    from buquet.workflow._core import Compensation, Core
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._sync_steps import Waits

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class SyncWorkflowContext(SyncSteps, ContextBase):
    """What a plain ``def`` body asks for. Every method waits, but for those that give a ``Pending``.

    Example::

        @workflow
        def approval(ctx: SyncWorkflowContext, order_id: str) -> str:
            ctx.sleep("3d")
            approved = ctx.wait_signal("approved", timeout="7d", type=bool)
            return ctx.step(charge, order_id) if approved else "not approved"
    """

    def __init__(self, core: Core, definition: WorkflowFunction[..., Any], waits: Waits) -> None:
        """Belong to a body; it makes its own."""
        SyncSteps.__init__(self, core, waits, StepOptions())
        ContextBase.__init__(self, core, definition)

    def compensate(self, compensation: Compensation) -> None:
        """Run the step that undoes another. For the runtime alone."""
        call = _asking.compensation_call(compensation)
        Pending[Any](self._core, self._waits, _asking.ask_step(self._core, self._core.rollback_scope, call)).result()

    @overload
    def call(self, task: BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, task: str, input: Any = None, /) -> Any: ...
    def call(self, task: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a task of the queue, on any worker, and wait for its result. As ``WorkflowContext.call`` otherwise."""
        return self._begin("call", lambda scope: _asking.ask_call(self._core, scope, task, args, kwargs)).result()

    def child(self, workflow: WorkflowFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run another workflow and wait for its result."""
        return self.child_options().child(workflow, *args, **kwargs)

    def child_options(
        self,
        *,
        id: str | None = None,  # noqa: A002 - as at the start
        on_close: Literal["cancel", "abandon"] = "cancel",
    ) -> SyncChildStarter:
        """How a child run is started. As ``WorkflowContext.child_options``."""
        return SyncChildStarter(self, {"id": id, "on_close": on_close})

    def sleep(self, duration: Duration) -> None:
        """Wait (a duration). The run costs nothing meanwhile."""
        until = self._until(duration, "duration")
        self._begin("sleep", lambda scope: _asking.ask_timer(self._core, scope, until)).result()

    def sleep_until(self, at: datetime) -> None:
        """Wait until a point in time, an aware ``datetime``.

        :raises InvalidError: it has no time zone.
        """
        until = milliseconds(at)
        self._begin("sleep_until", lambda scope: _asking.ask_timer(self._core, scope, until)).result()

    @overload
    def wait_signal(self, name: str, *, timeout: Duration | None = None, type: type[T]) -> T | None: ...
    @overload
    def wait_signal(self, name: str, *, timeout: Duration | None = None) -> Any: ...
    def wait_signal(self, name: str, *, timeout: Duration | None = None, type: Any = Any) -> Any:  # noqa: A002
        """Wait for the next signal of this name; None when the timeout is over. As ``WorkflowContext.wait_signal``."""
        until = self._limit(timeout)
        return self._begin(
            "wait_signal", lambda scope: _asking.ask_signal(self._core, scope, name, until, type)
        ).result()

    @overload
    def signals(self, name: str, *, type: type[T]) -> Iterator[T]: ...
    @overload
    def signals(self, name: str) -> Iterator[Any]: ...
    def signals(self, name: str, *, type: Any = Any) -> Iterator[Any]:  # noqa: A002
        """The signals of this name, one after another, without an end."""
        while True:
            yield self.wait_signal(name, type=type)

    @overload
    def callback(
        self,
        *,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        type: type[T],
    ) -> PendingCallback[T]: ...
    @overload
    def callback(
        self, *, timeout: Duration | None = None, heartbeat: Duration | None = None
    ) -> PendingCallback[Any]: ...
    def callback(
        self,
        *,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        type: Any = Any,  # noqa: A002 - what it is
    ) -> PendingCallback[Any]:
        """Something that an outside system completes or fails, by its ``token``. As ``WorkflowContext.callback``."""
        until = self._limit(timeout)
        scope = self._core.check("callback").scope
        operation = _asking.ask_callback(self._core, scope, until, heartbeat, type)
        pending = PendingCallback[Any](self._core, self._waits, operation)
        pending.token = _asking.token_of(self._core, operation)
        return pending

    def poll(
        self,
        check: Callable[..., Awaitable[R]] | Callable[..., R],
        /,
        *args: Any,
        every: Duration | Callable[[int, R], Duration],
        until: Callable[[R], bool] = bool,
        timeout: Duration | None = None,
        initial: Any = ...,
    ) -> R:
        """Run the step ``check`` again and again until what it gives is met. As ``WorkflowContext.poll``.

        :raises StepTimeoutError: the time is over.
        """
        _asking.check_poll(until)
        most = self._limit(timeout)
        rounds, given = 0, args if initial is ... else (initial, *args)
        while True:
            state: R = self.step(cast("Callable[..., Any]", check), *given)
            rounds += 1
            if until(state):
                return state
            given = args if initial is ... else (state, *args)
            pause = every(rounds, state) if callable(every) else every
            if most is not None and self._core.at + seconds(pause, "every") * 1000 > most:
                raise StepTimeoutError(
                    "PollTimeout", f"{rounds} rounds did not meet the condition; the last gave {state!r}"
                )
            self.sleep(pause)

    def select(self, **arms: Any) -> Selected:
        """Wait for the first of several: ``ctx.signal(...)``, ``ctx.timer(...)`` or what ``ctx.start_step(...)`` gave.

        :raises InvalidError: an arm is something else.
        """
        _asking.check_arms(arms, lambda arm: isinstance(arm, Pending))
        pending = {label: cast("Pending[Any]", arm) for label, arm in arms.items() if isinstance(arm, Pending)}
        for one in pending.values():
            self._core.awaited(one.operation)
        for label, one in pending.items():
            if one.done():
                return Selected(label, one.result())
        operations = {label: one.operation for label, one in pending.items()}
        return self._begin("select", lambda scope: _asking.ask_select(self._core, scope, arms, operations)).result()


class SyncChildStarter:
    """Starts child runs as ``ctx.child_options(...)`` says."""

    def __init__(self, context: SyncWorkflowContext, options: dict[str, Any]) -> None:
        """Start them from this context's body."""
        self._context = context
        self._options = options

    def child(self, workflow: WorkflowFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run another workflow and wait for its result.

        :raises ArgumentError: the arguments do not fit the workflow's signature.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        """
        return self.start(workflow, *args, **kwargs).result()

    def start(self, workflow: WorkflowFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Pending[R]:
        """Ask for the run and go on; ``result()`` of what this gives waits for it."""
        context = self._context
        return context._begin(  # noqa: SLF001 - it is one of its own # pyright: ignore[reportPrivateUsage]
            "child",
            lambda scope: _asking.ask_child(context._core, scope, workflow, args, kwargs, options=self._options),  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        )
