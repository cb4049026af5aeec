"""buquet: a distributed task queue whose only infrastructure is a bucket.

::

    from buquet import Buquet

    app = Buquet()                     # an embedded store; Buquet("s3://my-bucket") for S3


    @app.task(retries=5, timeout="2m")
    def thumbnail(path: str, size: int = 256) -> str: ...


    handle = thumbnail.submit("cat.png", size=128)
    print(handle.result(timeout=60))   # in async code: await handle

``buquet worker tasks:app`` runs the tasks. The plain level underneath is ``connect``,
``Queue`` and ``Worker``. Durations everywhere are seconds, a ``timedelta`` or text
such as ``"5m"``. Every error is a ``BuquetError``; ``buquet.errors`` shows the tree.
"""

import importlib
import sys
from typing import TYPE_CHECKING

if sys.platform == "win32":
    raise ImportError("buquet runs on Linux and macOS; on Windows use it in WSL, the Windows Subsystem for Linux")

from buquet._forking import whole

if TYPE_CHECKING:
    from buquet import codecs, errors
    from buquet._app import Buquet
    from buquet._calls import TaskCall
    from buquet._cancelling import CancelCounts, CancelResult, CancelState
    from buquet._config import ConfigOption, Configuration, CredentialSource
    from buquet._context import TaskContext
    from buquet._dead_letters import DeadLetters
    from buquet._dead_letters_sync import SyncDeadLetters
    from buquet._dead_models import Estimate, Handled, Lifecycle, Purged
    from buquet._doctor import Check, CheckStatus, Diagnosis
    from buquet._files import File
    from buquet._group import EndedHandle, GroupCounts, TaskGroup
    from buquet._handle import TaskHandle
    from buquet._joining import group, group_async
    from buquet._models import (
        CancelWish,
        History,
        HistoryEvent,
        Outcome,
        Park,
        Progress,
        RetryPolicy,
        StoreInfo,
        Task,
        TaskError,
        TaskPage,
        TaskStatus,
        Usage,
        Waits,
        WorkerInfo,
        WorkerPage,
    )
    from buquet._queue import Queue, connect
    from buquet._schedule_models import FilledSlot, Schedule, SchedulePage, ScheduleRun, ScheduleSkip
    from buquet._schemas import Schemas, TaskSchema
    from buquet._task import AsyncTaskFunction, TaskFunction
    from buquet._worker import Worker
    from buquet.errors import (
        ArgumentError,
        BuquetError,
        ClosedError,
        CodecError,
        ConfigError,
        ConflictError,
        CorruptError,
        DecodeError,
        DeniedError,
        EncodeError,
        HandlerError,
        InternalError,
        InvalidError,
        LayoutError,
        LeaseLostError,
        MapError,
        MismatchError,
        NotAwaitedError,
        NotDeterministicError,
        NotFoundError,
        NotInBodyError,
        PermanentError,
        RescheduleError,
        RetryableError,
        StepCancelledError,
        StepError,
        StepTimeoutError,
        StoppedError,
        TaskCancelledError,
        TaskExpiredError,
        TaskFailedError,
        UnavailableError,
        UnsupportedError,
        WaitTimeoutError,
        WorkflowError,
    )

__version__ = "0.2.0"

__all__ = [
    "ArgumentError",
    "AsyncTaskFunction",
    "Buquet",
    "BuquetError",
    "CancelCounts",
    "CancelResult",
    "CancelState",
    "CancelWish",
    "Check",
    "CheckStatus",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "ConfigOption",
    "Configuration",
    "ConflictError",
    "CorruptError",
    "CredentialSource",
    "DeadLetters",
    "DecodeError",
    "DeniedError",
    "Diagnosis",
    "EncodeError",
    "EndedHandle",
    "Estimate",
    "File",
    "FilledSlot",
    "GroupCounts",
    "Handled",
    "HandlerError",
    "History",
    "HistoryEvent",
    "InternalError",
    "InvalidError",
    "LayoutError",
    "LeaseLostError",
    "Lifecycle",
    "MapError",
    "MismatchError",
    "NotAwaitedError",
    "NotDeterministicError",
    "NotFoundError",
    "NotInBodyError",
    "Outcome",
    "Park",
    "PermanentError",
    "Progress",
    "Purged",
    "Queue",
    "RescheduleError",
    "RetryPolicy",
    "RetryableError",
    "Schedule",
    "SchedulePage",
    "ScheduleRun",
    "ScheduleSkip",
    "Schemas",
    "StepCancelledError",
    "StepError",
    "StepTimeoutError",
    "StoppedError",
    "StoreInfo",
    "SyncDeadLetters",
    "Task",
    "TaskCall",
    "TaskCancelledError",
    "TaskContext",
    "TaskError",
    "TaskExpiredError",
    "TaskFailedError",
    "TaskFunction",
    "TaskGroup",
    "TaskHandle",
    "TaskPage",
    "TaskSchema",
    "TaskStatus",
    "UnavailableError",
    "UnsupportedError",
    "Usage",
    "WaitTimeoutError",
    "Waits",
    "Worker",
    "WorkerInfo",
    "WorkerPage",
    "WorkflowError",
    "codecs",
    "connect",
    "errors",
    "group",
    "group_async",
]

# Names are imported at their first use, so that `import buquet` costs next to nothing.
_HOMES = {
    "MapError": "buquet.errors",
    "MismatchError": "buquet.errors",
    "NotAwaitedError": "buquet.errors",
    "NotDeterministicError": "buquet.errors",
    "NotInBodyError": "buquet.errors",
    "StepCancelledError": "buquet.errors",
    "StepError": "buquet.errors",
    "StepTimeoutError": "buquet.errors",
    "WorkflowError": "buquet.errors",
    "ArgumentError": "buquet.errors",
    "AsyncTaskFunction": "buquet._task",
    "Buquet": "buquet._app",
    "BuquetError": "buquet.errors",
    "CancelCounts": "buquet._cancelling",
    "CancelResult": "buquet._cancelling",
    "CancelState": "buquet._cancelling",
    "CancelWish": "buquet._models",
    "Check": "buquet._doctor",
    "CheckStatus": "buquet._doctor",
    "ClosedError": "buquet.errors",
    "CodecError": "buquet.errors",
    "ConfigError": "buquet.errors",
    "ConfigOption": "buquet._config",
    "Configuration": "buquet._config",
    "CorruptError": "buquet.errors",
    "DeadLetters": "buquet._dead_letters",
    "CredentialSource": "buquet._config",
    "DecodeError": "buquet.errors",
    "DeniedError": "buquet.errors",
    "Diagnosis": "buquet._doctor",
    "EncodeError": "buquet.errors",
    "EndedHandle": "buquet._group",
    "Estimate": "buquet._dead_models",
    "GroupCounts": "buquet._group",
    "Handled": "buquet._dead_models",
    "HandlerError": "buquet.errors",
    "FilledSlot": "buquet._schedule_models",
    "File": "buquet._files",
    "ConflictError": "buquet.errors",
    "TaskCancelledError": "buquet.errors",
    "TaskExpiredError": "buquet.errors",
    "Outcome": "buquet._models",
    "Park": "buquet._models",
    "Waits": "buquet._models",
    "Progress": "buquet._models",
    "History": "buquet._models",
    "HistoryEvent": "buquet._models",
    "InternalError": "buquet.errors",
    "InvalidError": "buquet.errors",
    "LayoutError": "buquet.errors",
    "LeaseLostError": "buquet.errors",
    "Lifecycle": "buquet._dead_models",
    "NotFoundError": "buquet.errors",
    "PermanentError": "buquet.errors",
    "Purged": "buquet._dead_models",
    "Queue": "buquet._queue",
    "RescheduleError": "buquet.errors",
    "RetryPolicy": "buquet._models",
    "RetryableError": "buquet.errors",
    "Schedule": "buquet._schedule_models",
    "SchedulePage": "buquet._schedule_models",
    "ScheduleRun": "buquet._schedule_models",
    "ScheduleSkip": "buquet._schedule_models",
    "Schemas": "buquet._schemas",
    "StoreInfo": "buquet._models",
    "StoppedError": "buquet.errors",
    "SyncDeadLetters": "buquet._dead_letters_sync",
    "Task": "buquet._models",
    "TaskCall": "buquet._calls",
    "TaskContext": "buquet._context",
    "TaskError": "buquet._models",
    "TaskFailedError": "buquet.errors",
    "TaskFunction": "buquet._task",
    "TaskGroup": "buquet._group",
    "TaskHandle": "buquet._handle",
    "TaskPage": "buquet._models",
    "TaskSchema": "buquet._schemas",
    "TaskStatus": "buquet._models",
    "UnavailableError": "buquet.errors",
    "UnsupportedError": "buquet.errors",
    "Usage": "buquet._models",
    "WaitTimeoutError": "buquet.errors",
    "Worker": "buquet._worker",
    "WorkerInfo": "buquet._models",
    "WorkerPage": "buquet._models",
    "connect": "buquet._queue",
    "group": "buquet._joining",
    "group_async": "buquet._joining",
}
_MODULES = ("codecs", "errors")


def __getattr__(name: str) -> object:
    """Import a public name at its first use."""
    home = f"{__name__}.{name}" if name in _MODULES else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with whole:
        module = importlib.import_module(home)
    value: object = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
