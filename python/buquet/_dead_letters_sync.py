"""Failed tasks and what is done about them, for plain code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buquet import _dead_ops
from buquet._dead_ops import PAGE, Results, dead_filter
from buquet._models import CorruptObject, Task, TaskPage, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from datetime import datetime

    from buquet._client import Client
    from buquet._dead_models import Handled, Lifecycle, Purged
    from buquet._durations import Duration
    from buquet._ids import HasId
    from buquet._models import RetryPolicy
    from buquet._options import SubmitOptions


class SyncDeadLetters:
    """The failed tasks of an app's queue, for plain code; ``app.dead_letters``.

    The methods are those of ``DeadLetters``, each waiting until it is done.

    Example::

        for task in app.dead_letters:
            print(task.id, task.error)
        app.dead_letters.replay_all(error="OSError", delay="10m")
    """

    def __init__(self, client: Client) -> None:
        """Wrap a connection; use ``app.dead_letters`` instead."""
        self._client = client

    def __repr__(self) -> str:
        """Show where the queue is."""
        return f"SyncDeadLetters({self._client.config.address!r})"

    def __iter__(self) -> Iterator[Task]:
        """Go through all failed tasks."""
        return self.iterate()

    def list(
        self,
        *,
        type: str | None = None,  # noqa: A002
        error: str | None = None,
        older_than: Duration | None = None,
        limit: int = PAGE,
        cursor: str | None = None,
    ) -> TaskPage:
        """Read one page of failed tasks, as ``DeadLetters.list`` does."""
        return self._client.call(_dead_ops.failed(dead_filter(type, error, older_than), limit, cursor))

    def iterate(
        self,
        *,
        type: str | None = None,  # noqa: A002
        error: str | None = None,
        older_than: Duration | None = None,
    ) -> Generator[Task]:
        """Go through all failed tasks, with the filters of ``list``.

        :raises CorruptError: a stored object cannot be read; all others were given before.
        """
        wanted, cursor, corrupt = dead_filter(type, error, older_than), None, list[CorruptObject]()
        while True:
            page = self._client.call(_dead_ops.failed(wanted, PAGE, cursor))
            yield from page.tasks
            corrupt += page.corrupt
            cursor = page.cursor
            if cursor is None:
                break
        _dead_ops.refuse(corrupt)

    def replay(
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
        """Run failed tasks again, as ``DeadLetters.replay`` does.

        :raises InvalidError: one of the tasks is not failed; the others are replayed all the same.
        :raises NotFoundError: there is no such task; likewise.
        """
        options = _dead_ops.changes(
            max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at
        )
        self._move("replay", tasks, options, with_dependents=with_dependents)

    def replay_all(
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
        """Run all failed tasks again that fit the filters, as ``DeadLetters.replay_all`` does."""
        options = _dead_ops.changes(
            max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at
        )
        return _dead_ops.replay_many(dead_filter(type, error, older_than), options, dry_run=dry_run, cursor=cursor).run(
            self._client, progress
        )

    def archive(self, *tasks: str | HasId) -> None:
        """Put finished tasks aside for good, as ``DeadLetters.archive`` does."""
        self._move("archive", tasks, None)

    def archive_all(
        self,
        *,
        type: str | None = None,  # noqa: A002
        error: str | None = None,
        older_than: Duration | None = None,
        dry_run: bool = False,
        cursor: str | None = None,
        progress: Callable[[Handled], None] | None = None,
    ) -> Handled:
        """Archive all failed tasks that fit the filters, as ``DeadLetters.archive_all`` does."""
        return _dead_ops.archive_many(dead_filter(type, error, older_than), dry_run=dry_run, cursor=cursor).run(
            self._client, progress
        )

    def purge(
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
        """Delete finished tasks, as ``DeadLetters.purge`` does.

        Example::

            print(app.dead_letters.purge(status=["completed", "failed"], older_than="30d", dry_run=True))
        """
        return _dead_ops.purge(dead_filter(type, error, older_than), status, dry_run=dry_run, cursor=cursor).run(
            self._client, progress
        )

    def lifecycle(self, *, keep_days: int = 30, apply: bool = False) -> Lifecycle:
        """The bucket's lifecycle rules, as ``DeadLetters.lifecycle`` gives them."""
        return self._client.call(_dead_ops.lifecycle(keep_days, apply=apply))

    def _move(
        self,
        op: str,
        tasks: Iterable[str | HasId],
        options: SubmitOptions | None,
        *,
        with_dependents: bool = False,
    ) -> None:
        results: Results = []
        for call in _dead_ops.move(op, tasks, options, with_dependents=with_dependents):
            results += self._client.call(call)
        _dead_ops.check(results)
