"""Calling tasks off."""

from __future__ import annotations

import getpass
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from buquet._client import Call
from buquet._many import Many
from buquet._models import TaskStatus, check_text
from buquet.errors import CorruptError, LayoutError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buquet._client import Check

_LIMIT = 100_000
"""Most tasks that are called off at a time."""


class CancelState(StrEnum):
    """What became of the wish to call a task off."""

    CANCELLED = "cancelled"
    """It had not started, and never will."""
    REQUESTED = "requested"
    """It is running; its worker learns of it within a heartbeat, and unless it completes first it ends as cancelled."""
    FINISHED = "finished"
    """It had ended already; nothing changed."""
    MISSING = "missing"
    """There is no such task."""


class CancelResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the wish to call one task off; ``status`` is set where it had ended already."""

    id: str
    state: CancelState
    status: TaskStatus | None = None


class CancelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks were called off: ``cancelled`` had not started, ``requested`` run and are told to stop."""

    cancelled: int = 0
    requested: int = 0


class _Cancelled(msgspec.Struct):
    tasks: list[CancelResult]


class _Page(msgspec.Struct):
    cancelled: int
    requested: int
    cursor: str | None = None


def cancel(task_ids: Iterable[str], reason: str | None, by: str | None) -> Call[_Cancelled, list[CancelResult]]:
    """Call these tasks off; gives what became of each, in order."""
    request: dict[str, Any] = {"ids": list(task_ids), **_words(reason, by)}
    return Call("cancel", request, _Cancelled, lambda answer: answer.tasks)


def cancel_all(ids: Sequence[str], reason: str | None, by: str | None, results: list[CancelResult]) -> Check:
    """Call off very many tasks; what became of each is put into ``results``, in order.

    :raises CorruptError: a record cannot be read; the tasks of all others are called off.
    :raises LayoutError: likewise, of one that a newer version of buquet wrote.
    """
    broken: CorruptError | LayoutError | None = None
    for start in range(0, len(ids), _LIMIT):
        try:
            results += yield cancel(ids[start : start + _LIMIT], reason, by)
        except (CorruptError, LayoutError) as error:
            broken = broken or error
    if broken is not None:
        raise type(broken)(f"{broken}; the tasks of all other records were called off, where they had not ended")


def cancel_many(filters: dict[str, str], reason: str | None, by: str | None) -> Many[CancelCounts]:
    """Call off the unfinished tasks that the filters mean."""
    return Many("cancel_many", {**filters, **_words(reason, by)}, _Page, CancelCounts())


def filters(kind: str | None, tag: str | None, parent: str | None) -> dict[str, str]:
    """Which tasks to call off, in the engine's terms."""
    check_text(kind, "type")
    check_text(tag, "tag")
    wanted = {"type": kind, "tag": tag, "parent": parent}
    return {name: value for name, value in wanted.items() if value is not None}


def _words(reason: str | None, by: str | None) -> dict[str, str]:
    check_text(reason, "reason")
    check_text(by, "by")
    words = {"by": whoami() if by is None else by}
    return words if reason is None else {**words, "reason": reason}


def whoami() -> str:
    """This process's user and machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for the user's number, as in some containers
        user = str(os.getuid())
    return f"{user}@{os.uname().nodename}"
