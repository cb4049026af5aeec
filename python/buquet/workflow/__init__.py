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

from buquet.workflow._app_workflow import AppWorkflow, AppWorkflowDecorator
from buquet.workflow._async_steps import AsyncSteps, CallbackFuture, OperationFuture
from buquet.workflow._cancelled import RunCancelledError
from buquet.workflow._client import WorkflowClient
from buquet.workflow._context import ChildStarter, WorkflowContext
from buquet.workflow._context_base import RunInfo, Selected, SignalArm, TimerArm
from buquet.workflow._definition import WorkflowDecorator, WorkflowFunction, workflow
from buquet.workflow._handle import RunHandle
from buquet.workflow._map import ItemStatus, MapReason, MapResult
from buquet.workflow._models import (
    Pause,
    PruneCounts,
    RunHistory,
    RunPage,
    RunParent,
    RunStatus,
    StepInfo,
    StepStatus,
    WishOutcome,
    WishResult,
    WorkflowRun,
)
from buquet.workflow._starting import OnExisting, StartWith
from buquet.workflow._steps import StepOptions
from buquet.workflow._sync_context import SyncChildStarter, SyncWorkflowContext
from buquet.workflow._sync_steps import Pending, PendingCallback, SyncSteps
from buquet.workflow._workflow_engine import WorkflowEngine

__all__ = [
    "AppWorkflow",
    "AppWorkflowDecorator",
    "AsyncSteps",
    "CallbackFuture",
    "ChildStarter",
    "ItemStatus",
    "MapReason",
    "MapResult",
    "OnExisting",
    "OperationFuture",
    "Pause",
    "Pending",
    "PendingCallback",
    "PruneCounts",
    "RunCancelledError",
    "RunHandle",
    "RunHistory",
    "RunInfo",
    "RunPage",
    "RunParent",
    "RunStatus",
    "Selected",
    "SignalArm",
    "StartWith",
    "StepInfo",
    "StepOptions",
    "StepStatus",
    "SyncChildStarter",
    "SyncSteps",
    "SyncWorkflowContext",
    "TimerArm",
    "WishOutcome",
    "WishResult",
    "WorkflowClient",
    "WorkflowContext",
    "WorkflowDecorator",
    "WorkflowEngine",
    "WorkflowFunction",
    "WorkflowRun",
    "workflow",
]
