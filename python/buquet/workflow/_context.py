"""The context of an async body: what it asks for are futures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from buquet._durations import seconds
from buquet.errors import StepTimeoutError
from buquet.workflow import _asking
from buquet.workflow._async_steps import AsyncSteps, CallbackFuture, OperationFuture
from buquet.workflow._context_base import ContextBase, Selected, milliseconds
from buquet.workflow._loop import BodyFuture
from buquet.workflow._steps import StepOptions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from buquet._durations import Duration
    from buquet._task import BoundTask
    from buquet.workflow._core import Compensation, Core
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._loop import BodyLoop
    from buquet.workflow._operations import Operation

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class WorkflowContext(AsyncSteps, ContextBase):
    """What an async body asks for. Every method that waits gives a future or a coroutine: ``await`` it.

    Example::

        @workflow
        async def approval(ctx: WorkflowContext, order_id: str) -> str:
            await ctx.sleep("3d")
            approved = await ctx.wait_signal("approved", timeout="7d", type=bool)
            return await ctx.step(charge, order_id) if approved else "not approved"
    """

    def __init__(self, core: Core, definition: WorkflowFunction[..., Any], loop: BodyLoop) -> None:
        """Belong to a body; it makes its own."""
        AsyncSteps.__init__(self, core, loop, StepOptions())
        ContextBase.__init__(self, core, definition)

    def compensate(self, compensation: Compensation) -> OperationFuture[Any]:
        """Ask for the step that undoes another. For the runtime alone."""
        call = _asking.compensation_call(compensation)
        return OperationFuture(self._loop, self._core, _asking.ask_step(self._core, self._core.rollback_scope, call))

    @overload
    def call(self, task: BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs) -> OperationFuture[R]: ...
    @overload
    def call(self, task: str, input: Any = None, /) -> OperationFuture[Any]: ...
    def call(self, task: Any, /, *args: Any, **kwargs: Any) -> OperationFuture[Any]:
        """Ask for a task of the queue, which any worker may run; the future gives its result.

        :param task: a task of an app, with its ``options(...)``; or a task type, whose input is the one argument.
        :raises ArgumentError: the arguments do not fit the task's signature.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        """
        return self._begin("call", lambda scope: _asking.ask_call(self._core, scope, task, args, kwargs))

    def child(self, workflow: WorkflowFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> OperationFuture[R]:
        """Ask for a run of another workflow; the future gives its result. ``child_options`` says how it is started."""
        return self.child_options().child(workflow, *args, **kwargs)

    def child_options(
        self,
        *,
        id: str | None = None,  # noqa: A002 - as at the start
        on_close: Literal["cancel", "abandon"] = "cancel",
    ) -> ChildStarter:
        """How a child run is started.

        :param id: its id (default: one derived from this run and the place in it).
        :param on_close: what becomes of it when this run ends first.

        Example::

            @workflow
            async def parent(ctx: WorkflowContext, order_id: str) -> str:
                return await ctx.child_options(id=f"order-{order_id}").child(order, order_id)
        """
        return ChildStarter(self, {"id": id, "on_close": on_close})

    def sleep(self, duration: Duration) -> OperationFuture[None]:
        """Wait (a duration). The run costs nothing meanwhile. A day is 24 hours, whatever clocks are turned."""
        until = self._until(duration, "duration")
        return self._begin("sleep", lambda scope: _asking.ask_timer(self._core, scope, until))

    def sleep_until(self, at: datetime) -> OperationFuture[None]:
        """Wait until a point in time, an aware ``datetime``.

        :raises InvalidError: it has no time zone.
        """
        until = milliseconds(at)
        return self._begin("sleep_until", lambda scope: _asking.ask_timer(self._core, scope, until))

    @overload
    def wait_signal(
        self,
        name: str,
        *,
        timeout: Duration | None = None,
        type: type[T],
    ) -> OperationFuture[T | None]: ...
    @overload
    def wait_signal(self, name: str, *, timeout: Duration | None = None) -> OperationFuture[Any]: ...
    def wait_signal(
        self,
        name: str,
        *,
        timeout: Duration | None = None,
        type: Any = Any,  # noqa: A002
    ) -> OperationFuture[Any]:
        """Wait for the next signal of this name, also one that was sent before; gives its payload.

        :param timeout: a duration; when it is over the result is None. Where None may be a payload, use ``select``.
        :param type: what the payload is decoded to. One that does not fit raises ``DecodeError``.
        """
        until = self._limit(timeout)
        return self._begin("wait_signal", lambda scope: _asking.ask_signal(self._core, scope, name, until, type))

    @overload
    def signals(self, name: str, *, type: type[T]) -> AsyncIterator[T]: ...
    @overload
    def signals(self, name: str) -> AsyncIterator[Any]: ...
    def signals(self, name: str, *, type: Any = Any) -> AsyncIterator[Any]:  # noqa: A002
        """The signals of this name, one after another, without an end: ``async for payload in ctx.signals("paid")``."""
        return _Signals(self, name, type)

    @overload
    def callback(
        self,
        *,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        type: type[T],
    ) -> CallbackFuture[T]: ...
    @overload
    def callback(
        self, *, timeout: Duration | None = None, heartbeat: Duration | None = None
    ) -> CallbackFuture[Any]: ...
    def callback(
        self,
        *,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        type: Any = Any,  # noqa: A002 - what it is
    ) -> CallbackFuture[Any]:
        """Something that an outside system completes or fails, by its ``token``.

        :param timeout: how long it may take, a duration.
        :param heartbeat: how long it may be silent, a duration.
        :param type: what its result is decoded to.
        :raises StepTimeoutError: when it is awaited: one of the two is over.

        Example::

            @workflow
            async def sign(ctx: WorkflowContext, order_id: str) -> str:
                signed = ctx.callback(timeout="7d", type=str)
                await ctx.step(ask_for_signature, order_id, signed.token)
                return await signed
        """
        until = self._limit(timeout)
        core = self._core
        if core.is_given_up:
            return cast("CallbackFuture[Any]", self._loop.create_future())
        scope = core.check("callback").scope
        operation = _asking.ask_callback(core, scope, until, heartbeat, type)
        future = CallbackFuture[Any](self._loop, core, operation)
        future.token = _asking.token_of(core, operation)
        return future

    async def poll(
        self,
        check: Callable[..., Awaitable[R]] | Callable[..., R],
        /,
        *args: Any,
        every: Duration | Callable[[int, R], Duration],
        until: Callable[[R], bool] = bool,
        timeout: Duration | None = None,
        initial: Any = ...,
    ) -> R:
        """Run the step ``check`` again and again until what it gives is met; gives that.

        :param every: the wait between two rounds, a duration; or a function of the number of rounds so far and of what
            the last one gave.
        :param until: whether it is met; a function of the body's, not a step (default: the value is true).
        :param timeout: give up after this duration.
        :param initial: given to the first round before ``args``; each later one gets what the one before gave.
        :raises StepTimeoutError: the time is over.

        Example::

            @workflow
            async def wait_for(ctx: WorkflowContext, order_id: str) -> str:
                return await ctx.poll(state_of, order_id, every="1m", until=lambda state: state == "paid", timeout="1d")
        """
        _asking.check_poll(until)
        most = self._limit(timeout)
        rounds, given = 0, args if initial is ... else (initial, *args)
        while True:
            state: R = await self.step(cast("Callable[..., Any]", check), *given)
            rounds += 1
            if until(state):
                return state
            given = args if initial is ... else (state, *args)
            pause = every(rounds, state) if callable(every) else every
            if most is not None and self._core.at + seconds(pause, "every") * 1000 > most:
                raise StepTimeoutError(
                    "PollTimeout", f"{rounds} rounds did not meet the condition; the last gave {state!r}"
                )
            await self.sleep(pause)

    def select(self, **arms: Any) -> OperationFuture[Selected]:
        """Wait for the first of several: ``ctx.signal(...)``, ``ctx.timer(...)`` or futures of this context.

        The others are left as they are: signals unread, timers unset, steps running.

        :raises InvalidError: an arm is something else.

        Example::

            @workflow
            async def approve(ctx: WorkflowContext, order_id: str) -> str:
                first = await ctx.select(approved=ctx.signal("approved"), late=ctx.timer("1h"))
                return first.arm
        """
        _asking.check_arms(arms, lambda arm: isinstance(arm, OperationFuture | _EndedSelect))
        operations: dict[str, Operation] = {}
        for label, arm in arms.items():
            if isinstance(arm, OperationFuture):
                future = cast("OperationFuture[Any]", arm)
                self._core.awaited(future.operation)
                operations[label] = future.operation
        for label, arm in arms.items():
            if isinstance(arm, BodyFuture) and arm.done():
                ended = _EndedSelect(self._loop)
                _settle(ended, label, cast("BodyFuture[Any]", arm))
                return cast("OperationFuture[Selected]", ended)
        selected = self._begin("select", lambda scope: _asking.ask_select(self._core, scope, arms, operations))
        if len(operations) == len(arms):
            _end_with_all(selected, [cast("OperationFuture[Any]", arm) for arm in arms.values()])
        return selected


class ChildStarter:
    """Starts child runs as ``ctx.child_options(...)`` says."""

    def __init__(self, context: WorkflowContext, options: dict[str, Any]) -> None:
        """Start them from this context's body."""
        self._context = context
        self._options = options

    def child(self, workflow: WorkflowFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> OperationFuture[R]:
        """Ask for a run of another workflow; the future gives its result.

        :raises ArgumentError: the arguments do not fit the workflow's signature.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        """
        context = self._context
        return context._begin(  # noqa: SLF001 - it is one of its own # pyright: ignore[reportPrivateUsage]
            "child",
            lambda scope: _asking.ask_child(context._core, scope, workflow, args, kwargs, options=self._options),  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        )


class _Signals(Generic[T]):
    def __init__(self, context: WorkflowContext, name: str, kind: Any) -> None:
        self._context = context
        self._name = name
        self._kind = kind

    def __aiter__(self) -> _Signals[T]:
        return self

    async def __anext__(self) -> T:
        return cast("T", await self._context.wait_signal(self._name, type=self._kind))


class _EndedSelect(BodyFuture[Selected]):
    """A select one of whose arms had ended already: nothing of it is in the journal."""


def _end_with_all(selected: asyncio.Future[Any], arms: list[OperationFuture[Any]]) -> None:
    """Cancel a select when the body has cancelled all that it waits for: nothing else could end it."""

    def look(_arm: asyncio.Future[Any]) -> None:
        if all(arm.cancelled() for arm in arms):
            selected.cancel()

    for arm in arms:
        arm.add_done_callback(look)


def _settle(ended: asyncio.Future[Any], label: str, future: asyncio.Future[Any]) -> None:
    """Let a select end at once, with an arm that has ended already."""
    if future.cancelled():
        ended.cancel()
    elif (error := future.exception()) is not None:
        ended.set_exception(error)
    else:
        ended.set_result(Selected(label, future.result()))
