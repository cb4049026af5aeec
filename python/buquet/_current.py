"""Which task runs here: what a handler submits has it as its parent."""

from __future__ import annotations

from contextvars import ContextVar

_current: ContextVar[str | None] = ContextVar("buquet_task", default=None)


def current_task_id() -> str | None:
    """The id of the task whose handler calls this; None outside of handlers."""
    return _current.get()


def enter(task_id: str) -> None:
    """Say that what runs in this context from now on is this task's handler."""
    _current.set(task_id)
