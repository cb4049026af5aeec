"""Runs as the engine answers with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from buquet._models import CorruptObject, Payload, TaskError


class RunStatus(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    """No worker drives it yet, or its worker is gone and the next one will."""
    RUNNING = "running"
    """A worker drives it."""
    WAITING = "waiting"
    """It waits for a signal, a time, a task, another run or a retry. That takes no worker."""
    PAUSED = "paused"
    """Somebody paused it, or its code does not fit its journal any more; ``run.pause`` says which."""
    COMPENSATING = "compensating"
    """It has failed or is cancelled, and its steps are being undone."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """True once nothing more happens to the run by itself."""
        return self in {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}


class StepStatus(StrEnum):
    """Where a step stands, or whatever else a body asked for."""

    PENDING = "pending"
    """Asked for, and not started yet."""
    RUNNING = "running"
    WAITING = "waiting"
    """For its next attempt; of what is no step, for what it waits for."""
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    """The body gave it up, or it was cancelled."""
    COMPENSATED = "compensated"
    """It completed, and was undone."""


class StepInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that a body asked for. ``kind`` is step, call, child, timer, signal, select or callback."""

    op: int
    """Its number: the place of its ask in the run's journal."""
    kind: str
    scope: str = ""
    name: str = ""
    n: int = 0
    status: StepStatus = StepStatus.PENDING
    attempts: int = 0
    """How often it was started."""
    asked_at: datetime | int | None = None
    ended_at: datetime | int | None = None
    due: datetime | int | None = None
    """When its next attempt, or the end of its wait, is due."""
    error: TaskError | None = None
    compensates: int | None = None
    """The number of the step that it undoes."""

    def __post_init__(self) -> None:
        """Read times that are milliseconds."""
        for name in ("asked_at", "ended_at", "due"):
            msgspec.structs.force_setattr(self, name, moment_of(getattr(self, name)))


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run is paused: ``cause`` is ``"wish"`` (see ``by`` and ``reason``), ``"failure"`` or ``"mismatch"``."""

    cause: str = "wish"
    reason: str | None = None
    by: str | None = None
    at: datetime | int | None = None
    op: int | None = None
    """The step that failed, of one that asks for a pause then."""
    mismatch: dict[str, Any] | None = None
    """Where the code does not fit: ``position``, ``recorded``, ``asked``, ``argument``, both versions, ``message``."""

    def __post_init__(self) -> None:
        """Read times that are milliseconds."""
        msgspec.structs.force_setattr(self, "at", moment_of(self.at))


class RunParent(msgspec.Struct, frozen=True, kw_only=True):
    """The run that asked for this one as its child, and with which of its operations."""

    run: str
    op: int = 0


class WorkflowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run as it was stored at the moment it was read.

    ``key`` is the name it was started under with ``id=``, ``generation`` how often it was, ``execution`` one more with
    each ``continue_as_new``. ``published`` is what the body has published; ``steps`` is all that it asked for and
    ``counts`` how many of these stand where, both only where they were wanted. ``wakes_at`` is when a waiting run goes
    on by itself.
    """

    id: str
    key: str | None = None
    workflow: str
    version: str | None = None
    generation: int | str = 1
    execution: int = 0
    retries: int = 0
    status: RunStatus
    input: Any = None
    input_ref: Payload | None = None
    output: Any = None
    output_ref: Payload | None = None
    error: TaskError | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    available_at: datetime | None = None
    wakes_at: datetime | int | None = None
    deadline: datetime | int | None = None
    pause: Pause | None = None
    wishes: dict[str, Any] = {}
    published: dict[str, Any] = {}
    tags: list[str] = []
    metadata: dict[str, str] = {}
    parent: RunParent | None = None
    worker: str | None = None
    entries: int = 0
    counts: dict[str, int] | None = None
    steps: list[StepInfo] | None = None

    def __post_init__(self) -> None:
        """Read times that are milliseconds."""
        for name in ("wakes_at", "deadline"):
            msgspec.structs.force_setattr(self, name, moment_of(getattr(self, name)))

    @property
    def type(self) -> str:
        """The type of its task."""
        return f"workflow:{self.workflow}"

    @property
    def input_files(self) -> list[Payload]:
        """Inputs of runs have no files."""
        return []

    @property
    def output_files(self) -> list[Payload]:
        """Results of runs have no files."""
        return []

    @property
    def name(self) -> str:
        """What people call it: the id it was given at its start, or the one that it got."""
        return self.key or self.id


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing. A page may be short or empty and still have a ``cursor``."""

    runs: list[WorkflowRun]
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A run with its journal: what its body asked for and was told, in order, as ``docs/determinism.md`` has it."""

    run: WorkflowRun
    entries: list[dict[str, Any]]
    steps: list[StepInfo] = []


class WishOutcome(StrEnum):
    """What became of a wish such as to cancel a run."""

    NOTED = "noted"
    """The run will obey; its worker is told."""
    BEGUN = "begun"
    """The run goes on because of it."""
    SAME = "same"
    """It was wished before, or stands like that already; nothing changed."""
    ENDED = "ended"
    """The run has ended; ``status`` says how. Of a run that had not started, a cancel ends it at once."""


class WishResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a wish, and where the run stands now."""

    outcome: WishOutcome
    status: RunStatus


class PruneCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune came to: ``runs`` are gone, with their ``records``.

    ``sealed`` records go with a later prune, when no request to them can be on its way any more: ten minutes later on
    S3. ``corrupt`` are objects that cannot be read.
    """

    runs: int = 0
    records: int = 0
    sealed: int = 0
    corrupt: list[CorruptObject] = []


def moment_of(value: datetime | int | None) -> datetime | None:
    """A point in time, of which the engine may tell in milliseconds since the epoch."""
    if isinstance(value, int):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
    return value
