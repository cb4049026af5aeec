"""The asks that both contexts make, and how their outcomes are read."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import UNSET

from buquet import _codec
from buquet._checks import check_name
from buquet._durations import seconds
from buquet._signature import TaskSignature
from buquet.errors import InvalidError
from buquet.workflow._context_base import Selected, SignalArm, TimerArm
from buquet.workflow._entries import Ask
from buquet.workflow._signatures import Arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buquet._durations import Duration
    from buquet._task import BoundTask
    from buquet.workflow._core import Compensation, Core
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._entries import Told
    from buquet.workflow._operations import Operation
    from buquet.workflow._scopes import Scope
    from buquet.workflow._steps import StepCall

MOST_ARMS = 100
ON_CLOSE = ("cancel", "abandon")


def nothing(_told: Told) -> None:
    """What a timer brings."""


def ask_step(core: Core, scope: Scope, call: StepCall) -> Operation:
    """Ask for a step."""
    return core.ask(scope, call.name, call.ask, call.decode, call=call)


def compensation_call(compensation: Compensation) -> StepCall:
    """The step that undoes another."""
    call = compensation.call()
    if compensation.op is not None:
        call.ask.compensates = compensation.op
    return call


def ask_timer(core: Core, scope: Scope, until: int) -> Operation:
    """Ask for a timer."""
    return core.ask(scope, "sleep", Ask(ask="timer", until=until), nothing)


def ask_signal(core: Core, scope: Scope, name: str, until: int | None, kind: Any) -> Operation:
    """Ask for a signal."""
    check_name(name, "a signal's name")
    return core.ask(scope, name, Ask(ask="signal", until=until), lambda told: _payload(told, name, kind))


def _payload(told: Told, name: str, kind: Any) -> Any:
    if told.outcome == "timeout":
        return None
    return _codec.decode(b"null" if told.payload is UNSET else told.payload, kind, f"the payload of signal {name!r}")


def ask_callback(core: Core, scope: Scope, until: int | None, heartbeat: Duration | None, kind: Any) -> Operation:
    """Ask for a callback."""
    ask = Ask(ask="callback", until=until)
    if heartbeat is not None:
        ask.heartbeat_ms = round(seconds(heartbeat, "heartbeat") * 1000)
        if ask.heartbeat_ms <= 0:
            raise InvalidError(f"heartbeat={heartbeat!r} must be more than 0 seconds")
    return core.ask(scope, "callback", ask, lambda told: _output(told, kind, "the result of a callback"))


def _output(told: Told, kind: Any, what: str) -> Any:
    return _codec.decode(b"null" if told.output is UNSET else told.output, kind, what)


def token_of(core: Core, operation: Operation) -> str:
    """What an outside system completes a callback with."""
    start = core.start
    return f"{start.id}.{start.generation}.{start.execution}.{operation.op}"


class _OneInput(Arguments):
    """The whole input of a task of the plain level."""

    @property
    def json(self) -> bytes:
        """The value itself."""
        return bytes(self._members["input"])


def _plain_task(input: Any = None) -> None:  # noqa: A002 - what it is called in the record
    del input


def check_poll(until: object) -> None:
    """Refuse a condition that would always be met.

    :raises InvalidError: it is async.
    """
    if inspect.iscoroutinefunction(until):
        raise InvalidError(
            f"until={until.__qualname__} is async; it is a plain function of what the check gives: let the check, "
            "which is a step, find out all that it needs"
        )


def ask_call(
    core: Core, scope: Scope, task: BoundTask[..., Any] | str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Operation:
    """Ask for a task of the queue."""
    ask = Ask(ask="call")
    if isinstance(task, str):
        check_name(task, "a task type")
        name, kind = task, Any
        arguments: Arguments = _OneInput(TaskSignature(_plain_task, task), args or (None,), kwargs)
    else:
        signature = cast("TaskSignature", task.handler.signature)
        name, kind = task.name, signature.returns
        arguments = Arguments(signature, args, kwargs)
        if options := msgspec.to_builtins(task.submit_options):
            ask.options = options
    ask.type, ask.args, ask.input = name, arguments.digests(), msgspec.Raw(arguments.json)
    what = f"the result of task {name!r}"
    return core.ask(scope, name, ask, lambda told: _output(told, kind, what), arguments=arguments)


def ask_child(
    core: Core,
    scope: Scope,
    workflow: WorkflowFunction[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
) -> Operation:
    """Ask for a run of another workflow."""
    on_close, run_id = options.get("on_close", "cancel"), options.get("id")
    if on_close not in ON_CLOSE:
        raise InvalidError(f"on_close={on_close!r} must be 'cancel' or 'abandon'")
    arguments = Arguments(workflow.signature, args, kwargs)
    ask = Ask(
        ask="child",
        workflow=workflow.name,
        on_close=on_close,
        args=arguments.digests(),
        input=msgspec.Raw(arguments.json),
    )
    if run_id is not None:
        ask.options = {"id": run_id}
    kind, what = workflow.signature.returns, f"the result of workflow {workflow.name!r}"
    return core.ask(scope, workflow.name, ask, lambda told: _output(told, kind, what), arguments=arguments)


def ask_select(core: Core, scope: Scope, arms: Mapping[str, Any], operations: Mapping[str, Operation]) -> Operation:
    """Ask for the first of several; ``operations`` are those of the arms that are futures."""
    written: dict[str, dict[str, Any]] = {}
    for label, arm in arms.items():
        if isinstance(arm, SignalArm):
            written[label] = {"signal": arm.name}
        elif isinstance(arm, TimerArm):
            written[label] = {"timer": arm.until}
        else:
            written[label] = {"op": operations[label].op}

    def decode(told: Told) -> Selected:
        label = told.arm or ""
        arm = arms.get(label)
        if isinstance(arm, SignalArm):
            return Selected(label, _payload(told, arm.name, arm.type))
        return Selected(label, None if arm is None or isinstance(arm, TimerArm) else arm.result())

    return core.ask(scope, "select", Ask(ask="select", arms=written), decode)


def check_arms(arms: Mapping[str, Any], is_future: Callable[[Any], bool]) -> None:
    """Refuse what a select cannot wait for.

    :raises InvalidError: it says which arm.
    """
    if not arms:
        raise InvalidError("select needs at least one arm, as in select(paid=ctx.signal('paid'), late=ctx.timer('1h'))")
    if len(arms) > MOST_ARMS:
        raise InvalidError(f"select has {len(arms)} arms; up to {MOST_ARMS} are possible")
    for label, arm in arms.items():
        check_name(label, "the name of an arm")
        if not (isinstance(arm, SignalArm | TimerArm) or is_future(arm)):
            raise InvalidError(
                f"arm {label!r} is {type(arm).__name__}; give ctx.signal(...), ctx.timer(...) or a step's future"
            )
