"""The plain level: start runs, look at them, and tell them things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, Unpack, overload

from buquet import _codec
from buquet._checks import check_name
from buquet._durations import Duration, wire_duration
from buquet._ids import HasId, id_of, ids_of
from buquet._queue import Queue
from buquet.workflow import _workflow_ops as ops
from buquet.workflow._app_workflow import many
from buquet.workflow._definition import WorkflowFunction
from buquet.workflow._handle import RunHandle, started
from buquet.workflow._starting import StartOptions, StartWith, calls_of, pack, split, start_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buquet._app import Buquet
    from buquet._client import Call, Client
    from buquet.workflow._models import PruneCounts, RunPage, RunStatus, WishResult, WorkflowRun

P = ParamSpec("P")
R = TypeVar("R")
# Named here, because inside the class `list` is the method.
Handles: TypeAlias = "list[RunHandle[Any]]"
MaybeRuns: TypeAlias = "list[WorkflowRun | None]"


class WorkflowClient:
    """Starts runs of workflows in a queue, looks at them, and tells them things.

    :param queue: the queue, from ``connect``; or an app.

    Example::

        client = WorkflowClient(queue)
        run = await client.start(order, "o-17", id="order-17")
        await run.signal_async("approved", True)
        print(await run)
    """

    def __init__(self, queue: Queue | Buquet, given: StartOptions | None = None) -> None:
        """Use the queue's connection; ``options`` says what is ``given``."""
        self._queue = queue
        self._client: Client = queue.client if isinstance(queue, Queue) else queue.queue.client
        self._given = given or StartOptions()

    def options(self, **options: Unpack[StartWith]) -> WorkflowClient:
        """The same with options for what is started through it (see ``StartWith``).

        Here every argument of a body may be named, whatever options are called, and type checkers look at them.

        :raises InvalidError: an option is wrong.
        """
        return WorkflowClient(self._queue, start_options(options).over(self._given))

    @overload
    async def start(self, workflow: WorkflowFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    async def start(
        self, workflow: WorkflowFunction[..., R], /, *args: Any, id: str, **kwargs: Any
    ) -> RunHandle[R]: ...
    @overload
    async def start(self, workflow: str, input: Any = None, /, **options: Unpack[StartWith]) -> RunHandle[Any]: ...
    async def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
        """Start a run; when this returns, it is stored. Options (see ``StartWith``) stand beside the arguments.

        :param workflow: a workflow, whose arguments follow; or the name of one, whose whole input is the one argument:
            an object of the body's arguments by name.
        :raises ArgumentError: the arguments do not fit the body's signature. Nothing was stored.
        :raises EncodeError: an argument has no JSON form, or not the annotated type.
        :raises ConflictError: the id belongs to a run of another workflow or input, or that is not to be started anew.
        :raises UnavailableError: the store does not answer; the run may or may not be stored.
        """
        call, kind = self._start(workflow, args, kwargs)
        return started(self._client, await self._client.call_async(call), kind)

    def _start(
        self, workflow: WorkflowFunction[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Call[Any, ops.Started], Any]:
        if isinstance(workflow, str):
            check_name(workflow, "a workflow's name")
            (value,) = args or (None,)
            given = start_options(StartWith(**kwargs)).over(self._given)
            what = f"the input of workflow {workflow!r}"
            return ops.start(workflow, pack(self._client, workflow, lambda: _codec.encode(value, what)), given), Any
        signature = workflow.signature
        arguments, options = split(signature.names, kwargs)
        given = start_options(options).over(self._given)
        encoded = pack(self._client, workflow.name, lambda: signature.encode(args, arguments))
        return ops.start(workflow.name, encoded, given), signature.returns

    async def start_many(self, workflow: WorkflowFunction[..., R], calls: Iterable[Any]) -> list[RunHandle[R]]:
        """Start one run per item, up to 100 to a record; gives their handles in order.

        :param calls: the arguments of each run: a tuple of them, or its only one.
        :raises InvalidError: an item does not fit. Nothing was stored.
        """
        client, signature = self._client, workflow.signature
        encoded = [pack(client, workflow.name, lambda a=args: signature.encode(a, {})) for args in calls_of(calls)]
        handles: list[RunHandle[R]] = []
        for part in many(workflow.name, encoded, self._given):
            handles += [RunHandle(client, run_id, signature.returns) for run_id in await client.call_async(part)]
        return handles

    @overload
    def handle(self, run: str | HasId, workflow: WorkflowFunction[..., R]) -> RunHandle[R]: ...
    @overload
    def handle(self, run: str | HasId) -> RunHandle[Any]: ...
    def handle(self, run: str | HasId, workflow: WorkflowFunction[..., Any] | None = None) -> RunHandle[Any]:
        """A handle for a run whose id you kept, or that was listed; typed with its ``workflow``. Reads nothing."""
        return RunHandle(self._client, id_of(run), Any if workflow is None else workflow.signature.returns)

    async def get(self, run: str | HasId, *, steps: bool = False) -> WorkflowRun:
        """Read a run as it is stored now.

        :param steps: read also where everything that its body asked for stands.
        :raises NotFoundError: there is no such run.
        """
        return await self._client.call_async(ops.get(id_of(run), steps=steps))

    async def get_many(self, runs: Iterable[str | HasId], *, steps: bool = False) -> MaybeRuns:
        """Read several runs, in order; None stands for one that does not exist."""
        return await self._client.call_async(ops.get_many(ids_of(runs), steps=steps))

    async def list(
        self,
        *,
        workflow: str | WorkflowFunction[..., Any] | None = None,
        status: Iterable[RunStatus | str] | RunStatus | str | None = None,
        tag: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> RunPage:
        """Read one page of runs. Pass the page's ``cursor`` on to get the next one, until it is None.

        :param limit: most runs of the page, 1 to 1000, or a few more.
        """
        name = workflow.name if isinstance(workflow, WorkflowFunction) else workflow
        return await self._client.call_async(ops.list_runs(name, status, tag, limit, cursor))

    async def signal(self, run: str | HasId, name: str, payload: object = None, *, id: str | None = None) -> None:  # noqa: A002
        """Send a run a signal; see ``RunHandle.signal``."""
        await self.handle(run).signal_async(name, payload, id=id)

    async def complete(self, token: str, output: object = None) -> None:
        """Complete a callback: what ``ctx.callback`` gave this token for.

        :raises RunEndedError: it was completed before, or its run waits for it no more.
        """
        raw = _codec.encode(output, "the result of a callback")
        await self._client.call_async(ops.callback(token, "completed", output=raw))

    async def fail(self, token: str, message: str, *, type: str = "CallbackFailed") -> None:  # noqa: A002
        """Let a callback fail: the body gets a ``StepError`` of this type and message."""
        await self._client.call_async(ops.callback(token, "failed", error={"type": type, "message": message}))

    async def keep_alive(self, token: str) -> None:
        """Say that a callback with a heartbeat is still being worked on."""
        await self._client.call_async(ops.callback(token, "alive"))

    async def cancel(self, run: str | HasId, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Cancel a run; see ``RunHandle.cancel``."""
        return await self.handle(run).cancel_async(reason, by=by)

    async def pause(self, run: str | HasId, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Pause a run; see ``RunHandle.pause``."""
        return await self.handle(run).pause_async(reason, by=by)

    async def resume(self, run: str | HasId, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Resume a paused run; see ``RunHandle.resume``."""
        return await self.handle(run).resume_async(reason, by=by)

    async def retry(self, run: str | HasId, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """Let a failed run go on; see ``RunHandle.retry``."""
        return await self.handle(run).retry_async(reason, by=by)

    async def prune(
        self,
        older_than: Duration,
        *,
        workflow: str | WorkflowFunction[..., Any] | None = None,
        status: Iterable[RunStatus | str] | RunStatus | str | None = None,
        dry_run: bool = False,
    ) -> PruneCounts:
        """Remove runs that have ended, with their journals, results and unread signals. This cannot be undone.

        Safe while the queue is used, and to be interrupted: the next prune goes on.

        :param older_than: only those that ended so long ago, a duration.
        :param status: only those that ended like that: completed, failed or cancelled.
        :param dry_run: count them and remove nothing.
        """
        name = workflow.name if isinstance(workflow, WorkflowFunction) else workflow
        many = ops.prune(wire_duration(older_than, "older_than"), name, status, dry_run=dry_run)
        return await many.run_async(self._client)

    async def terminate(self, run: str | HasId, reason: str | None = None, *, by: str | None = None) -> WishResult:
        """End a run without its body; see ``RunHandle.terminate``."""
        return await self.handle(run).terminate_async(reason, by=by)
