"""Groups: many tasks under one handle, followed and called off together."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

import msgspec

from buquet import _cancelling, _ops
from buquet._current import Waiting
from buquet._durations import Duration, seconds
from buquet._group_progress import shown
from buquet._group_watch import Seen, Watch, by_record, chunks
from buquet._handle import TaskHandle, refuse_on_loop
from buquet._models import Task, TaskStatus
from buquet._then import Before, then, then_async
from buquet.errors import BuquetError, CodecError, DecodeError, TaskFailedError, WaitTimeoutError

if TYPE_CHECKING:
    from buquet._cancelling import CancelResult
    from buquet._client import Client
    from buquet._models import Outcome
    from buquet._task import BoundTask

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

_OF_ONE_TASK = (TaskFailedError, DecodeError, CodecError)


class GroupCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many members of a group stand where. ``done`` are those that have ended, in whatever way."""

    total: int
    done: int
    pending: int = 0
    running: int = 0
    waiting: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    archived: int = 0


class EndedHandle(TaskHandle[R_co]):
    """A handle of a task that has ended: ``task`` is how, and ``result()`` asks for nothing more."""

    __slots__ = ("task",)

    task: Task
    """The task as it ended."""

    def __init__(self, handle: TaskHandle[R_co], task: Task) -> None:
        """Keep how the handle's task has ended."""
        super().__init__(handle._client, handle.id, handle._kind, created=handle.created)  # noqa: SLF001
        self.task = task

    def result(self, timeout: Duration | None = None) -> R_co:
        """The result, at once; only one that has objects of its own is read.

        :raises TaskFailedError: the task ended without a result.
        :raises DecodeError: the stored output does not fit the return annotation.
        """
        del timeout
        if self._client.vault.is_remote(self.task):
            refuse_on_loop()
        return self.read(self.task)

    async def result_async(self, timeout: Duration | None = None) -> R_co:
        """Like ``result``, for async code."""
        del timeout
        return await self.read_async(self.task)


class TaskGroup(Sequence[TaskHandle[R_co]]):
    """Many tasks under one handle: those of a ``map`` in the order of its inputs, or what ``group`` joined.

    A member that was seen to have ended is not asked for again. Members that were submitted together share
    records, about a hundred to each, and a record is what a request reads: ten thousand cost requests by the hundred.
    """

    def __init__(self, client: Client, handles: Sequence[TaskHandle[R_co]]) -> None:
        """Group ``handles``; ``map``, ``group`` and ``app.group`` do."""
        self._client = client
        self._handles = handles
        self._seen = Seen()

    def __repr__(self) -> str:
        """Show the size."""
        return f"TaskGroup({len(self)} tasks)"

    def __len__(self) -> int:
        """How many tasks there are."""
        return len(self._handles)

    def __iter__(self) -> Iterator[TaskHandle[R_co]]:
        """Give the handles in order."""
        return iter(self._handles)

    @overload
    def __getitem__(self, index: int) -> TaskHandle[R_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TaskHandle[R_co]]: ...
    def __getitem__(self, index: int | slice) -> TaskHandle[R_co] | Sequence[TaskHandle[R_co]]:
        """One handle, or a slice of them."""
        return self._handles[index]

    def __await__(self) -> Generator[Any, Any, list[R_co]]:
        """Wait for all results."""
        return self.results_async().__await__()

    def then(
        self, task: BoundTask[Concatenate[list[R_co], P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Submit a task that runs once all of these have completed, with their results as the first argument, in order.

        It is always a list, also of one, and of none the task runs at once. If one of them does not complete, the
        task is cancelled when the last has ended, naming the first that did not.

        :raises ArgumentError: the other arguments do not fit the function's signature.
        :raises NotFoundError: a task does not exist.
        :raises InvalidError: it is of another queue, or too many tasks wait for the same.

        Example::

            album = thumbnail.map(["cat.png", "dog.png"]).then(make_album, "Pets")
            print(album.result())
        """
        return then(Before(self._client, self.ids, one=False), task, "success", args, kwargs)

    async def then_async(
        self, task: BoundTask[Concatenate[list[R_co], P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Like ``then``, for async code."""
        return await then_async(Before(self._client, self.ids, one=False), task, "success", args, kwargs)

    def then_finished(
        self, task: BoundTask[Concatenate[list[Outcome], P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Submit a task that runs once all of these have ended; its first argument says what became of each."""
        return then(Before(self._client, self.ids, one=False), task, "finished", args, kwargs)

    async def then_finished_async(
        self, task: BoundTask[Concatenate[list[Outcome], P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Like ``then_finished``, for async code."""
        return await then_async(Before(self._client, self.ids, one=False), task, "finished", args, kwargs)

    def then_failed(
        self, task: BoundTask[Concatenate[list[Outcome], P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Submit a task that runs once, when all of these have ended, if one of them did not complete."""
        return then(Before(self._client, self.ids, one=False), task, "failure", args, kwargs)

    async def then_failed_async(
        self, task: BoundTask[Concatenate[list[Outcome], P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Like ``then_failed``, for async code."""
        return await then_async(Before(self._client, self.ids, one=False), task, "failure", args, kwargs)

    @property
    def ids(self) -> list[str]:
        """The ids in order: keep them, and ``app.group(ids)`` is the group again."""
        return [handle.id for handle in self._handles]

    @property
    def ended(self) -> list[Task]:
        """The tasks that had ended when last asked, without asking again."""
        return [self._seen.ended[handle.id] for handle in self._handles if handle.id in self._seen.ended]

    def refresh(self) -> list[Task]:
        """Ask for the tasks that had not ended yet; gives all that have ended by now.

        :raises NotFoundError: a task does not exist; the message names it.
        :raises CorruptError: the record of a task cannot be read; the message names it.
        """
        for ids in chunks(self._open_ids()):
            self._seen.note(ids, self._client.call(_ops.get_many(ids)))
        return self.ended

    async def refresh_async(self) -> list[Task]:
        """Like ``refresh``, for async code."""
        for ids in chunks(self._open_ids()):
            self._seen.note(ids, await self._client.call_async(_ops.get_many(ids)))
        return self.ended

    def counts(self) -> GroupCounts:
        """Ask for the tasks that had not ended yet, and count all by status.

        :raises NotFoundError: a task does not exist; the message names it.
        :raises CorruptError: the record of a task cannot be read; the message names it.

        Example::

            counts = thumbnail.map(["cat.png", "dog.png"]).counts()
            print(f"{counts.done} of {counts.total}, {counts.failed} failed")
        """
        self.refresh()
        return self._counted()

    async def counts_async(self) -> GroupCounts:
        """Like ``counts``, for async code."""
        await self.refresh_async()
        return self._counted()

    @overload
    def results(self, timeout: Duration | None = None, *, return_exceptions: Literal[False] = False) -> list[R_co]: ...
    @overload
    def results(
        self, timeout: Duration | None = None, *, return_exceptions: bool
    ) -> list[R_co | BuquetError] | list[R_co]: ...
    def results(
        self, timeout: Duration | None = None, *, return_exceptions: bool = False
    ) -> list[R_co | BuquetError] | list[R_co]:
        """Wait for all tasks and give their results in order.

        :param timeout: the longest wait for all of them together, a duration; for ever when left out.
        :param return_exceptions: put the error of a task without a result in its place, rather than raise.
        :raises TaskFailedError: a task ended without a result: the first in order. All have ended then.
        :raises WaitTimeoutError: some had not ended in time; they go on.
        :raises NotFoundError: a task does not exist; the message names it.
        :raises CorruptError: the record of a task cannot be read; the message names it.
        :raises InvalidError: called on a running event loop, which it would block.
        """
        refuse_on_loop()
        with Waiting():
            for _ in self._follow(timeout, often=False):
                pass
        if return_exceptions:
            return [self._outcome(handle) for handle in self._handles]
        return [handle.read(self._seen.ended[handle.id]) for handle in self._handles]

    @overload
    async def results_async(
        self, timeout: Duration | None = None, *, return_exceptions: Literal[False] = False
    ) -> list[R_co]: ...
    @overload
    async def results_async(
        self, timeout: Duration | None = None, *, return_exceptions: bool
    ) -> list[R_co | BuquetError] | list[R_co]: ...
    async def results_async(
        self, timeout: Duration | None = None, *, return_exceptions: bool = False
    ) -> list[R_co | BuquetError] | list[R_co]:
        """Like ``results``, for async code. ``await group`` is the same without a timeout."""
        with Waiting():
            async for _ in self._follow_async(timeout, often=False):
                pass
        if return_exceptions:
            return [await self._outcome_async(handle) for handle in self._handles]
        return [await handle.read_async(self._seen.ended[handle.id]) for handle in self._handles]

    def as_completed(self, timeout: Duration | None = None) -> Iterator[EndedHandle[R_co]]:
        """Give each handle soon after its task has ended, well or not: those that had ended already come first.

        :param timeout: the longest wait for all of them together, a duration; for ever when left out.
        :raises WaitTimeoutError: some had not ended in time; they go on.
        :raises NotFoundError: a task does not exist; the message names it.
        :raises CorruptError: the record of a task cannot be read; the message names it.
        :raises InvalidError: called on a running event loop, which it would block.

        Example::

            for handle in thumbnail.map(["cat.png", "dog.png"]).as_completed():
                print(handle.task.status, handle.result())
        """
        refuse_on_loop()
        return self._each(timeout)

    async def as_completed_async(self, timeout: Duration | None = None) -> AsyncIterator[EndedHandle[R_co]]:
        """Like ``as_completed``, for async code: ``async for handle in group.as_completed_async()``."""
        by_id = self._by_id()
        async for ids in self._follow_async(timeout, often=True):
            for task_id in ids:
                yield EndedHandle(by_id[task_id], self._seen.ended[task_id])

    def wait(self, timeout: Duration | None = None, *, progress: bool = False) -> GroupCounts:
        """Wait until all tasks have ended, well or not, and count them.

        :param timeout: the longest wait for all of them together, a duration; for ever when left out.
        :param progress: show on standard error how many have ended: a bar on a terminal, a line now and then elsewhere.
        :raises WaitTimeoutError: some had not ended in time; they go on.
        :raises NotFoundError: a task does not exist; the message names it.
        :raises CorruptError: the record of a task cannot be read; the message names it.
        :raises InvalidError: called on a running event loop, which it would block.
        """
        refuse_on_loop()
        with Waiting(), shown(len(self), wanted=progress) as show:
            for _ in self._follow(timeout, often=progress):
                show(len(self._seen.ended))
        return self._counted()

    async def wait_async(self, timeout: Duration | None = None, *, progress: bool = False) -> GroupCounts:
        """Like ``wait``, for async code."""
        with Waiting(), shown(len(self), wanted=progress) as show:
            async for _ in self._follow_async(timeout, often=progress):
                show(len(self._seen.ended))
        return self._counted()

    def cancel(self, reason: str | None = None, *, by: str | None = None) -> list[CancelResult]:
        """Call all tasks off, those that wait at once and those that run within a heartbeat.

        :param reason: why, up to 500 characters; stored with each task.
        :param by: who; this process's user and machine when left out.
        :returns: what became of each, in order. One that had ended, or does not exist, says so, and nothing changes.
        :raises CorruptError: the record of some cannot be read; all others are called off first.

        Example::

            group = thumbnail.map(["cat.png", "dog.png"])
            print([result.state for result in group.cancel("the wrong animals")])
        """
        results: list[CancelResult] = []
        self._client.ask(_cancelling.cancel_all(self.ids, reason, by, results))
        return results

    async def cancel_async(self, reason: str | None = None, *, by: str | None = None) -> list[CancelResult]:
        """Like ``cancel``, for async code."""
        results: list[CancelResult] = []
        await self._client.ask_async(_cancelling.cancel_all(self.ids, reason, by, results))
        return results

    def join(self, other: TaskGroup[Any]) -> None:
        """Take over what another group, whose members are among these, has seen."""
        self._seen.ended.update(other._seen.ended)
        self._seen.statuses.update(other._seen.statuses)

    @property
    def client(self) -> Client:
        """The connection, for the layers above."""
        return self._client

    def _each(self, timeout: Duration | None) -> Iterator[EndedHandle[R_co]]:
        by_id = self._by_id()
        for ids in self._follow(timeout, often=True):
            for task_id in ids:
                yield EndedHandle(by_id[task_id], self._seen.ended[task_id])

    def _follow(self, timeout: Duration | None, *, often: bool) -> Iterator[list[str]]:
        """Wait for all; gives the ids that have ended, some at a time."""
        watch = self._watch(timeout, often=often)
        yield watch.take()
        while (step := watch.next()) is not None:
            try:
                tasks = self._client.call(step.call)
            except WaitTimeoutError:
                tasks = None
            yield watch.note(step, tasks)

    async def _follow_async(self, timeout: Duration | None, *, often: bool) -> AsyncIterator[list[str]]:
        watch = self._watch(timeout, often=often)
        yield watch.take()
        while (step := watch.next()) is not None:
            try:
                tasks = await self._client.call_async(step.call)
            except WaitTimeoutError:
                tasks = None
            yield watch.note(step, tasks)

    def _watch(self, timeout: Duration | None, *, often: bool) -> Watch:
        return Watch(self.ids, self._seen, None if timeout is None else seconds(timeout, "timeout"), often=often)

    def _open_ids(self) -> list[str]:
        return by_record([handle.id for handle in self._handles if handle.id not in self._seen.ended])

    def _by_id(self) -> dict[str, TaskHandle[R_co]]:
        return {handle.id: handle for handle in self._handles}

    def _counted(self) -> GroupCounts:
        statuses = Counter(self._seen.statuses[handle.id] for handle in self._handles)
        done = sum(count for status, count in statuses.items() if status.is_terminal)
        by_name = {status.value: statuses[status] for status in TaskStatus}
        return GroupCounts(total=len(self), done=done, **by_name)

    def _outcome(self, handle: TaskHandle[R_co]) -> R_co | BuquetError:
        try:
            return handle.read(self._seen.ended[handle.id])
        except _OF_ONE_TASK as error:
            return error

    async def _outcome_async(self, handle: TaskHandle[R_co]) -> R_co | BuquetError:
        try:
            return await handle.read_async(self._seen.ended[handle.id])
        except _OF_ONE_TASK as error:
            return error
