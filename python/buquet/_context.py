"""What a handler may know about its own attempt."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from buquet._checks import check_utf8
from buquet._durations import Duration, seconds
from buquet._lazy import lazy
from buquet.errors import InvalidError, StoppedError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_logger = logging.getLogger("buquet.task")

MESSAGE_CHARS = 500
"""Most characters in a message of progress."""


class AttemptInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one attempt."""

    id: str
    type: str
    attempt: int = 1
    retry_count: int = 0
    max_retries: int = 0
    deadline: datetime | None = None
    submitted_at: datetime | None = None
    tags: list[str] = []
    metadata: dict[str, str] = {}
    parent: str | None = None


class ContextControl(Protocol):
    """How a context reaches the worker that runs it."""

    def lost(self) -> bool:
        """Whether the lease is gone or given up."""
        ...

    def called_off(self) -> bool:
        """Whether somebody wants the task called off."""
        ...

    def report(self, value: float, message: str | None) -> None:
        """Tell how far the attempt has come; returns at once."""
        ...

    async def extend(self, by: Duration) -> datetime:
        """Move the deadline and the lease's expiry, from the worker's loop."""
        ...

    def extend_sync(self, by: Duration) -> datetime:
        """Move the deadline and the lease's expiry, from a handler's thread."""
        ...


class TaskContext:
    """The running attempt, injected into the parameter annotated ``TaskContext``.

    Called outside a worker (a plain call of the task function), it describes
    an attempt that has no lease: extending then only moves ``deadline``.

    Example::

        @app.task(timeout="5m")
        def export(ctx: TaskContext, table: str) -> int:
            for batch in read(table):
                if ctx.lease_lost:
                    return 0
                ctx.extend_sync("1m")
    """

    def __init__(self, info: AttemptInfo, control: ContextControl | None = None) -> None:
        """Describe an attempt; workers do this."""
        self._info = info
        self._control = control or _Detached(info)
        self._deadline = info.deadline

    @lazy
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose messages name the task and its attempt."""
        return _TaskLogger(_logger, {"task": self.id, "type": self.type, "attempt": self.attempt})

    def __repr__(self) -> str:
        """Show which attempt of what this is."""
        return f"TaskContext({self.type} {self.id}, attempt {self.attempt})"

    @property
    def id(self) -> str:
        """The task's id."""
        return self._info.id

    @property
    def type(self) -> str:
        """The task's type name."""
        return self._info.type

    @property
    def attempt(self) -> int:
        """Which start this is; 1 is the first."""
        return self._info.attempt

    @property
    def retry_count(self) -> int:
        """Retries spent so far; reschedules and lost leases do not count."""
        return self._info.retry_count

    @property
    def max_retries(self) -> int:
        """Retries the task may spend."""
        return self._info.max_retries

    @property
    def submitted_at(self) -> datetime | None:
        """When the task was submitted, by the store's clock."""
        return self._info.submitted_at

    @property
    def tags(self) -> list[str]:
        """The words that the task was submitted with."""
        return self._info.tags

    @property
    def metadata(self) -> dict[str, str]:
        """The facts that the task was submitted with."""
        return self._info.metadata

    @property
    def parent(self) -> str | None:
        """The id of the task that submitted this one."""
        return self._info.parent

    @property
    def deadline(self) -> datetime | None:
        """When the attempt's time is up, by this machine's clock; ``extend`` moves it."""
        return self._deadline

    @property
    def lease_lost(self) -> bool:
        """True once the attempt is given up, its lease lost or its time up: stop, the result would be dropped."""
        return self._control.lost()

    @property
    def cancelled(self) -> bool:
        """True once somebody has called the task off: stop, with ``raise_if_cancelled`` for example.

        This is for handlers on threads: an ``async def`` handler gets an ``asyncio.CancelledError`` besides, and one
        in a process is ended with it.
        """
        return self._control.called_off()

    def raise_if_cancelled(self) -> None:
        """Stop here if somebody has called the task off.

        :raises StoppedError: somebody has; let it pass.

        Example::

            @app.task
            def load_all(ctx: TaskContext, rows: list[int]) -> None:
                for row in rows:
                    ctx.raise_if_cancelled()
                    load(row)
        """
        if self.cancelled:
            raise StoppedError("the task was called off")

    def progress(self, value: float, message: str | None = None) -> None:
        """Tell how far the attempt has come. Cheap: call it as often as you like, from any handler.

        Only the latest report is written, about once in ten seconds on S3 and once a second on an embedded store;
        ``handle.progress()`` and ``buquet status`` show it.

        :param value: 0.0 (begun) to 1.0 (done).
        :param message: what it is doing, up to 500 characters.
        :raises InvalidError: the value is out of range or the message too long.

        Example::

            @app.task
            def resize_all(ctx: TaskContext, paths: list[str]) -> None:
                for number, path in enumerate(paths):
                    ctx.progress(number / len(paths), f"resizing {path}")
                    resize(path)
        """
        check_progress(value, message)
        self._control.report(value, message)

    async def extend(self, by: Duration) -> datetime:
        """Ask for more time from an ``async def`` handler; gives the new deadline.

        :param by: how long the attempt may go on from now, a duration; never less than it had.
        :raises LeaseLostError: too late, the attempt was given up or another worker may have the task.
        """
        self._deadline = await self._control.extend(by)
        return self._deadline

    def extend_sync(self, by: Duration) -> datetime:
        """Ask for more time from a plain ``def`` handler, on a thread or in a process.

        :param by: how long the attempt may go on from now, a duration; never less than it had.
        :raises InvalidError: called on the worker's event loop, which it would block.
        :raises LeaseLostError: too late, the attempt was given up or another worker may have the task.
        """
        self._deadline = self._control.extend_sync(by)
        return self._deadline


def check_progress(value: object, message: object) -> None:
    """Refuse what is no part of the whole, or says too much.

    :raises InvalidError: naming the value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidError(f"progress is {value!r}; give a number from 0.0 (begun) to 1.0 (done)")
    if message is None:
        return
    if not isinstance(message, str):
        raise InvalidError(f"the progress message must be text, not {type(message).__name__}")
    if len(message) > MESSAGE_CHARS:
        raise InvalidError(f"the progress message has {len(message)} characters; up to {MESSAGE_CHARS} are kept")
    check_utf8(message)


class _TaskLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        extra = self.extra or {}
        head = f"{extra.get('type')} {extra.get('task')} #{extra.get('attempt')}"
        return f"{head}: {msg}", {**kwargs, "extra": {**extra, **kwargs.get("extra", {})}}


class _Detached:
    """The control of a context outside a worker."""

    def __init__(self, info: AttemptInfo) -> None:
        self._deadline = info.deadline

    def lost(self) -> bool:
        return False

    def called_off(self) -> bool:
        return False

    def report(self, value: float, message: str | None) -> None:
        """Nobody is there to be told."""

    async def extend(self, by: Duration) -> datetime:
        return self.extend_sync(by)

    def extend_sync(self, by: Duration) -> datetime:
        later = datetime.now(UTC) + timedelta(seconds=seconds(by, "by"))
        self._deadline = max(self._deadline or later, later)
        return self._deadline


def local_context(kind: str) -> TaskContext:
    """The context of a plain call, which no worker makes."""
    return TaskContext(AttemptInfo(id="local", type=kind))
