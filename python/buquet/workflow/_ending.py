"""How a body ended, in the journal's terms."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from buquet import _codec
from buquet.errors import DecodeError, EncodeError, WorkflowError
from buquet.workflow._entries import ErrorInfo
from buquet.workflow._failures import record
from buquet.workflow._forbidden import refusal
from buquet.workflow._suspended import ContinueAsNew

if TYPE_CHECKING:
    from buquet.workflow._core import Core
    from buquet.workflow._definition import WorkflowFunction

_NESTED = (
    "asyncio.run() cannot be called",
    "Runner.run() cannot be called",
    "Cannot run the event loop while another",
    "This event loop is already",
)


class Ended(msgspec.Struct, kw_only=True, frozen=True):
    """How a body ended."""

    status: Literal["completed", "failed", "cancelled", "continued"]
    output: bytes | None = None
    """Of a completed run, its result's JSON."""
    input: bytes | None = None
    """Of one that goes on as new, its new input's JSON."""
    error: ErrorInfo | None = None
    exception: BaseException | None = None
    """What the body raised."""


def completed(definition: WorkflowFunction[..., Any], result: object) -> Ended:
    """The body returned.

    :raises EncodeError: its result has no JSON form, or not the annotated type.
    """
    what = f"the result of workflow {definition.name!r}"
    raw = _codec.encode(result, what)
    try:
        _codec.decode(raw, definition.signature.returns, what)
    except DecodeError as error:
        raise EncodeError(str(error)) from error
    return Ended(status="completed", output=raw)


def continued(core: Core) -> Ended:
    """The body goes on as a new execution."""
    return Ended(status="continued", input=core.new_input)


def goes_on(error: BaseException) -> bool:
    """Whether this is what ``continue_as_new`` raises, or a task group that one of its tasks has left by that."""
    if isinstance(error, BaseExceptionGroup):
        return any(goes_on(each) for each in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return isinstance(error, ContinueAsNew)


def failed(core: Core, error: BaseException, failures: list[Exception]) -> Ended:
    """The body raised ``error``; ``failures`` are those of what was to undo its steps."""
    if isinstance(error, RuntimeError) and str(error).startswith(_NESTED):
        nested = refusal("asyncio.run, which runs another event loop")
        nested.__cause__ = error
        error = nested
    if core.is_stuck and isinstance(error, asyncio.CancelledError):
        error = WorkflowError(
            f"the body of {core.what} waits for something that cannot come: nothing that it has asked for is open; "
            "look for an event that nobody sets, a queue that nobody fills, or a task that awaits itself"
        )
    for failure in failures:
        error.add_note(f"Undoing a step failed: {type(failure).__name__}: {failure}")
    wanted = core.cancelled is not None and isinstance(error, asyncio.CancelledError)
    return Ended(status="cancelled" if wanted else "failed", error=record(error), exception=error)
