"""Handing a task the results of those that it ran after, as an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from buquet import _codec, _ops
from buquet._models import Outcome, Task, TaskStatus, has_result
from buquet._vault import Delivery
from buquet.errors import DecodeError, ended_without_result, no_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buquet._ops import AfterTasks, Assignment
    from buquet._vault import Parts, Vault

_CHUNK = 500
"""Most tasks of one answer, which has their results in it."""


def delivery_of(vault: Vault, assignment: Assignment) -> Delivery:
    """The input of an assignment, together with the results that are one of its arguments."""
    delivery = vault.delivery(assignment, assignment.input, "input")
    after = assignment.after
    if after is None or after.results is None:
        return delivery
    return _WithResults(vault, delivery.parts(), after)


class _WithResults(Delivery):
    """An input that lacks one argument: the results of other tasks. Opening it reads them."""

    __slots__ = ("_after",)

    def __init__(self, vault: Vault, parts: Parts, after: AfterTasks) -> None:
        """Take it as it came, and the tasks whose results are missing."""
        super().__init__(vault, *parts)
        self._after = after

    @property
    def is_remote(self) -> bool:
        """Results are read from the store."""
        return True

    def parts(self) -> Parts:
        """Another process is given the results too."""
        _, _, files, place = super().parts()
        return bytes(self.open()), None, files, place

    def open(self) -> bytes | msgspec.Raw:
        """The input's JSON, whole.

        :raises DecodeError: it is no object, or there is not one result where one is wanted.
        """
        raw = super().open()
        results = self._after.results
        if results is None:
            return raw
        members: dict[str, msgspec.Raw] = _codec.decode(
            b"{}" if bytes(raw) == b"null" else raw, dict[str, msgspec.Raw], "the input"
        )
        values = [self._value(task) for task in self._tasks()]
        if results.one and len(values) != 1:
            raise DecodeError(f"the input lacks {results.into!r}: there are {len(values)} results, and it takes one")
        value = values[0] if results.one else msgspec.Raw(msgspec.json.encode(values))
        return msgspec.json.encode({results.into: value, **members})

    def _tasks(self) -> Iterator[Task]:
        ids = self._after.tasks
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            for task_id, task in zip(part, self.vault.client.call(_ops.get_many(part)), strict=True):
                if task is None and self._after.on == "success":
                    raise no_task(task_id)
                yield task if task is not None else Task(id=task_id, type="", status=TaskStatus.ARCHIVED)

    def _value(self, task: Task) -> msgspec.Raw:
        whole = has_result(task)
        if self._after.on == "success":
            if not whole:
                raise ended_without_result(task)
            return msgspec.Raw(_codec.encode(self.vault.result_of(task, Any), f"the result of task {task.id}"))
        result = self.vault.result_of(task, Any) if whole else None
        outcome = Outcome(id=task.id, status=task.archived_from or task.status, result=result, error=task.error)
        return msgspec.Raw(_codec.encode(outcome, f"what came of task {task.id}"))
