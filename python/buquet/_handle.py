"""Handles: what a submit gives back, to ask for the task's state and result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from buquet import _cancelling, _ops
from buquet._cancelling import CancelState
from buquet._chain import MARK
from buquet._current import Waiting
from buquet._durations import Duration, wire_duration
from buquet._in_thread import run_in_thread
from buquet._models import History, HistoryEvent, Progress, Task, TaskStatus, has_result
from buquet._names import no_attribute
from buquet._then import Before, then, then_async
from buquet.errors import InvalidError, ended_without_result, no_task

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from buquet._cancelling import CancelResult
    from buquet._client import Client
    from buquet._models import Outcome
    from buquet._task import BoundTask

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

_WAIT = "wait for the result with .result(timeout=...), or await the handle"
_ELSEWHERE = {
    "abort": "cancel it with .cancel()",
    "get": _WAIT,
    "get_result": _WAIT,
    "ready": "read where it stands with .status()",
    "revoke": "cancel it with .cancel()",
    "state": "read where it stands with .status()",
    "wait": _WAIT,
    "wait_result": _WAIT,
}
"""What other queues call it, and how it is done here."""


class TaskHandle(Generic[R_co]):
    """A submitted task, by its ``id``.

    ``await handle`` and ``handle.result()`` give the task's result, decoded to the
    type that the task function's return annotation promises.
    """

    __slots__ = ("_client", "_kind", "created", "id")

    created: bool | None
    """Whether the submit that gave this handle stored the task, or found it: None for a handle made from an id."""

    def __init__(self, client: Client, task_id: str, kind: Any = Any, *, created: bool | None = None) -> None:
        """Name a task; nothing is read yet."""
        self.id = task_id
        self.created = created
        self._client = client
        self._kind = kind

    def __repr__(self) -> str:
        """Show the id."""
        return f"TaskHandle({self.id!r})"

    def __eq__(self, other: object) -> bool:
        """Whether both are handles of the same task of the same queue."""
        if not isinstance(other, TaskHandle):
            return NotImplemented
        return self.id == other.id and self._client.config == other._client.config

    def __hash__(self) -> int:
        """Hash by the id."""
        return hash(self.id)

    if not TYPE_CHECKING:  # or type checkers would let any name pass

        def __getattr__(self, name: str) -> Any:
            """Say what it is called here."""
            raise no_attribute(self, name, _ELSEWHERE)

    @property
    def client(self) -> Client:
        """The connection, for the layers above."""
        return self._client

    def __await__(self) -> Generator[Any, Any, R_co]:
        """Wait for the result, as long as it takes."""
        return self.result_async().__await__()

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the task and give its result.

        :param timeout: the longest wait, a duration; for ever when left out.
        :raises TaskFailedError: the task ended without a result.
        :raises WaitTimeoutError: it had not ended in time; it goes on.
        :raises DecodeError: the stored output does not fit the return annotation.
        :raises InvalidError: called on a running event loop, which it would block.
        """
        refuse_on_loop()
        with Waiting():
            task = self._client.call(_wait(self.id, timeout))
        return self.read(task)

    async def result_async(self, timeout: Duration | None = None) -> R_co:
        """Like ``result``, for async code. ``await handle`` is the same without a timeout."""
        with Waiting():
            task = await self._client.call_async(_wait(self.id, timeout))
        return await self.read_async(task)

    def then(self, task: BoundTask[Concatenate[R_co, P], T], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[T]:
        """Submit a task that runs once this one has completed, with its result as the first argument.

        If this one ends otherwise, that one is cancelled, naming this one. A delay counts from the end of this one.

        :raises ArgumentError: the other arguments do not fit the function's signature.
        :raises NotFoundError: this task does not exist.
        :raises InvalidError: it is of another queue, or too many tasks wait for this one.

        Example::

            small = thumbnail.submit("cat.png").then(upload, "my-bucket")
            print(small.result())
        """
        return then(Before(self._client, [self.id], one=True), task, "success", args, kwargs)

    async def then_async(
        self, task: BoundTask[Concatenate[R_co, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Like ``then``, for async code."""
        return await then_async(Before(self._client, [self.id], one=True), task, "success", args, kwargs)

    def then_finished(
        self, task: BoundTask[Concatenate[Outcome, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Submit a task that runs once this one has ended, whatever became of it: its first argument says what."""
        return then(Before(self._client, [self.id], one=True), task, "finished", args, kwargs)

    async def then_finished_async(
        self, task: BoundTask[Concatenate[Outcome, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Like ``then_finished``, for async code."""
        return await then_async(Before(self._client, [self.id], one=True), task, "finished", args, kwargs)

    def then_failed(
        self, task: BoundTask[Concatenate[Outcome, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Submit a task that runs if this one does not complete: its first argument says what became of it."""
        return then(Before(self._client, [self.id], one=True), task, "failure", args, kwargs)

    async def then_failed_async(
        self, task: BoundTask[Concatenate[Outcome, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[T]:
        """Like ``then_failed``, for async code."""
        return await then_async(Before(self._client, [self.id], one=True), task, "failure", args, kwargs)

    def refresh(self) -> Task:
        """Read the task as it is stored now.

        :raises NotFoundError: there is no such task.
        """
        return self._client.call(_ops.get(self.id))

    async def refresh_async(self) -> Task:
        """Like ``refresh``, for async code."""
        return await self._client.call_async(_ops.get(self.id))

    def status(self) -> TaskStatus:
        """Read where the task stands now."""
        return self.refresh().status

    async def status_async(self) -> TaskStatus:
        """Like ``status``, for async code."""
        return (await self.refresh_async()).status

    def progress(self) -> Progress | None:
        """Read how far the latest attempt has said that it has come; None if it has said nothing."""
        return self.refresh().progress

    async def progress_async(self) -> Progress | None:
        """Like ``progress``, for async code."""
        return (await self.refresh_async()).progress

    def cancel(self, reason: str | None = None, *, by: str | None = None) -> CancelResult:
        """Call the task off: at once if it waits; if it runs, its worker is told and it stops within a heartbeat.

        :param reason: why, up to 500 characters; stored with the task.
        :param by: who; this process's user and machine when left out.
        :returns: what became of it. One that had ended says so, and nothing changes.
        :raises NotFoundError: there is no such task.

        Example::

            print(thumbnail.submit("cat.png").cancel("the wrong cat").state)
        """
        return _existing(self._client.call(_cancelling.cancel([self.id], reason, by)))

    async def cancel_async(self, reason: str | None = None, *, by: str | None = None) -> CancelResult:
        """Like ``cancel``, for async code."""
        return _existing(await self._client.call_async(_cancelling.cancel([self.id], reason, by)))

    def history(self) -> History:
        """Read every stored revision of the task, oldest first."""
        page = self._client.call(_ops.history(self.id, None, None))
        events = list(page.events)
        while page.cursor is not None:
            page = self._client.call(_ops.history(self.id, None, page.cursor))
            events.extend(page.events)
        return _whole(events, page)

    async def history_async(self) -> History:
        """Like ``history``, for async code."""
        page = await self._client.call_async(_ops.history(self.id, None, None))
        events = list(page.events)
        while page.cursor is not None:
            page = await self._client.call_async(_ops.history(self.id, None, page.cursor))
            events.extend(page.events)
        return _whole(events, page)

    def read(self, task: Task) -> R_co:
        """The result of this task as ``task`` holds it, or names it: then it is read, and this blocks.

        :raises TaskFailedError: the task ended without a result, or has not ended.
        """
        if not has_result(task):
            raise ended_without_result(self._readable(task))
        return self._client.vault.result_of(task, self._kind)

    def _readable(self, task: Task) -> Task:
        if task.error is None or not task.error.message.startswith(MARK.decode()):
            return task
        from buquet._reveal import with_error  # noqa: PLC0415 - only for those who use codecs

        return with_error(self._client.vault.chain, task)

    async def read_async(self, task: Task) -> R_co:
        """Like ``read``, for async code."""
        if not has_result(task) or not self._client.vault.is_remote(task):
            return self.read(task)
        return await run_in_thread(lambda: self.read(task), "buquet-read")


def _existing(results: Sequence[CancelResult]) -> CancelResult:
    if results[0].state is CancelState.MISSING:
        raise no_task(results[0].id)
    return results[0]


def _wait(task_id: str, timeout: Duration | None) -> Any:
    return _ops.wait(task_id, None if timeout is None else wire_duration(timeout, "timeout"))


def _whole(events: list[HistoryEvent], last: History) -> History:
    return History(events=events, cursor=None, complete=last.complete)


def refuse_on_loop() -> None:
    """Refuse to block a running event loop."""
    asyncio = sys.modules.get("asyncio")
    try:
        if asyncio is None:
            return
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InvalidError("this would block the running event loop; await the handle (or its *_async method) instead")
