"""Which task runs here: what a handler submits has it as its parent, and while it waits it keeps its place."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType


class Place(Protocol):
    """What an attempt takes of its worker."""

    def waits(self, by: int) -> None:
        """Note that its handler waits for one more task (1), or for one fewer (-1). From any thread."""
        ...


_current: ContextVar[str | None] = ContextVar("buquet_task", default=None)
_place: ContextVar[Place | None] = ContextVar("buquet_place", default=None)


def current_task_id() -> str | None:
    """The id of the task whose handler calls this; None outside of handlers."""
    return _current.get()


def enter(task_id: str) -> None:
    """Say that what runs in this context from now on is this task's handler."""
    _current.set(task_id)


def occupy(place: Place) -> None:
    """Say that what runs in this context from now on takes this place."""
    _place.set(place)


class Waiting:
    """A block that waits for other tasks. A worker whose places all do so stands still."""

    __slots__ = ("_place",)

    def __enter__(self) -> None:
        """Begin to wait."""
        self._place = _place.get()
        if self._place is not None:
            self._place.waits(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        """Wait no more."""
        if self._place is not None:
            self._place.waits(-1)
