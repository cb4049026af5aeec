"""Runs driven by a worker on the fake engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from buquet import Queue, Worker
from buquet.workflow import WorkflowClient, WorkflowFunction
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable


def worker_for(queue: Queue, *workflows: WorkflowFunction[..., Any], **options: Any) -> Worker:
    worker = Worker(queue, **options)
    worker.register(*workflows)
    return worker


async def until(condition: Callable[[], object], what: str) -> None:
    async def look() -> bool:
        return bool(condition())

    await wait_until_async(look, within=60, what=what)


async def result_of(queue: Queue, body: WorkflowFunction[..., Any], *args: Any, **options: Any) -> Any:
    """Start a run, drive it, and give its result."""
    async with worker_for(queue, body, **options):
        run = await WorkflowClient(queue).start(body, *args)
        return await asyncio.wait_for(run.result_async(), 60)
