"""What the contexts of both kinds of bodies offer."""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import msgspec

from buquet._checks import check_name
from buquet._durations import seconds, wire_time
from buquet.workflow._core import Compensation
from buquet.workflow._steps import StepCall, StepOptions
from buquet.workflow._suspended import ContinueAsNew

if TYPE_CHECKING:
    import logging
    import random
    from collections.abc import Callable, Generator

    from buquet._durations import Duration
    from buquet.workflow._core import Core, Runner
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._scopes import Scope

T = TypeVar("T")


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a run, as ``ctx.info`` has them: the same at every replay."""

    id: str
    name: str
    """The workflow's."""
    version: str | None
    """The version that the run was started with."""
    generation: int | str
    """How often this id was started."""
    execution: int
    """0, and one more with each ``continue_as_new``."""
    started_at: datetime
    deadline: datetime | None
    parent: str | None
    """The id of the run that started this one as its child."""


class SignalArm(NamedTuple):
    """A signal that ``ctx.select`` waits for."""

    name: str
    type: Any


class TimerArm(NamedTuple):
    """A time that ``ctx.select`` waits for. The same one may be given to several."""

    until: int


class Selected(NamedTuple):
    """What ``ctx.select`` found: the name of the arm that came first, and what it brought."""

    arm: str
    value: Any


class ContextBase:
    """What needs no waiting."""

    def __init__(self, core: Core, definition: WorkflowFunction[..., Any]) -> None:
        """Offer what the body's core can do."""
        self._core = core
        self._definition = definition

    def __repr__(self) -> str:
        """Show whose context this is."""
        return f"{type(self).__name__}({self._core.what} {self._core.start.id})"

    @property
    def info(self) -> RunInfo:
        """Which run this is."""
        start = self._core.start
        return RunInfo(
            id=start.id,
            name=self._definition.name,
            version=start.version,
            generation=start.generation,
            execution=start.execution,
            started_at=_time(start.at),
            deadline=None if start.deadline is None else _time(start.deadline),
            parent=start.parent,
        )

    def now(self) -> datetime:
        """The time of what the body was told last, in UTC: that of the store, and the same at every replay.

        Example::

            @workflow
            async def report(ctx: WorkflowContext) -> str:
                return f"of {ctx.now():%A}"
        """
        return _time(self._core.at)

    @property
    def random(self) -> random.Random:
        """A source of random numbers that gives the same ones at every replay. Each scope has its own."""
        return self._scope("random").random

    def uuid(self) -> uuid.UUID:
        """A random id, which is the same at every replay. Good for idempotency keys of other systems."""
        return uuid.UUID(int=self._scope("uuid").uuids.getrandbits(128), version=4)

    @property
    def log(self) -> logging.Logger:
        """A logger that is silent at a replay. What it is given is written when the round is stored."""
        return self._core.log

    def patched(self, name: str) -> bool:
        """Whether changed code may run here: True in runs that had not come here yet when it was deployed.

        The first answer counts for all of the run's execution, and is recorded.

        :param name: of the change; 1 to 128 of the characters of a task type.
        :raises InvalidError: it cannot be a name.

        Example::

            @workflow
            async def invoice(ctx: WorkflowContext, order_id: str) -> None:
                if ctx.patched("in-euros"):
                    await ctx.step(charge_in_euros, order_id)
                else:
                    await ctx.step(charge, order_id)
        """
        check_name(name, "the name of a patch")
        self._core.check("patched")
        return self._core.patched(name)

    def publish(self, name: str, value: object) -> None:
        """Let everybody read ``value`` under ``name`` while the run goes on. The next round stores it.

        :raises InvalidError: it cannot be a name, or the run has published too much: 1,000 values, or 64 KiB in all.
        :raises EncodeError: the value has no JSON form.
        """
        check_name(name, "the name of a published value")
        self._core.check("publish")
        self._core.publish(name, value)

    def on_rollback(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Call ``function``, as a step, if the run fails or is cancelled from here on.

        Those of all steps and calls of this run in reverse order, each recorded; one that fails does not stop the rest.

        :raises InvalidError: the function can be no step.
        :raises ArgumentError: the arguments do not fit the function's signature.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        """
        self._core.check("on_rollback")
        call = StepCall(function, args, kwargs, StepOptions())
        self._core.compensate(Compensation(lambda: call, None))

    def continue_as_new(self, *args: Any, **kwargs: Any) -> NoReturn:
        """End here and begin anew with these arguments and an empty journal. Never returns.

        The run keeps its id, what it has published, and signals that it has not read. Steps that run are cancelled,
        compensations are forgotten.

        :raises ArgumentError: they do not fit the workflow's signature.
        """
        self._core.check("continue_as_new")
        self._core.new_input = self._definition.signature.encode(args, kwargs)
        raise ContinueAsNew

    def timer(self, after: Duration) -> TimerArm:
        """A time for ``select``, ``after`` from now (a duration). It is set by this call: use it again and again."""
        return TimerArm(self._until(after, "after"))

    def signal(self, name: str, type: Any = Any) -> SignalArm:  # noqa: A002 - what it is
        """A signal for ``select``, and the type of its payload."""
        check_name(name, "a signal's name")
        return SignalArm(name, type)

    @contextlib.contextmanager
    def scope(self, name: str) -> Generator[None]:
        """A part of the body whose steps are counted on their own: what changes before it does not touch them.

        :param name: like that of a task type. The same one may be used again.

        Example::

            @workflow
            async def ship(ctx: WorkflowContext, order_ids: list[str]) -> None:
                for order_id in order_ids:
                    with ctx.scope("order"):
                        await ctx.step(charge, order_id)
        """
        check_name(name, "the name of a scope")
        runner = self._core.check("scope")
        before = runner.enter_scope(runner.scope.child(name))
        try:
            yield
        finally:
            runner.leave_scope(before)

    def _scope(self, call: str) -> Scope:
        return self._core.check(call).scope

    def _until(self, after: Duration, what: str) -> int:
        return self._core.at + round(seconds(after, what) * 1000)

    def _limit(self, timeout: Duration | None) -> int | None:
        return None if timeout is None else self._until(timeout, "timeout")

    def _runner(self, call: str) -> Runner:
        return self._core.check(call)


def milliseconds(at: datetime) -> int:
    """A point in time as the journal has it.

    :raises InvalidError: it has no time zone.
    """
    wire_time(at, "at")
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def _time(at: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
