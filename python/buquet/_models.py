"""What the engine answers with, as typed, frozen values."""

from __future__ import annotations

import reprlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from buquet._durations import wire_duration
from buquet.errors import InvalidError


class TaskStatus(StrEnum):
    """Where a task stands. Only ``pending``, ``running`` and ``waiting`` tasks can still change by themselves."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    ARCHIVED = "archived"

    @property
    def is_terminal(self) -> bool:
        """True once nothing more happens to the task by itself."""
        return self not in (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.WAITING)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently a failed attempt is repeated.

    The n-th retry waits ``initial * multiplier ** (n - 1)``, at most ``max``,
    spread by ``jitter``. What is left out takes the engine's default.

    :param max_retries: attempts after the first one, 0 or more (default 3).
    :param initial: wait before the first retry, a duration (default 1 s).
    :param max: the longest wait, a duration (default 600 s).
    :param multiplier: growth from wait to wait, 1 or more (default 2).
    :param jitter: share of the wait that is random, 0 to 1 (default 0.2).
    :raises InvalidError: a value is out of its range.

    Example::

        RetryPolicy(max_retries=8, initial="2s", max="10m")
    """

    max_retries: int | None = None
    initial: float | timedelta | str | None = None
    max: float | timedelta | str | None = None
    multiplier: float | None = None
    jitter: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no engine would take."""
        check_count(self.max_retries, "max_retries")
        if self.multiplier is not None and not (_is_number(self.multiplier) and 1 <= self.multiplier < float("inf")):
            raise InvalidError(f"multiplier={self.multiplier!r} must be a number, 1 or more")
        if self.jitter is not None and not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise InvalidError(f"jitter={self.jitter!r} must be a number from 0 to 1")
        self.wire()

    def wire(self) -> dict[str, float | str]:
        """The policy as the engine takes it: only what was set."""
        wire: dict[str, float | str] = {}
        if self.max_retries is not None:
            wire["max_retries"] = self.max_retries
        if self.initial is not None:
            wire["initial"] = wire_duration(self.initial, "initial")
        if self.max is not None:
            wire["max"] = wire_duration(self.max, "max")
        if self.multiplier is not None:
            wire["multiplier"] = self.multiplier
        if self.jitter is not None:
            wire["jitter"] = self.jitter
        return wire


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_text(value: object, name: str) -> None:
    """Refuse what is no text; None passes."""
    if value is not None and not isinstance(value, str):
        raise InvalidError(f"{name}={reprlib.repr(value)} must be text")


def check_flag(value: object, name: str) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise InvalidError(f"{name}={reprlib.repr(value)} must be True or False")


def check_count(value: object, name: str) -> None:
    """Refuse what is no whole number of zero or more; None passes."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidError(f"{name}={value!r} must be a whole number, 0 or more")


class TaskError(msgspec.Struct, frozen=True, kw_only=True):
    """What the last failed attempt reported."""

    type: str
    message: str
    traceback: str | None = None
    at: datetime | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an attempt had come, 0.0 to 1.0, and what it was doing ``at`` that time."""

    value: float
    message: str | None = None
    at: datetime | None = None


class CancelWish(msgspec.Struct, frozen=True, kw_only=True):
    """Who wanted a task called off, when and why."""

    at: datetime
    by: str | None = None
    reason: str | None = None


class Park(msgspec.Struct, frozen=True, kw_only=True):
    """That a task was parked or woken.

    ``count`` is how often it was parked. A task that waits becomes due by itself at ``until``, or never if that is
    None; ``woken`` says that somebody woke it, and no attempt knows of it yet.
    """

    count: int
    until: datetime | None = None
    woken: bool = False


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """What a task waits for, or has waited for: these tasks, of which so many are still ``open``."""

    on: str
    tasks: list[str]
    open: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a task, for those that run after it whatever became of it.

    ``result`` is there if it was completed, decoded from JSON; ``error`` if it failed.
    """

    id: str
    status: TaskStatus
    result: Any = None
    error: TaskError | None = None


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A payload that lies in objects of its own: what an input or result is too large for."""

    owner: str
    id: str
    bytes: int
    pieces: int
    sha256: str
    at: str | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task as it was stored at the moment it was read.

    ``attempt`` counts starts, so 1 means the first run. Times are aware and by
    the store's clock. ``input`` and ``output`` are the decoded JSON values; where one
    is None and ``input_ref`` or ``output_ref`` is not, it is too large to come along.
    ``handle.result()`` reads it all the same. ``archived_from`` is how an archived
    task had ended; it is None for one that was purged.
    """

    id: str
    type: str
    status: TaskStatus
    archived_from: TaskStatus | None = None
    input: Any = None
    output: Any = None
    input_ref: Payload | None = None
    input_files: list[Payload] = []
    output_ref: Payload | None = None
    output_files: list[Payload] = []
    attempt: int = 0
    retry_count: int = 0
    max_retries: int = 0
    priority: int = 5
    timeout_ms: int = 0
    submitted_at: datetime | None = None
    available_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    worker: str | None = None
    error: TaskError | None = None
    expires_at: datetime | None = None
    tags: list[str] = []
    metadata: dict[str, str] = {}
    parent: str | None = None
    key: str | None = None
    progress: Progress | None = None
    cancel: CancelWish | None = None
    park: Park | None = None
    after: Waits | None = None

    @property
    def timeout(self) -> timedelta:
        """How long one attempt may run."""
        return timedelta(milliseconds=self.timeout_ms)


def has_result(task: Task) -> bool:
    """Whether the task was completed and still holds what it came to, archived or not."""
    return TaskStatus.COMPLETED in {task.status, task.archived_from}


class CorruptObject(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object that could not be read, and why."""

    key: str
    message: str


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing. A page may be short or empty and still have a ``cursor``."""

    tasks: list[Task]
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The task as one committed revision left it."""

    rev: int
    at: datetime
    commit: str
    task: Task


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A task's revisions, oldest first.

    ``complete`` is False where the bucket keeps no versions: then only the
    current revision is known.
    """

    events: list[HistoryEvent]
    cursor: str | None = None
    complete: bool = True


class EndedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a worker's tasks since it was started; ``expired`` are those it found too late to be started."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process as its last heartbeat described it."""

    id: str
    host: str
    pid: int
    types: list[str]
    concurrency: int
    started_at: datetime
    heartbeat_at: datetime
    alive: bool
    state: str
    running: int = 0
    stuck: int = 0
    """Places taken for good, by attempts that were given up and do not return."""
    ended: EndedCounts = EndedCounts()


class WorkerPage(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that have a heartbeat in the store. ``corrupt`` are objects among them that cannot be read."""

    workers: list[WorkerInfo]
    corrupt: list[CorruptObject] = []


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Requests by kind, retries included. ``not_modified`` are those of ``get`` that were answered with 304."""

    put: int = 0
    get: int = 0
    not_modified: int = 0
    list: int = 0
    delete: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What this connection has asked of the store since it was opened.

    ``dollars`` is what the requests cost at S3 standard prices, on any store;
    ``units`` are the same in PUTs.
    """

    requests: RequestCounts
    retries: int = 0
    conflicts: int = 0
    errors: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    dollars: float = 0.0
    units: float = 0.0


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue is connected to; ``source`` says where its URL came from."""

    url: str
    store: str
    format: int
    source: str
    versions_kept: bool
