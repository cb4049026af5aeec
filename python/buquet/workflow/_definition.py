"""Durable functions as they are declared."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from buquet._checks import check_name
from buquet._models import check_text
from buquet.errors import InvalidError
from buquet.workflow._signatures import WorkflowSignature

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import NoReturn

    from buquet.workflow._context import WorkflowContext
    from buquet.workflow._sync_context import SyncWorkflowContext

P = ParamSpec("P")
R = TypeVar("R")


class WorkflowFunction(Generic[P, R]):
    """A function whose runs survive every crash. It is started, not called."""

    def __init__(self, function: Callable[..., Any], *, name: str | None = None, version: str | None = None) -> None:
        """Declare the function.

        :raises InvalidError: it can be no workflow; it says why.
        """
        if not inspect.isfunction(function):
            raise InvalidError(f"a workflow is a plain or async function, not {function!r}")
        where = f"{function.__module__}.{function.__qualname__}"
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidError(f"{where} is a generator; a workflow returns its result")
        check_text(version, "version")
        self.name = name if name is not None else function.__name__
        check_name(self.name, "a workflow's name")
        self.version = version
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.signature = WorkflowSignature(function, self.name)
        if self.signature.context_name is None:
            raise InvalidError(f"{where} takes no context: its first parameter is to be ctx: WorkflowContext")
        if self.signature.context_name in ("self", "cls"):
            raise InvalidError(f"{where} is a method, and a replay would not have its object; make it a function")
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<workflow {self.name!r}>"

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse to be called.

        :raises InvalidError: always.
        """
        raise InvalidError(
            f"workflow {self.name!r} is started, not called: in another workflow use ctx.child({self.name}, ...)"
        )


class WorkflowDecorator(Protocol):
    """What ``@workflow(...)`` is: it keeps the signature, less the context."""

    # A plain function may return a coroutine too; the overload for async ones is meant to win.
    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[SyncWorkflowContext, P], R], /) -> WorkflowFunction[P, R]: ...


@overload
def workflow(  # pyright: ignore[reportOverlappingOverload]
    function: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, R]], /
) -> WorkflowFunction[P, R]: ...
@overload
def workflow(function: Callable[Concatenate[SyncWorkflowContext, P], R], /) -> WorkflowFunction[P, R]: ...
@overload
def workflow(*, name: str | None = None, version: str | None = None) -> WorkflowDecorator: ...
def workflow(function: Any = None, /, *, name: str | None = None, version: str | None = None) -> Any:
    """Declare a durable function: ``async def`` with a ``WorkflowContext``, or plain with a ``SyncWorkflowContext``.

    :param name: what the workflow is called in the queue (default: the function's name).
    :param version: any text, shown beside a run whose journal the code does not fit.
    :raises InvalidError: the function can be no workflow; it says why.

    Example::

        @workflow(version="2")
        async def order(ctx: WorkflowContext, order_id: str) -> str:
            return await ctx.step(charge, order_id, retries=5)
    """

    def declare(function: Callable[..., Any]) -> WorkflowFunction[..., Any]:
        return WorkflowFunction(function, name=name, version=version)

    return declare if function is None else declare(function)
