"""The decorator of ``Buquet`` that is about workflows. Who declares none does not pay for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypedDict, TypeVar, Unpack, overload

from buquet._forking import whole
from buquet._ids import HasId, id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from buquet._client import Client
    from buquet.workflow import RunHandle, SyncWorkflowContext, WorkflowContext, WorkflowFunction
    from buquet.workflow._app_workflow import AppWorkflow, AppWorkflowDecorator
    from buquet.workflow._starting import StartWith

P = ParamSpec("P")
R = TypeVar("R")


class RunLimits(TypedDict, total=False):
    """What a worker does at a time for workflows; see ``Worker``."""

    runs: int | None
    plain_bodies: int | None
    plain_steps: int | None


class WorkflowApp:
    """What ``Buquet`` does with workflows."""

    _client: Client

    def __init__(self) -> None:
        """Start without workflows."""
        super().__init__()
        self._workflows: dict[str, WorkflowFunction[..., Any]] = {}

    # A plain function may return a coroutine too; the overload for async ones is meant to win.
    @overload
    def workflow(  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, R]], /
    ) -> AppWorkflow[P, R]: ...
    @overload
    def workflow(self, function: Callable[Concatenate[SyncWorkflowContext, P], R], /) -> AppWorkflow[P, R]: ...
    @overload
    def workflow(
        self, /, *, name: str | None = None, version: str | None = None, **options: Unpack[StartWith]
    ) -> AppWorkflowDecorator: ...
    def workflow(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        version: str | None = None,
        **options: Unpack[StartWith],
    ) -> Any:
        """Make a workflow of a function: ``@app.workflow`` or ``@app.workflow(...)``.

        Its first parameter takes the context: a ``WorkflowContext`` in an ``async def``, a ``SyncWorkflowContext`` in
        a plain ``def``.

        :param name: what the workflow is called in the queue (default: the function's name).
        :param version: any text, shown beside a run whose journal the code does not fit.
        :param options: defaults of every start, such as ``timeout`` or ``tags``; see ``StartWith``.
        :raises InvalidError: the function or an option cannot be used, or the name is taken.

        Example::

            @app.workflow(timeout="30d")
            async def order(ctx: WorkflowContext, order_id: str) -> str:
                return await ctx.step(charge, order_id, retries=5)

            run = order.start("o-17", id="order-17")
        """
        with whole:
            from buquet.workflow._app_workflow import AppWorkflow  # noqa: PLC0415
            from buquet.workflow._registering import register  # noqa: PLC0415
            from buquet.workflow._starting import refuse_codecs, start_options  # noqa: PLC0415

        refuse_codecs(self._client)
        given = start_options(options)

        def declare(function: Callable[..., Any]) -> AppWorkflow[..., Any]:
            declared = AppWorkflow[..., Any](function, self._client, name=name, version=version, given=given)
            register(self._workflows, [declared])
            return declared

        return declare if function is None else declare(function)

    @property
    def workflows(self) -> dict[str, WorkflowFunction[..., Any]]:
        """The workflows by name."""
        return dict(self._workflows)

    def register(self, *workflows: WorkflowFunction[..., Any]) -> None:
        """Let this app's workers drive the runs of workflows that are declared elsewhere, with ``@workflow``.

        :raises InvalidError: one is no workflow, or there is another of its name.
        """
        from buquet.workflow._registering import register  # noqa: PLC0415 - as above

        register(self._workflows, workflows)

    def run_handle(self, run: str | HasId) -> RunHandle[Any]:
        """A handle for a run whose id you kept, or that was listed; ``order.handle(id)`` is typed."""
        from buquet.workflow._handle import RunHandle  # noqa: PLC0415 - as above

        return RunHandle(self._client, id_of(run))
