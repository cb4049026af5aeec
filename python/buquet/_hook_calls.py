"""Calling hooks. Apart from their registry, since only a worker calls them, and needs asyncio for it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

from buquet._forked import ForkGuard

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._threads import ThreadPool

_logger = logging.getLogger("buquet.worker")


async def call_hook(threads: ThreadPool, hook: Callable[..., Any], *args: Any) -> None:
    """Call one hook, on the loop or on a thread."""
    if inspect.iscoroutinefunction(hook):
        with ForkGuard():
            await hook(*args)
    else:
        result = await threads.run(lambda: hook(*args)).future
        if inspect.isawaitable(result):
            with ForkGuard():
                await result


async def call_safely(threads: ThreadPool, hook: Callable[..., Any], *args: Any) -> None:
    """Call one hook; what it raises is logged and costs no task its outcome."""
    try:
        await call_hook(threads, hook, *args)
    except GeneratorExit:  # the loop is gone
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise  # meant for the worker, not raised by the hook
        _logger.exception("the hook %r raised; the task is not affected", hook)
