"""What to ask the engine next until all members of a group have ended: few requests, and yet soon."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from buquet import _ops
from buquet.errors import WaitTimeoutError, no_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from buquet._client import Call
    from buquet._models import Task, TaskStatus

CHUNK = 500
"""Most tasks of one answer, which has their inputs and results in it."""
_WINDOW = 20
"""Most records of one look."""
_PAUSE_PER_RECORD = 0.02
_SHORTEST = 0.1
_LONGEST = 2.0
_PRICE = 0.125
"""Seconds that it costs to read a record that has open tasks still: eight a second in the long run."""
_CREDIT = 5.0
"""Seconds that may be spent ahead, so that a few records are looked at often."""
_CHUNK_CREDIT = 10.0
"""Likewise on a chunk whose last task has ended, since much of what is read then has ended too."""


class Seen:
    """What is known of a group's members, shared by all that watch it."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.ended: dict[str, Task] = {}
        self.statuses: dict[str, TaskStatus] = {}

    def note(self, ids: Sequence[str], tasks: Sequence[Task | None]) -> None:
        """Take in an answer.

        :raises NotFoundError: a task does not exist.
        """
        for task_id, task in zip(ids, tasks, strict=True):
            if task is None:
                raise no_task(task_id)
            self.statuses[task_id] = task.status
            if task.status.is_terminal:
                self.ended[task_id] = task


class Step(NamedTuple):
    """One operation, the tasks that it tells of, and those to ask for if the operation is not out of time."""

    call: Call[Any, list[Task | None]]
    ids: Sequence[str]
    further: Sequence[str] = ()


class Watch:
    """Follows a group from step to step; whoever runs the steps does so blocking or not.

    It waits for the last open task of a chunk, as that ends about when the chunk does, and then reads the chunk.
    Only with ``often`` it also looks at some records with open tasks now and then. A record that has ended is read
    no more; reading others is paid for in time, so that the requests of a second are bounded however long it takes.
    """

    def __init__(
        self,
        ids: Sequence[str],
        seen: Seen,
        limit: float | None,
        *,
        often: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with a look at everything, so that a task that does not exist is told of at once."""
        self._clock = clock
        self._total = len(ids)
        self._open = by_record(ids)
        self._seen = seen
        self._limit = limit
        self._deadline = None if limit is None else clock() + limit
        self._often = often
        unknown = [task_id for task_id in self._open if task_id not in seen.ended]
        self._look: deque[Sequence[str]] = deque(chunks(unknown))
        self._offset = 0
        self._idle = _SHORTEST
        self._news = False
        self._paying = False
        self._paid_until = clock()
        self._due = clock() + _pause(min(len(_records(self._open)), _WINDOW))

    def take(self) -> list[str]:
        """The members that have ended and were not taken yet."""
        ended = self._seen.ended
        taken = [task_id for task_id in self._open if task_id in ended]
        if taken:
            self._news = True
            self._open = [task_id for task_id in self._open if task_id not in ended]
        return taken

    def next(self) -> Step | None:
        """The next step; None once all have ended.

        :raises WaitTimeoutError: the time is up.
        """
        now = self._clock()
        if not self._open:
            return None
        if not self._look and self._often and now >= self._next_look():
            self._begin_look(now)
        if self._look:
            ids = self._look.popleft()
            return Step(_ops.get_many(ids), ids)
        self._paying = True  # all were looked at once, which has to be
        if self._deadline is not None and now >= self._deadline:
            many = f"{len(self._open):,} of {self._total:,} tasks have not"
            raise WaitTimeoutError(f"{many} ended after {self._limit:g} s, such as {self._open[0]}; they go on")
        ends = [end for end in (self._deadline, self._next_look() if self._often else None) if end is not None]
        *others, last = self._open[:CHUNK]
        call = _ops.wait(last, max(0.0, min(ends) - now) if ends else None)
        return Step(call.then(_as_list), [last], others)

    def note(self, step: Step, tasks: Sequence[Task | None] | None) -> list[str]:
        """Take in the answer to a step, None if it was out of time; gives the members that have ended since."""
        if tasks is not None:
            self._seen.note(step.ids, tasks)
            if step.further:
                self._look.extend(chunks(self._affordable(step)))
            elif self._paying:
                self._pay(step.ids)
        return self.take()

    def _next_look(self) -> float:
        return max(self._due, self._paid_until - _CREDIT)

    def _begin_look(self, now: float) -> None:
        window = self._window()
        self._look.extend(chunks(window))
        self._idle = _SHORTEST if self._news else min(2 * self._idle, _LONGEST)
        self._news = False
        self._due = now + max(self._idle, _pause(len(_records(window))))

    def _window(self) -> list[str]:
        """The open members of as many records as one look may read: of the next ones each time."""
        records = _records(self._open)
        if len(records) <= _WINDOW:
            return self._open
        start = self._offset % len(records)
        chosen = set((records + records)[start : start + _WINDOW])
        self._offset = start + _WINDOW
        return [task_id for task_id in self._open if _record(task_id) in chosen]

    def _affordable(self, step: Step) -> Sequence[str]:
        """What to read once the last of a chunk has ended: the whole chunk, or its record only."""
        if self._clock() >= self._paid_until - _CHUNK_CREDIT:
            return step.further
        record = _record(step.ids[0])
        return [task_id for task_id in step.further if _record(task_id) == record]

    def _pay(self, ids: Sequence[str]) -> None:
        """Put further looks off for the records that are open still; each that has ended brings them nearer."""
        still_open = len(_records([task_id for task_id in ids if task_id not in self._seen.ended]))
        ended = len(_records(ids)) - still_open
        self._paid_until = max(self._paid_until, self._clock()) + _PRICE * (still_open - ended)


def by_record(ids: Sequence[str]) -> list[str]:
    """The ids with those of one record next to each other, so that few answers have parts of the same one."""
    return [task_id for part in records(ids) for task_id in part]


def records(ids: Sequence[str]) -> list[list[str]]:
    """The ids of each record."""
    found: dict[str, list[str]] = {}
    for task_id in ids:
        found.setdefault(_record(task_id), []).append(task_id)
    return list(found.values())


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in parts that fit one answer."""
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _as_list(task: Task) -> list[Task | None]:
    return [task]


def _record(task_id: str) -> str:
    """The ids of one record differ in their last four digits only; the record is what is read and paid for."""
    return task_id[:-4]


def _records(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(_record, ids)))


def _pause(records: int) -> float:
    return max(_SHORTEST, _PAUSE_PER_RECORD * records)
