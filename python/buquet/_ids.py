"""Tasks by their ids: what names one, and collections of such."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Protocol, cast

from buquet.errors import InvalidError


class HasId(Protocol):
    """Anything with a task's id: a handle or a task."""

    @property
    def id(self) -> str:
        """The task's id."""
        ...


def id_of(task: str | HasId) -> str:
    """The id of a task, a handle, or what is one already.

    :raises InvalidError: it is none of these.
    """
    if isinstance(task, str):
        return task
    found = getattr(cast("object", task), "id", None)
    if isinstance(found, str):
        return found
    several = "; give several one by one, as in *tasks" if isinstance(cast("object", task), Iterable) else ""
    what = f"{type(task).__name__} ({reprlib.repr(task)})"
    raise InvalidError(f"a task is named by its id, its handle or itself, not by {what}{several}")


def ids_of(tasks: Iterable[str | HasId]) -> list[str]:
    """The ids of a collection of tasks.

    :raises InvalidError: it is no collection, but a single task, or holds what is no task.
    """
    if isinstance(tasks, str) or not isinstance(cast("object", tasks), Iterable):
        raise InvalidError(f"tasks={tasks!r} must be a collection of tasks or ids; put a single one into a list")
    return [id_of(task) for task in tasks]
