"""The engine's operations, typed: request in, answer out. ``docs/abi.md`` has their JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec

from buquet._checks import check_limit
from buquet._client import Call
from buquet._current import current_task_id
from buquet._models import (
    CorruptObject,
    History,
    Payload,
    StoreInfo,
    Task,
    TaskPage,
    TaskStatus,
    Usage,
    WorkerPage,
    check_text,
)
from buquet.errors import InvalidError, no_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buquet._chain import Chain
    from buquet._client import Check
    from buquet._options import SubmitOptions

SUBMIT_MANY_LIMIT = 10_000
"""The most inputs of one ``submit_many`` operation."""


class Submitted(msgspec.Struct, frozen=True):
    """A task that is stored; ``created`` is false where it was there already."""

    id: str
    created: bool = True


class _SubmittedMany(msgspec.Struct):
    ids: list[str]


class _SubmittedGraph(msgspec.Struct):
    nodes: list[list[str]]


class _Got(msgspec.Struct):
    tasks: list[Task | None]


class Written(msgspec.Struct, frozen=True):
    """A payload under way; ``payload`` is there once it is complete."""

    upload: str
    payload: Payload | None = None


class _Piece(msgspec.Struct):
    data: bytes


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """One page of collecting payloads that nothing names."""

    orphans: int
    bytes: int
    kept: int
    cursor: str | None = None
    corrupt: list[CorruptObject] = []


class _Worker(msgspec.Struct):
    worker: str


class _Extended(msgspec.Struct):
    expires_at: datetime


class _Stopped(msgspec.Struct):
    released: int = 0


class ResultsInto(msgspec.Struct, frozen=True):
    """Where a handler takes the results of the tasks that it ran after; ``one`` of them, or a list."""

    into: str
    one: bool = False


class AfterTasks(msgspec.Struct, frozen=True):
    """The tasks that a task ran after."""

    on: str
    tasks: list[str]
    open: int = 0
    results: ResultsInto | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that this worker is to make."""

    id: str
    lease: str
    type: str
    input: msgspec.Raw
    input_ref: Payload | None = None
    input_files: list[Payload] = []
    attempt: int
    retry_count: int = 0
    max_retries: int = 0
    priority: int = 5
    timeout_ms: int
    expires_at: datetime
    submitted_at: datetime | None = None
    tags: list[str] = []
    metadata: dict[str, str] = {}
    parent: str | None = None
    after: AfterTasks | None = None


class Loss(msgspec.Struct, frozen=True):
    """A lease that is gone while its attempt still runs."""

    id: str
    lease: str
    reason: str = ""


class CalledOff(msgspec.Struct, frozen=True):
    """Somebody wants a task called off while its attempt runs."""

    id: str
    lease: str
    by: str | None = None
    reason: str | None = None


class Assignments(msgspec.Struct, frozen=True):
    """What ``worker.next`` answers.

    ``problems`` are stored objects that were set aside, ``warnings`` tell of a store that gives trouble.
    """

    assignments: list[Assignment] = []
    lost: list[Loss] = []
    cancelled: list[CalledOff] = []
    problems: list[CorruptObject] = []
    warnings: list[str] = []
    state: str = "running"


class Settled(msgspec.Struct, frozen=True):
    """What became of one outcome: ``committed``, ``lease_lost`` or ``refused``."""

    id: str
    state: str
    status: str = ""
    message: str = ""


class DevServer(msgspec.Struct, frozen=True, kw_only=True):
    """A running S3 server for development, and how to reach it."""

    server: str
    endpoint: str
    store: str
    region: str
    bucket: str
    access_key: str
    secret_key: str
    url: str

    def environment(self) -> dict[str, str]:
        """What buquet, the AWS SDKs and the AWS command line need to find it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_S3": self.endpoint,  # which counts for more, where somebody has set it
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "BUQUET_URL": self.url,
        }


class _SettledAll(msgspec.Struct):
    settled: list[Settled]


def connect() -> Call[StoreInfo, StoreInfo]:
    """Reach the store now, rather than at the first use."""
    return Call("connect", {}, StoreInfo, lambda info: info)


def submit(
    kind: str, encoded: bytes, options: SubmitOptions, payloads: Sequence[Payload] = ()
) -> Call[Submitted, Submitted]:
    """Store one task. ``payloads`` are those that its input speaks of."""
    check_text(kind, "type")
    request = {"type": kind, "input": msgspec.Raw(encoded), **_given(options)}
    if payloads:
        request["payloads"] = payloads
    call = Call("submit", request, Submitted, lambda answer: answer)
    if options.known_by == "key":
        call.check = lambda chain, answer: _compare(chain, answer, kind, encoded)
    return call


def _compare(chain: Chain, answer: Submitted, kind: str, encoded: bytes) -> Check:
    """Compare the input with that of the task that was there already, where the engine cannot: behind codecs."""
    if not answer.created:
        from buquet._comparing import compare  # noqa: PLC0415 - only for those who use codecs

        yield from compare(chain, answer.id, kind, encoded)


def submit_many(kind: str, encoded: Sequence[bytes], options: SubmitOptions) -> Call[Any, list[str]]:
    """Store up to ``SUBMIT_MANY_LIMIT`` tasks; gives their ids in order."""
    if options.unique not in (msgspec.UNSET, None):
        raise InvalidError(
            "unique tasks are submitted one by one: call submit for each of them, or leave unique=True and "
            "idempotency_key= out; of a task that is declared unique, submit task.options(unique=False).map(...)"
        )
    check_text(kind, "type")
    request = {"type": kind, "inputs": [msgspec.Raw(item) for item in encoded], **_given(options)}
    if options.after:
        request["after"] = [{"id": task_id} for task_id in options.after]
        graph = Call("submit_graph", {"nodes": [request]}, _SubmittedGraph, lambda answer: answer.nodes[0])
        return cast("Call[Any, list[str]]", graph)
    request = {name: value for name, value in request.items() if name not in ("after", "on", "results")}
    return Call("submit_many", request, _SubmittedMany, lambda answer: answer.ids)


def get(task_id: str) -> Call[_Got, Task]:
    """Read one task."""

    def finish(answer: _Got) -> Task:
        task = answer.tasks[0] if answer.tasks else None
        if task is None:
            raise no_task(task_id)
        return task

    return Call("get", {"ids": [task_id]}, _Got, finish)


def get_many(task_ids: Iterable[str]) -> Call[_Got, list[Task | None]]:
    """Read several tasks; None stands for one that does not exist."""
    return Call("get", {"ids": list(task_ids)}, _Got, lambda answer: answer.tasks)


def list_tasks(
    status: Iterable[TaskStatus | str] | TaskStatus | str | None,
    kind: str | None,
    limit: int,
    cursor: str | None,
    *,
    tag: str | None = None,
    parent: str | None = None,
) -> Call[TaskPage, TaskPage]:
    """Read one page of tasks."""
    for name, value in (("type", kind), ("tag", tag), ("cursor", cursor)):
        check_text(value, name)
    check_limit(limit)
    request: dict[str, Any] = {"limit": limit}
    request |= {name: value for name, value in (("tag", tag), ("parent", parent)) if value is not None}
    if status is not None:
        request["status"] = status_names(status)
    if kind is not None:
        request["type"] = kind
    if cursor is not None:
        request["cursor"] = cursor
    return Call("list", request, TaskPage, lambda page: page)


def history(task_id: str, limit: int | None, cursor: str | None) -> Call[History, History]:
    """Read one page of a task's revisions."""
    check_text(cursor, "cursor")
    request: dict[str, Any] = {"id": task_id}
    if limit is not None:
        check_limit(limit)
        request["limit"] = limit
    if cursor is not None:
        request["cursor"] = cursor
    return Call("history", request, History, lambda page: page)


def wait(task_id: str, timeout: float | str | None) -> Call[Task, Task]:
    """Wait until the task has ended."""
    request: dict[str, Any] = {"id": task_id}
    if timeout is not None:
        request["timeout"] = timeout
    return Call("wait", request, Task, lambda task: task)


def workers() -> Call[WorkerPage, WorkerPage]:
    """Read the workers' heartbeats."""
    return Call("workers", {}, WorkerPage, lambda answer: answer)


def usage() -> Call[Usage, Usage]:
    """Count the requests of this connection."""
    return Call("usage", {}, Usage, lambda answer: answer)


def worker_start(types: Sequence[str], concurrency: int, prefetch: int | None) -> Call[_Worker, str]:
    """Register a worker; gives its id."""
    request: dict[str, Any] = {"types": list(types), "concurrency": concurrency, "host": os.uname().nodename}
    if prefetch is not None:
        request["prefetch"] = prefetch
    return Call("worker.start", request, _Worker, lambda answer: answer.worker)


def worker_next(worker: str, free: int, wait_seconds: float) -> Call[Assignments, Assignments]:
    """Wait for assignments, at most ``free`` of them, or for news of lost leases."""
    request = {"worker": worker, "max": free, "wait": wait_seconds}
    return Call("worker.next", request, Assignments, lambda answer: answer)


def worker_settle(worker: str, outcomes: Sequence[Any]) -> Call[_SettledAll, list[Settled]]:
    """Report how attempts ended."""
    request = {"worker": worker, "outcomes": outcomes}
    return Call("worker.settle", request, _SettledAll, lambda answer: answer.settled)


def worker_extend(worker: str, task_id: str, lease: str, by: float | str) -> Call[_Extended, datetime]:
    """Move a lease's expiry; gives the new one."""
    request = {"worker": worker, "id": task_id, "lease": lease, "by": by}
    return Call("worker.extend", request, _Extended, lambda answer: answer.expires_at)


def worker_progress(
    worker: str, task_id: str, lease: str, value: float, message: str | None
) -> Call[dict[str, Any], None]:
    """Say how far an attempt has come; written now and then."""
    request: dict[str, Any] = {"worker": worker, "id": task_id, "lease": lease, "value": value}
    if message is not None:
        request["message"] = message
    return Call("worker.progress", request, dict[str, Any], lambda _: None)


def worker_stuck(worker: str, places: int) -> Call[dict[str, Any], None]:
    """Say how many places are taken for good; ``workers`` and the doctor show it."""
    return Call("worker.stuck", {"worker": worker, "places": places}, dict[str, Any], lambda _: None)


def worker_drain(worker: str) -> Call[dict[str, Any], None]:
    """Stop claiming."""
    return Call("worker.drain", {"worker": worker}, dict[str, Any], lambda _: None)


def worker_stop(worker: str) -> Call[_Stopped, int]:
    """Release what is held and sign off; gives how many leases were released."""
    return Call("worker.stop", {"worker": worker}, _Stopped, lambda answer: answer.released)


def payload_write(data: bytes, upload: str | None, owner: str | None, *, last: bool) -> Call[Written, Written]:
    """Write the next piece of a payload."""
    request: dict[str, Any] = {"data": data, "last": last}
    if upload is not None:
        request["upload"] = upload
    if owner is not None:
        request["owner"] = owner
    return Call("payload.write", request, Written, lambda answer: answer)


def payload_read(payload: Payload, piece: int) -> Call[_Piece, bytes]:
    """Read one piece of a payload."""
    return Call("payload.read", {"payload": payload, "piece": piece}, _Piece, lambda answer: answer.data)


def payload_collect(older_than: float | str | None, cursor: str | None, *, dry_run: bool) -> Call[Collected, Collected]:
    """Collect one page of payloads that nothing names."""
    request: dict[str, Any] = {"dry_run": dry_run}
    if older_than is not None:
        request["older_than"] = older_than
    if cursor is not None:
        request["cursor"] = cursor
    return Call("payload.collect", request, Collected, lambda answer: answer)


def dev_server_start(
    *,
    store: str,
    host: str,
    port: int,
    allow_remote: bool,
    bucket: str,
    access_key: str | None,
    secret_key: str | None,
    faults: dict[str, Any],
) -> Call[DevServer, DevServer]:
    """Start an S3 server in this engine."""
    request: dict[str, Any] = {"store": store, "host": host, "port": port, "allow_remote": allow_remote}
    request |= {"bucket": bucket, "faults": faults}
    keys = {"access_key": access_key, "secret_key": secret_key}
    request |= {name: value for name, value in keys.items() if value is not None}
    return Call("dev_server.start", request, DevServer, lambda server: server)


def dev_server_stop(server: str) -> Call[dict[str, Any], None]:
    """Stop a server, once the requests under way are answered."""
    return Call("dev_server.stop", {"server": server}, dict[str, Any], lambda _: None)


def _given(options: SubmitOptions) -> dict[str, Any]:
    """What is set; a task that a handler submits is a child of the running one, unless it is to have no parent."""
    given = {name: getattr(options, name) for name in options.__struct_fields__}
    if options.parent is msgspec.UNSET:
        given["parent"] = current_task_id()
    return {name: value for name, value in given.items() if value not in (msgspec.UNSET, None)}


def status_names(status: Iterable[TaskStatus | str] | TaskStatus | str) -> list[str]:
    """The names of one status or of several.

    :raises InvalidError: there is no such status.
    """
    several = isinstance(cast("object", status), Iterable) and not isinstance(status, str)
    return [_status_name(item) for item in cast("Iterable[TaskStatus | str]", status if several else [status])]


def _status_name(value: TaskStatus | str) -> str:
    try:
        return TaskStatus(value).value
    except ValueError:
        known = ", ".join(TaskStatus)
        raise InvalidError(f"there is no status {value!r}; known are {known}") from None
