"""Every exception that buquet raises, in one tree.

::

    BuquetError
    ├── InvalidError (also ValueError)      an argument or option is wrong; nothing was stored
    │   ├── ArgumentError (also TypeError)  the arguments do not fit the task's signature
    │   └── EncodeError                     a value has no JSON form
    ├── DecodeError (also ValueError)       stored JSON does not fit the annotated type
    │   └── CodecError                      a codec is missing, or cannot encode or decode
    ├── ConfigError                         URL, environment variable or .buquet.toml is wrong
    ├── NotFoundError (also LookupError)    no such task, worker, schedule or schema
    ├── ConflictError                       a key or a run's id belongs to something else; nothing was stored
    ├── LayoutError                         the bucket was written by an incompatible buquet
    ├── CorruptError                        a stored object cannot be read as what it should be
    ├── LeaseLostError                      another worker has, or may have, taken the task over
    ├── DeniedError                         credentials, permissions or a missing bucket
    ├── UnsupportedError                    the store cannot keep what buquet promises
    ├── UnavailableError                    the store does not answer; try again later
    ├── WaitTimeoutError (also TimeoutError)  the time the caller gave is up
    ├── ClosedError                         the connection or worker was closed while this ran, or before
    ├── InternalError                       a defect in buquet itself; please report it
    ├── TaskFailedError                     the task ended without a result; carries the task
    │   ├── TaskCancelledError              somebody called it off
    │   └── TaskExpiredError                nobody started it in its time
    ├── WorkflowFailedError                 the run of a workflow ended without a result; carries the run
    │   └── WorkflowCancelledError          somebody cancelled it
    ├── RunEndedError                       the run has ended, and hears of nothing more
    ├── WorkflowError                       a workflow's code is wrong, or no longer fits a run
    │   ├── MismatchError                   the code asks for something else than the run's journal has
    │   ├── NotDeterministicError           a body did what only steps may: sockets, threads, a clock
    │   ├── NotInBodyError                  the context was used outside of its body, such as in a step
    │   ├── NotAwaitedError                 a body returned and left a step that nobody awaited
    │   ├── MapError                        too many items of a map failed; carries its result
    │   └── StepError                       a step failed, with an exception that cannot be made again here
    │       ├── StepCancelledError          what the body waits for was cancelled by somebody else
    │       └── StepTimeoutError (also TimeoutError)  a callback, a poll or a step did not end in its time
    └── HandlerError                        raised *by* handlers, to steer what happens next
        ├── RetryableError                  try again, after a delay of the handler's choice
        ├── PermanentError                  fail now, whatever retries are left
        ├── RescheduleError                 run again later, without spending a retry
        └── StoppedError                    stop, since somebody called the task off

Every class has a ``code``, the name that crosses the C ABI and appears in ``--json`` output. Those of one branch may
share it: ``ArgumentError`` and ``EncodeError`` are ``invalid``, ``CodecError`` is ``decode``, and those that a handler
raises are ``handler``, but for ``StoppedError``, which is ``stopped``.

A body that is cancelled gets an ``asyncio.CancelledError``, which is no ``Exception`` and stands in no tree of ours; a
plain ``def`` body gets ``buquet.workflow.RunCancelledError``, which is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Self

    from buquet._durations import Duration
    from buquet._models import Task
    from buquet.workflow import MapResult
    from buquet.workflow._models import WorkflowRun

__all__ = [
    "ArgumentError",
    "BuquetError",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "ConflictError",
    "CorruptError",
    "DecodeError",
    "DeniedError",
    "EncodeError",
    "HandlerError",
    "InternalError",
    "InvalidError",
    "LayoutError",
    "LeaseLostError",
    "MapError",
    "MismatchError",
    "NotAwaitedError",
    "NotDeterministicError",
    "NotFoundError",
    "NotInBodyError",
    "PermanentError",
    "RescheduleError",
    "RetryableError",
    "RunEndedError",
    "StepCancelledError",
    "StepError",
    "StepTimeoutError",
    "StoppedError",
    "TaskCancelledError",
    "TaskExpiredError",
    "TaskFailedError",
    "UnavailableError",
    "UnsupportedError",
    "WaitTimeoutError",
    "WorkflowCancelledError",
    "WorkflowError",
    "WorkflowFailedError",
]


class BuquetError(Exception):
    """The root: catch this to catch everything buquet raises on purpose."""

    code: ClassVar[str] = "error"


class InvalidError(BuquetError, ValueError):
    """An argument or option is wrong. Nothing was stored; change the argument."""

    code = "invalid"


class ArgumentError(InvalidError, TypeError):
    """The arguments do not fit the task's signature. Nothing was stored."""


class EncodeError(InvalidError):
    """A value has no JSON form (a function, NaN, an open file). Nothing was stored."""


class DecodeError(BuquetError, ValueError):
    """Stored JSON does not fit the type that the annotation promises."""

    code = "decode"


class CodecError(DecodeError):
    """A codec is not here, or cannot encode or decode.

    ``may_help`` says whether another attempt may: another worker may have the key or the codec that is missing here.
    A codec that raises it has its text stored and logged in plain.
    """

    may_help: bool = True
    is_in_plain: bool = False
    """Whether its text is stored as it is: that of codecs and of buquet is, that of a handler is not."""

    def __init__(self, message: str = "", *, may_help: bool = True) -> None:
        """Say what is missing or wrong; never with a secret in it."""
        super().__init__(message)
        self.may_help = may_help

    def in_plain(self) -> Self:
        """The same error, whose text holds nothing of what codecs are to hide."""
        self.is_in_plain = True
        return self


class ConfigError(BuquetError):
    """The configuration is wrong: the URL, an environment variable, or ``.buquet.toml``."""

    code = "config"


class NotFoundError(BuquetError, LookupError):
    """There is no such task, worker, schedule or schema in this queue."""

    code = "not_found"


class ConflictError(BuquetError):
    """The idempotency key belongs to a task of another type or input, or the id to another run; nothing was stored.

    Also where the run that is meant was started anew, or a retry is impossible.
    """

    code = "conflict"


class LayoutError(BuquetError):
    """The bucket was written by an incompatible version of buquet."""

    code = "layout"


class CorruptError(BuquetError):
    """A stored object cannot be read as what it should be. It was set aside, not changed."""

    code = "corrupt"


class LeaseLostError(BuquetError):
    """The lease is gone: another worker has, or may have, taken over. Drop the result."""

    code = "lease_lost"


class DeniedError(BuquetError):
    """The store refuses: wrong credentials, missing permissions, or a missing bucket."""

    code = "denied"


class UnsupportedError(BuquetError):
    """The store lacks conditional writes or another thing that buquet's promises rest on.

    Also when this build of buquet leaves the operation out.
    """

    code = "unsupported"


class UnavailableError(BuquetError):
    """The store did not answer for as long as the retry budget lasted. Try again later.

    Also when this process cannot take more: too many operations wait, or the system
    refused a thread or a descriptor.
    """

    code = "unavailable"


class WaitTimeoutError(BuquetError, TimeoutError):
    """The time the caller gave is up. The task itself goes on."""

    code = "timeout"


class ClosedError(BuquetError):
    """The connection or worker was closed while this ran, or the operation was cancelled.

    Also whatever is asked of a ``Queue`` after its ``close``, or of a connection that is another process's. An app is
    opened again by the next call.
    """

    code = "closed"


class InternalError(BuquetError):
    """A defect in buquet itself. Please report it."""

    code = "internal"


class TaskFailedError(BuquetError):
    """The task ended without a result: it failed, was cancelled, or expired.

    ``task`` is the whole task as stored: its error's type, message and the
    traceback of the last attempt are in ``task.error``. The traceback is a note
    of this exception too, so that it is shown and logged with it.
    """

    code = "task_failed"

    def __init__(self, task: Task) -> None:
        """Describe how ``task`` ended."""
        self.task = task
        super().__init__(_describe(task))
        if task.error is not None and task.error.traceback:
            from buquet._shown import shown_traceback  # noqa: PLC0415 - it needs this module

            self.add_note(f"The last attempt's traceback:\n{shown_traceback(task.error.traceback)}")

    def __reduce__(self) -> tuple[type[TaskFailedError], tuple[Task]]:
        """Pickle by the task, which the message is made from."""
        return type(self), (self.task,)


class TaskCancelledError(TaskFailedError):
    """Somebody called the task off; ``task.cancel`` says who and why."""

    code = "task_cancelled"


class TaskExpiredError(TaskFailedError):
    """Nobody started the task before ``task.expires_at``."""

    code = "task_expired"


def no_task(task_id: str) -> NotFoundError:
    """Build the exception for an id that no task has, in the words of the engine."""
    return NotFoundError(f"there is no task {task_id} in this queue: it was purged, or is another queue's")


def ended_without_result(task: Task) -> TaskFailedError:
    """Build the exception for how this task ended."""
    if _was(task, "cancelled"):
        return TaskCancelledError(task)
    return (TaskExpiredError if _was(task, "expired") else TaskFailedError)(task)


def _was(task: Task, status: str) -> bool:
    """Whether the task ended like that, also if it was archived then."""
    return status in {task.status, task.archived_from}


class WorkflowFailedError(BuquetError):
    """The run of a workflow ended without a result: it failed or was cancelled.

    ``run`` is the whole run as stored: ``run.error`` has the type, message and traceback of what its body raised. The
    traceback is a note of this exception too, so that it is shown and logged with it.
    """

    code = "workflow_failed"

    def __init__(self, run: WorkflowRun) -> None:
        """Describe how ``run`` ended."""
        self.run = run
        head = f"run {run.name} ({run.workflow}) {run.status}"
        super().__init__(head if run.error is None else f"{head}: {run.error.type}: {run.error.message}")
        if run.error is not None and run.error.traceback:
            self.add_note(f"The body's traceback:\n{run.error.traceback}")

    def __reduce__(self) -> tuple[type[WorkflowFailedError], tuple[WorkflowRun]]:
        """Pickle by the run, which the message is made from."""
        return type(self), (self.run,)


class WorkflowCancelledError(WorkflowFailedError):
    """Somebody cancelled the run, or ended it; ``run.error`` may say who and why."""

    code = "workflow_cancelled"


class RunEndedError(BuquetError):
    """The run has ended: no signal, callback or wish reaches it any more. Start another, or retry one that failed."""

    code = "run_ended"


def run_without_result(run: WorkflowRun) -> WorkflowFailedError:
    """Build the exception for how this run ended."""
    return (WorkflowCancelledError if run.status == "cancelled" else WorkflowFailedError)(run)


class WorkflowError(BuquetError):
    """Root of what is wrong with a workflow's code, and of what its operations raise."""

    code = "workflow"


class MismatchError(WorkflowError):
    """The code does not ask for what the run's journal has: it was changed, or is not deterministic.

    Such a run is paused, not failed: with code that fits, it goes on. For deliberate changes there is ``ctx.patched``.

    ``position`` is the entry of the journal, ``recorded`` and ``asked`` say what stands there and what the code wants,
    ``argument`` names the argument that differs, if it is one. ``recorded_version`` and ``version`` are the workflow's
    versions, if it declares any.
    """

    code = "mismatch"

    def __init__(
        self,
        message: str,
        *,
        position: int,
        recorded: str,
        asked: str,
        argument: str | None = None,
        recorded_version: str | None = None,
        version: str | None = None,
    ) -> None:
        """Say where both differ."""
        super().__init__(message)
        self.position = position
        self.recorded = recorded
        self.asked = asked
        self.argument = argument
        self.recorded_version = recorded_version
        self.version = version


class NotDeterministicError(WorkflowError):
    """A body called something whose outcome no replay could repeat. Call it in a step."""

    code = "not_deterministic"


class NotInBodyError(WorkflowError):
    """The context of a run was used outside of its body: in a step, on another thread, or after the end."""

    code = "not_in_body"


class NotAwaitedError(WorkflowError):
    """A body returned while something that it had asked for was never awaited. Await it, or cancel it."""

    code = "not_awaited"


class MapError(WorkflowError):
    """Too many items of a ``ctx.map`` failed. ``result`` is its ``MapResult``; the first failure is the cause."""

    code = "map"

    def __init__(self, message: str, result: MapResult[Any] | None = None) -> None:
        """Say which items failed."""
        super().__init__(message)
        self.result = result


class StepError(WorkflowError):
    """A step failed with an exception that cannot be made again: its class is gone or local, or not an ``Exception``.

    ``type`` is that class with its module, ``message`` its text and ``traceback`` that of the step, all as text. The
    exceptions that caused it are its causes.
    """

    code = "step"

    def __init__(self, type: str, message: str, traceback: str | None = None) -> None:  # noqa: A002 - as in the journal
        """Take on what is known of the exception."""
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.traceback = traceback

    def __reduce__(self) -> tuple[type[StepError], tuple[str, str, str | None]]:
        """Pickle by what it is made of."""
        return type(self), (self.type, self.message, self.traceback)


class StepCancelledError(StepError):
    """A call, a child run or a step was cancelled, and not by the body that waits for it."""

    code = "step_cancelled"


class StepTimeoutError(StepError, TimeoutError):
    """A callback nobody completed, a poll that was never met, or a step did not end in its time."""

    code = "step_timeout"


class HandlerError(BuquetError):
    """Root of what a handler raises to decide what happens to its task."""

    code = "handler"


class RetryableError(HandlerError):
    """Try again: costs one retry, and waits ``delay`` instead of the task's back-off.

    ``delay`` is seconds, a ``timedelta`` or text such as ``"5m"``; left out,
    the task's own back-off decides. With no retries left the task fails.

    Example::

        raise RetryableError("the mail server is busy", delay="30s")
    """

    def __init__(self, message: str = "", *, delay: Duration | None = None) -> None:
        """Ask for a retry after ``delay``."""
        super().__init__(message)
        self.delay = delay


class PermanentError(HandlerError):
    """Fail now: no retry would help.

    Example::

        raise PermanentError(f"there is no order {order_id}")
    """


class RescheduleError(HandlerError):
    """Run again later, without spending a retry: give ``delay`` or ``at``.

    ``delay`` is seconds, a ``timedelta`` or text such as ``"5m"``; ``at`` is an
    aware ``datetime``.

    Example::

        raise RescheduleError("the export is not ready yet", delay="1m")
    """

    def __init__(
        self,
        message: str = "",
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
    ) -> None:
        """Ask for another run, ``delay`` from now or ``at`` a time."""
        if (delay is None) == (at is None):
            raise InvalidError("RescheduleError needs exactly one of delay= and at=")
        super().__init__(message)
        self.delay = delay
        self.at = at


class StoppedError(HandlerError):
    """Raised by ``ctx.raise_if_cancelled()``: the handler stops because somebody called its task off."""

    code = "stopped"


def from_code(code: str, message: str) -> BuquetError:
    """Build the exception for an error that the engine reported."""
    return _BY_CODE.get(code, InternalError)(message)


def _describe(task: Task) -> str:
    before = f"{task.archived_from} and " if task.archived_from else ""
    head = f"task {task.id} ({task.type}) {before}{task.status}"
    if task.cancel is not None and _was(task, "cancelled"):
        by = f" by {task.cancel.by}" if task.cancel.by else ""
        return f"{head}{by}: {task.cancel.reason}" if task.cancel.reason else f"{head}{by}"
    if task.error is None:
        return head
    from buquet._shown import shown_error  # noqa: PLC0415 - it needs this module

    return f"{head} after {task.attempt} attempt(s): {task.error.type}: {shown_error(task.error.message)}"


_BY_CODE: dict[str, type[BuquetError]] = {
    kind.code: kind
    for kind in (
        InvalidError,
        ConfigError,
        NotFoundError,
        ConflictError,
        LayoutError,
        CorruptError,
        LeaseLostError,
        DeniedError,
        UnsupportedError,
        UnavailableError,
        WaitTimeoutError,
        ClosedError,
        InternalError,
        DecodeError,
    )
}
_BY_CODE.update(
    {
        # Nothing was started: there is no room for it now, or the system gave no thread or descriptor.
        "overloaded": UnavailableError,
        "resources": UnavailableError,
        # The handle belongs to the process that forked; this one has to open its own.
        "forked": ClosedError,
    }
)
