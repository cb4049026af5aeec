"""The engine's operations on finished tasks, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from buquet._checks import check_limit
from buquet._client import Call
from buquet._dead_models import Handled, Lifecycle, Purged
from buquet._durations import wire_duration
from buquet._ids import ids_of
from buquet._many import Many
from buquet._models import (
    CorruptObject,
    RetryPolicy,
    TaskPage,
    TaskStatus,
    check_flag,
    check_text,
)
from buquet._ops import status_names
from buquet._options import plain_options
from buquet.errors import CorruptError, InvalidError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from buquet._durations import Duration
    from buquet._ids import HasId
    from buquet._options import SubmitOptions

PAGE = 100
"""Records of one step, tasks of one page."""
_IDS = 1_000
"""The most ids of one operation."""
_LONGEST_DAYS = 3650
"""The longest that a lifecycle rule keeps old versions."""


class Result(msgspec.Struct, frozen=True):
    """What became of one task: ``replayed``, ``archived``, ``refused`` or ``missing``."""

    id: str
    outcome: str
    message: str = ""


class _Results(msgspec.Struct):
    results: list[Result]


class _Step(msgspec.Struct):
    tasks: int
    records: int
    kept: int = 0
    bytes: int = 0
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


Results: TypeAlias = list[Result]
Filter: TypeAlias = dict[str, Any]


def dead_filter(kind: str | None, error: str | None, older_than: Duration | None) -> Filter:
    """Which failed tasks, as the engine takes it."""
    check_text(kind, "type")
    check_text(error, "error")
    wanted: Filter = {"type": kind, "error": error}
    if older_than is not None:
        wanted["older_than"] = wire_duration(older_than, "older_than")
    return {name: value for name, value in wanted.items() if value is not None}


def changes(
    *,
    max_retries: int | None,
    retry: RetryPolicy | None,
    timeout: Duration | None,
    priority: int | None,
    delay: Duration | None,
    at: datetime | None,
) -> SubmitOptions:
    """What is different when a task runs again."""
    return plain_options(max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at)


def failed(wanted: Filter, limit: int, cursor: str | None) -> Call[TaskPage, TaskPage]:
    """Read one page of failed tasks."""
    check_limit(limit)
    check_text(cursor, "cursor")
    request = {**wanted, "limit": limit} | ({} if cursor is None else {"cursor": cursor})
    return Call("failed", request, TaskPage, lambda page: page)


def move(
    op: str, tasks: Iterable[str | HasId], options: SubmitOptions | None, *, with_dependents: bool = False
) -> Iterator[Call[_Results, list[Result]]]:
    """Replay or archive tasks by their ids, in as many operations as that takes."""
    ids = ids_of(tasks)
    check_flag(with_dependents, "with_dependents")
    more = {"with_dependents": True} if with_dependents else {}
    for start in range(0, len(ids), _IDS):
        request = {"ids": ids[start : start + _IDS], **_given(options), **more}
        yield Call(op, request, _Results, lambda answer: answer.results)


def check(results: Results) -> None:
    """Raise if a task could not be moved."""
    wrong = [result for result in results if result.outcome in {"refused", "missing"}]
    if wrong:
        more = f" (and {len(wrong) - 1} more of {len(results)})" if wrong[1:] else ""
        missing = all(result.outcome == "missing" for result in wrong)
        raise (NotFoundError if missing else InvalidError)(wrong[0].message + more)


def lifecycle(keep_days: int, *, apply: bool) -> Call[Lifecycle, Lifecycle]:
    """Build the bucket's lifecycle rules; give them to it."""
    check_limit(keep_days, _LONGEST_DAYS, "keep_days")
    check_flag(apply, "apply")
    return Call("lifecycle", {"keep_days": keep_days, "apply": apply}, Lifecycle, lambda answer: answer)


def refuse(corrupt: list[CorruptObject]) -> None:
    """Raise if there is anything that cannot be read."""
    if corrupt:
        more = f" (and {len(corrupt) - 1} more)" if corrupt[1:] else ""
        raise CorruptError(f"{corrupt[0].key}: {corrupt[0].message}{more}")


def replay_many(wanted: Filter, options: SubmitOptions, *, dry_run: bool, cursor: str | None = None) -> Many[Handled]:
    """Run failed tasks again."""
    check_flag(dry_run, "dry_run")
    request = {**wanted, **_given(options), "dry_run": dry_run, "limit": PAGE}
    return Many("replay_many", request, _Step, Handled(), cursor=cursor)


def archive_many(wanted: Filter, *, dry_run: bool, cursor: str | None = None) -> Many[Handled]:
    """Put failed tasks aside."""
    check_flag(dry_run, "dry_run")
    request = {**wanted, "dry_run": dry_run, "limit": PAGE}
    return Many("archive_many", request, _Step, Handled(), cursor=cursor)


def purge(
    wanted: Filter,
    status: Iterable[TaskStatus | str] | TaskStatus | str,
    *,
    dry_run: bool,
    cursor: str | None = None,
) -> Many[Purged]:
    """Delete finished tasks."""
    if "older_than" not in wanted:
        raise InvalidError('older_than=None is no age: say how long ago the tasks ended that are to go, such as "30d"')
    check_flag(dry_run, "dry_run")
    request = {**wanted, "status": status_names(status), "dry_run": dry_run, "limit": PAGE}
    return Many("purge", request, _Step, Purged(), cursor=cursor)


def _given(options: SubmitOptions | None) -> dict[str, Any]:
    return {} if options is None else msgspec.to_builtins(options)
