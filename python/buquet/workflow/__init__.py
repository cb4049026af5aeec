"""Durable functions: plain Python that survives every crash of its process.

::

    from buquet.workflow import WorkflowContext, workflow


    def charge(order_id: str) -> str: ...


    @workflow
    async def order(ctx: WorkflowContext, order_id: str) -> str:
        payment = await ctx.step(charge, order_id, retries=5)
        await ctx.sleep("3d")
        return payment

What a body may do, what is recorded when, and what may run twice, ``docs/determinism.md`` says.
"""

from buquet.workflow._async_steps import AsyncSteps, CallbackFuture, OperationFuture
from buquet.workflow._cancelled import RunCancelledError
from buquet.workflow._context import ChildStarter, WorkflowContext
from buquet.workflow._context_base import RunInfo, Selected, SignalArm, TimerArm
from buquet.workflow._definition import WorkflowDecorator, WorkflowFunction, workflow
from buquet.workflow._map import ItemStatus, MapReason, MapResult
from buquet.workflow._steps import StepOptions
from buquet.workflow._sync_context import SyncChildStarter, SyncWorkflowContext
from buquet.workflow._sync_steps import Pending, PendingCallback, SyncSteps

__all__ = [
    "AsyncSteps",
    "CallbackFuture",
    "ChildStarter",
    "ItemStatus",
    "MapReason",
    "MapResult",
    "OperationFuture",
    "Pending",
    "PendingCallback",
    "RunCancelledError",
    "RunInfo",
    "Selected",
    "SignalArm",
    "StepOptions",
    "SyncChildStarter",
    "SyncSteps",
    "SyncWorkflowContext",
    "TimerArm",
    "WorkflowContext",
    "WorkflowDecorator",
    "WorkflowFunction",
    "workflow",
]
