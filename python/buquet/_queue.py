"""The plain level: a queue that stores JSON under a type name."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack, cast

from buquet import _cancelling, _codec, _ops
from buquet import _first_use as _first_use  # noqa: PLC0414 - imported for what it imports
from buquet._address import Config
from buquet._calls import TaskCall
from buquet._cancelling import CancelCounts, CancelResult
from buquet._checks import parent_id
from buquet._client import Client
from buquet._config import Configuration, config
from buquet._current import Waiting
from buquet._dead_letters import DeadLetters
from buquet._doctor import Diagnosis, doctor
from buquet._durations import Duration, wire_duration
from buquet._group import TaskGroup
from buquet._handle import TaskHandle
from buquet._ids import HasId, id_of, ids_of
from buquet._joining import group_of
from buquet._models import (
    History,
    RetryPolicy,
    StoreInfo,
    Task,
    TaskPage,
    TaskStatus,
    Usage,
    WorkerPage,
)
from buquet._options import plain_options
from buquet._schedule_calls import ScheduleCalls
from buquet._schemas import Schemas
from buquet._sending import submissions_async, submit_async
from buquet.codecs import check_codecs
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime
    from types import TracebackType

    from buquet._about import About, AboutOne
    from buquet._vault import Known, Parcel
    from buquet.codecs import Codec

# Named here, because inside the class `list` is the method.
MaybeTasks: TypeAlias = list[Task | None]
CancelResults: TypeAlias = list[CancelResult]
_Handles: TypeAlias = list[TaskHandle[Any]]


class Queue(ScheduleCalls):
    """An open queue. Use it from any thread and any event loop; close it when done.

    Get one from ``connect``. As an async context manager it closes itself.
    """

    def __init__(self, client: Client, info: StoreInfo | None = None) -> None:
        """Wrap a connection; use ``connect`` instead."""
        self._client = client
        self._info = info

    def __repr__(self) -> str:
        """Show where the queue lives."""
        return f"Queue({self._info.url if self._info else self._client.config.address!r})"

    @property
    def client(self) -> Client:
        """The connection, for the layers above."""
        return self._client

    async def info(self) -> StoreInfo:
        """Where the queue lives, what store that is, and where its URL came from."""
        if self._info is None:
            self._info = await self._client.call_async(_ops.connect())
        return self._info

    async def submit(
        self,
        type: str,  # noqa: A002 - the field's name everywhere
        input: Any = None,  # noqa: A002
        *,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        **about: Unpack[AboutOne],
    ) -> TaskHandle[Any]:
        """Store one task; when this returns, it is durable.

        :param type: what workers know it by: 1 to 128 of ``A-Z a-z 0-9 _ . : -``.
        :param input: anything with a JSON form, ``bytes``, or a ``File``.
        :param max_retries: attempts after the first, 0 or more (default 3).
        :param retry: the whole retry policy; ``max_retries`` is short for one part of it.
        :param timeout: how long one attempt may run, a duration (default 300 s).
        :param priority: 0 to 9, 9 runs first (default 5).
        :param delay: earliest start from now, a duration. Not together with ``at``.
        :param at: earliest start, an aware datetime.
        :param about: what else is told about it:

            - ``tags``: up to 16 words to find it by; ``metadata``: texts by name, up to 4 KiB together
            - ``parent``: the task it belongs to, its handle or id; in a handler, the running task when left out
            - ``ttl``: after how long it is too late to start it, a duration; or ``expires_at``, an aware datetime
            - ``idempotency_key``: makes it the only task of this key, so that a second submit gives the first's handle;
              ``unique=True``: the same, by the input instead of a key
            - ``unique_scope``: among the tasks of its ``"type"`` (the default) or of the whole ``"queue"``
            - ``unique_window``: for how long after the first submit, 1 s or more; default: as long as it is stored
        :raises InvalidError: an argument is wrong; nothing was stored.
        :raises ConflictError: a task in the key's scope has it with another input or type; nothing was stored.
        :raises UnavailableError: the store does not answer; the task may or may not be stored.

        Example::

            task = await queue.submit("send_email", {"to": "a@b.c"}, max_retries=5)
            print(await task)
        """
        options = plain_options(
            max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at, about=about
        )
        parcel = self._pack(type, input, f"the input of task {type!r}", options.known_by)
        return self._stored(await submit_async(self._client.vault, type, parcel, options))

    def bind(
        self,
        type: str,  # noqa: A002
        input: Any = None,  # noqa: A002
        *,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        **about: Unpack[AboutOne],
    ) -> TaskCall[Any]:
        """A task for ``group_async`` to submit, together with those of other types; options as in ``submit``.

        :raises InvalidError: an argument is wrong.

        Example::

            both = await group_async(queue.bind("resize", {"to": 64}), queue.bind("send_email", priority=9))
        """
        options = plain_options(
            max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at, about=about
        )
        parcel = self._pack(type, input, f"the input of task {type!r}", options.known_by)
        return TaskCall(self._client, type, parcel, options, self._stored)

    def _stored(self, stored: _ops.Submitted) -> TaskHandle[Any]:
        return TaskHandle(self._client, stored.id, created=stored.created)

    async def submit_many(
        self,
        type: str,  # noqa: A002
        inputs: Iterable[Any],
        *,
        max_retries: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        **about: Unpack[About],
    ) -> TaskGroup[Any]:
        """Store one task per input, about a hundred to a request; options as in ``submit``.

        Inputs are all encoded, and checked against the type's schema if it has one, before the first is stored.
        More than 10,000 go in several operations: if the store fails at one of those, the ones before it are stored.

        :raises InvalidError: an argument is wrong; the message says which, inputs counted from 0. Nothing was stored.
        """
        options = plain_options(
            max_retries=max_retries, retry=retry, timeout=timeout, priority=priority, delay=delay, at=at, about=about
        )
        if isinstance(inputs, str | bytes) or not isinstance(cast("object", inputs), Iterable):
            raise InvalidError(
                f"inputs={reprlib.repr(inputs)} must be a collection with an input for each task; submit stores one"
            )
        parcels = [self._pack(type, item, f"input {index} of task {type!r}") for index, item in enumerate(inputs)]
        handles: _Handles = []
        async for call in submissions_async(self._client.vault, type, parcels, options):
            ids = await self._client.call_async(call)
            handles += [TaskHandle(self._client, task_id, created=True) for task_id in ids]
        return TaskGroup(self._client, handles)

    def _pack(self, kind: str, value: object, what: str, known_by: Known = None) -> Parcel:
        return self._client.vault.pack(lambda: _codec.encode(value, what), "input", kind, known_by=known_by)

    def handle(self, task: str | HasId) -> TaskHandle[Any]:
        """A handle for a task whose id you kept, or that was listed. Reads nothing."""
        return TaskHandle(self._client, id_of(task))

    def group(self, tasks: Iterable[str | HasId]) -> TaskGroup[Any]:
        """A group of tasks whose ids you kept, or that were listed. Reads nothing."""
        return group_of(self._client, tasks, self.handle)

    async def get(self, task: str | HasId) -> Task:
        """Read one task.

        :raises NotFoundError: there is no such task.
        :raises InvalidError: the id is no task id.
        """
        return await self._client.call_async(_ops.get(id_of(task)))

    async def get_many(self, tasks: Iterable[str | HasId]) -> MaybeTasks:
        """Read several tasks in order; None stands for one that does not exist."""
        return await self._client.call_async(_ops.get_many(ids_of(tasks)))

    async def list(
        self,
        *,
        status: Iterable[TaskStatus | str] | TaskStatus | str | None = None,
        type: str | None = None,  # noqa: A002
        tag: str | None = None,
        parent: str | HasId | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> TaskPage:
        """Read one page of tasks, in no particular order.

        Pass the page's ``cursor`` on to get the next one, until it is None.

        :param limit: 1 to 1000. Tasks stored together, as by ``submit_many``, stay so: there may be a hundred more.
        """
        call = _ops.list_tasks(status, type, limit, cursor, tag=tag, parent=parent_id(parent))
        return await self._client.call_async(call)

    async def cancel(
        self, tasks: Iterable[str | HasId], *, reason: str | None = None, by: str | None = None
    ) -> CancelResults:
        """Call tasks off, up to 100,000; what became of each, in order. Those that share a record cost two requests.

        :param reason: why, up to 500 characters; ``by`` is who, this process's user and machine when left out.
        :raises CorruptError: a record cannot be read; the tasks of all others are called off.
        """
        return await self._client.call_async(_cancelling.cancel(ids_of(tasks), reason, by))

    async def cancel_matching(
        self,
        *,
        type: str | None = None,  # noqa: A002
        tag: str | None = None,
        parent: str | HasId | None = None,
        reason: str | None = None,
        by: str | None = None,
    ) -> CancelCounts:
        """Call off all waiting and running tasks of a type, with a tag, of a parent: what is given must all hold.

        Ended tasks are not looked at, so that this costs what the waiting and running ones do.

        :raises InvalidError: nothing says which tasks.
        """
        wanted = _cancelling.filters(type, tag, parent_id(parent))
        return await _cancelling.cancel_many(wanted, reason, by).run_async(self._client)

    @property
    def dead_letters(self) -> DeadLetters:
        """The failed tasks: list, replay, archive and purge them."""
        return DeadLetters(self._client)

    async def history(self, task: str | HasId, *, limit: int | None = None, cursor: str | None = None) -> History:
        """Read one page of a task's revisions, oldest first."""
        return await self._client.call_async(_ops.history(id_of(task), limit, cursor))

    async def wait(self, task: str | HasId, timeout: Duration | None = None) -> Task:
        """Wait until a task has ended, well or not, and give it as it ended.

        :param timeout: the longest wait, a duration; for ever when left out.
        :raises WaitTimeoutError: it had not ended in time; it goes on.
        """
        limit = None if timeout is None else wire_duration(timeout, "timeout")
        with Waiting():
            return await self._client.call_async(_ops.wait(id_of(task), limit))

    async def workers(self) -> WorkerPage:
        """The workers that have a heartbeat in the store, dead ones included.

        Example::

            for worker in (await queue.workers()).workers:
                print(worker.id, worker.alive)
        """
        return await self._client.call_async(_ops.workers())

    async def usage(self) -> Usage:
        """Requests made through this queue since it was opened, and their price on S3."""
        return await self._client.call_async(_ops.usage())

    @property
    def schemas(self) -> Schemas:
        """The JSON Schemas of task types: publish, read and delete them."""
        return Schemas(self._client)

    async def config(self) -> Configuration:
        """Every option, its value, and where that came from. Reaches no store; holds no secret."""
        return await self._client.call_async(config())

    async def doctor(self, *, deep: bool = False, cursor: str | None = None) -> Diagnosis:
        """Look at the store and the queue, and say what is wrong and what to do about it.

        It answers also where the store does not, and changes nothing but scratch keys of its own.

        :param deep: read every record rather than a sample, a page at a time: pass the answer's
            ``cursor`` on until it is None.
        :param cursor: read the next page of records, and nothing else.
        """
        return await self._client.call_async(doctor(deep=deep, cursor=cursor))

    async def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        await self._client.close_async()

    async def __aenter__(self) -> Self:
        """Give the queue itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the queue."""
        await self.close()


class Connecting:
    """What ``connect`` returns: await it, or enter it with ``async with``."""

    def __init__(self, config: Config, codecs: Iterable[Codec] = ()) -> None:
        """Remember where to connect."""
        self._config = config
        self._codecs = check_codecs(codecs)
        self._queue: Queue | None = None

    def __await__(self) -> Generator[Any, Any, Queue]:
        """Connect."""
        return self._connect().__await__()

    async def __aenter__(self) -> Queue:
        """Connect."""
        self._queue = await self._connect()
        return self._queue

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the queue."""
        if self._queue is not None:
            await self._queue.close()

    async def _connect(self) -> Queue:
        client = Client(self._config, codecs=self._codecs)
        try:
            return Queue(client, await client.call_async(_ops.connect()))
        except BaseException:
            client.close_behind()
            raise


def connect(
    url: str | None = None,
    *,
    region: str | None = None,
    endpoint: str | None = None,
    profile: str | None = None,
    codecs: Iterable[Codec] = (),
) -> Connecting:
    """Open a queue and reach its store.

    :param url: ``s3://bucket/prefix``, ``sqlite:PATH`` or ``memory:``. Left out:
        ``BUQUET_URL``, ``S3_BUCKET`` and its kin, ``.buquet.toml``, and last the
        embedded store ``sqlite:.buquet/buquet.db``.
    :param region: the S3 region.
    :param endpoint: the S3 server's URL, for other than AWS.
    :param profile: the section of ``.buquet.toml`` to use.
    :param codecs: what inputs, results and errors pass through, in this order; see ``buquet.codecs``.
    :raises ConfigError: the URL or the configuration is wrong.
    :raises DeniedError: wrong credentials, no permission, or no such bucket.
    :raises UnsupportedError: the store lacks what buquet needs, such as conditional writes.

    Example::

        queue = await connect("s3://my-bucket/jobs")
        async with connect() as queue:  # closes itself
            ...
    """
    return Connecting(Config(url=url, region=region, endpoint=endpoint, profile=profile).here(), codecs)
