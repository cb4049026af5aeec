"""Failed tasks and what is done about them, for async code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buquet import _dead_ops
from buquet._dead_ops import PAGE, Results, dead_filter
from buquet._models import CorruptObject, Task, TaskPage, TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from datetime import datetime

    from buquet._client import Client
    from buquet._dead_models import Handled, Lifecycle, Purged
    from buquet._durations import Duration
    from buquet._ids import HasId
    from buquet._models import RetryPolicy
    from buquet._options import SubmitOptions


class DeadLetters:
    """The failed tasks of a queue, for async code; ``queue.dead_letters``.

    Everything here goes page by page, so that memory stays bounded however many tasks there are.

    Example::

        page = await queue.dead_letters.list(type="thumbnail")
        for task in page.tasks:
            print(task.id, task.error)
    """

    def __init__(self, client: Client) -> None:
        """Wrap a connection; use ``queue.dead_letters`` instead."""
        self._client = client

    def __repr__(self) -> str:
        """Show where the queue is."""
        return f"DeadLetters({self._client.config.address!r})"

    def __aiter__(self) -> AsyncIterator[Task]:
        """Go through all failed tasks."""
        return self.iterate()

    async def list(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the field's name everywhere
        error: str | None = None,
        older_than: Duration | None = None,
        limit: int = PAGE,
        cursor: str | None = None,
    ) -> TaskPage:
        """Read one page of failed tasks; pass its ``cursor`` to get the next.

        :param type: only this task type.
        :param error: only tasks whose error is of this type: ``"OSError"``; one of your own with its module, such as
            ``"shop.orders.MyError"``; or ``"Timeout"``.
        :param older_than: only tasks that failed so long ago, a duration.
        :param limit: most tasks of the page, 1 to 1000; tasks stored together stay together.
        """
        return await self._client.call_async(_dead_ops.failed(dead_filter(type, error, older_than), limit, cursor))

    async def iterate(
        self,
        *,
        type: str | None = None,  # noqa: A002
        error: str | None = None,
        older_than: Duration | None = None,
    ) -> AsyncIterator[Task]:
        """Go through all failed tasks, with the filters of ``list``.

        :raises CorruptError: a stored object cannot be read; all others were given before.

        Example::

            async for task in queue.dead_letters.iterate(error="OSError"):
                print(task.id)
        """
        wanted, cursor, corrupt = dead_filter(type, error, older_than), None, list[CorruptObject]()
        while True:
            page = await self._client.call_async(_dead_ops.failed(wanted, PAGE, cursor))
            for task in page.tasks:
                yield task
            corrupt += page.corrupt
            cursor = page.cursor
            if cursor is None:
                break
        _dead_ops.refuse(corrupt)

    async def replay(
        self,
        *tasks: str | HasId,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        with_dependents: bool = False,
    ) -> None:
        """Run failed tasks again, with their retries back and, if wanted, with other options.

        What is not given stays as it was. Attempts go on counting; the last error stays until the next attempt
        has ended.

        :param tasks: ids, handles or tasks.
        :param max_retries: attempts after the first from now on.
        :param retry: parts of the retry policy that are to change.
        :param timeout: how long one attempt may run, a duration.
        :param priority: 0 to 9, 9 runs first.
        :param delay: earliest start from now, a duration. Not together with ``at``.
        :param at: earliest start, an aware datetime.
        :param with_dependents: what was cancelled because of these waits for them again, and so on down the chain.
        :raises InvalidError: one of the tasks is not failed; the others are replayed all the same.
        :raises NotFoundError: there is no such task; likewise.

        Example::

            task = await queue.submit("send_email", {"to": "a@b.c"})
            try:
                await queue.dead_letters.replay(task, timeout="10m")
            except InvalidError as error:
                print(error)  # it has not failed
        """
        options = _dead_ops.changes(
            max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at
        )
        await self._move("replay", tasks, options, with_dependents=with_dependents)

    async def replay_all(
        self,
        *,
        type: str | None = None,  # noqa: A002
        error: str | None = None,
        older_than: Duration | None = None,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        dry_run: bool = False,
        cursor: str | None = None,
        progress: Callable[[Handled], None] | None = None,
    ) -> Handled:
        """Run all failed tasks again that fit the filters of ``list``; options as of ``replay``.

        A call that broke off may be repeated: what is replayed already is not failed any more.

        :param dry_run: only count them.
        :param cursor: go on from where an earlier call broke off.
        :param progress: called with what was done so far after each page, and the ``cursor`` to go on with.

        Example::

            await queue.dead_letters.replay_all(error="OSError", priority=1, delay="10m")
        """
        options = _dead_ops.changes(
            max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at
        )
        return await _dead_ops.replay_many(
            dead_filter(type, error, older_than), options, dry_run=dry_run, cursor=cursor
        ).run_async(self._client, progress)

    async def archive(self, *tasks: str | HasId) -> None:
        """Put finished tasks aside for good; failed ones are no longer listed here.

        They keep their output or error, and can be read by their ids, but never run again.

        :raises InvalidError: one of the tasks is not finished, or archived already; the others are archived.
        :raises NotFoundError: there is no such task; likewise.
        """
        await self._move("archive", tasks, None)

    async def archive_all(
        self,
        *,
        type: str | None = None,  # noqa: A002
        error: str | None = None,
        older_than: Duration | None = None,
        dry_run: bool = False,
        cursor: str | None = None,
        progress: Callable[[Handled], None] | None = None,
    ) -> Handled:
        """Archive all failed tasks that fit the filters of ``list``; ``cursor`` and ``progress`` as of ``replay_all``.

        :param dry_run: only count them.
        """
        return await _dead_ops.archive_many(
            dead_filter(type, error, older_than), dry_run=dry_run, cursor=cursor
        ).run_async(self._client, progress)

    async def purge(
        self,
        *,
        older_than: Duration,
        status: Iterable[TaskStatus | str] | TaskStatus | str = TaskStatus.FAILED,
        type: str | None = None,  # noqa: A002
        error: str | None = None,
        dry_run: bool = False,
        cursor: str | None = None,
        progress: Callable[[Purged], None] | None = None,
    ) -> Purged:
        """Delete finished tasks. They are gone, but for versions that the bucket keeps.

        Other statuses than ``failed`` are looked for in the list of all records, a request for each thousand of
        them and one for each that is old enough. ``cursor`` and ``progress`` are as of ``replay_all``.

        :param older_than: only tasks that ended so long ago, in records unchanged for as long; on S3 never less
            than 10 minutes.
        :param status: ``failed``, ``completed``, ``cancelled``, ``expired`` or ``archived``, or several.
        :param dry_run: only count what would go.
        :raises InvalidError: one of the statuses is not that of a finished task, or an argument is wrong.

        Example::

            print(await queue.dead_letters.purge(older_than="30d", dry_run=True))
        """
        return await _dead_ops.purge(
            dead_filter(type, error, older_than), status, dry_run=dry_run, cursor=cursor
        ).run_async(self._client, progress)

    async def lifecycle(self, *, keep_days: int = 30, apply: bool = False) -> Lifecycle:
        """The bucket's lifecycle rules that bound how long old versions are kept.

        :param keep_days: days that an old version of a record is kept, 1 to 3650.
        :param apply: give the rules to the bucket; rules of others stay.
        :raises UnsupportedError: ``apply`` on a store that is no bucket.
        """
        return await self._client.call_async(_dead_ops.lifecycle(keep_days, apply=apply))

    async def _move(
        self,
        op: str,
        tasks: Iterable[str | HasId],
        options: SubmitOptions | None,
        *,
        with_dependents: bool = False,
    ) -> None:
        results: Results = []
        for call in _dead_ops.move(op, tasks, options, with_dependents=with_dependents):
            results += await self._client.call_async(call)
        _dead_ops.check(results)
