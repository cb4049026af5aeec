"""Calling hooks. Apart from their registry, since only a worker calls them, and needs asyncio for it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from buquet._forked import ForkGuard
from buquet._threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from buquet._context import TaskContext

_logger = logging.getLogger("buquet.worker")


class HookCalls:
    """The hooks of one run of a worker: of its start, of its end, and of attempts whose outcome is stored."""

    def __init__(self, hooks: Mapping[str, list[Any]], progressed: Callable[[], None]) -> None:
        """Call ``hooks``. ``progressed`` is called when those of an attempt are through."""
        self._hooks = hooks
        self._progressed = progressed
        self._threads = ThreadPool("buquet-hook")
        self._concluding: set[asyncio.Task[None]] = set()
        self._scopes: set[asyncio.Timeout] = set()
        self._is_stopping = False

    @property
    def pending(self) -> int:
        """Attempts whose hooks are not through."""
        return len(self._concluding)

    async def start_up(self) -> None:
        """Call the startup hooks. Raises what they raise."""
        async with self._unless_stopped():
            for hook in self._hooks["startup"]:
                await call_hook(self._threads, hook)

    async def shut_down(self, grace: float) -> None:
        """Call the shutdown hooks; where the worker is told to end at once, for ``grace`` seconds."""
        async with self._unless_stopped(grace):
            for hook in self._hooks["shutdown"]:
                await call_safely(self._threads, hook)

    def conclude(self, ended: str, context: TaskContext, of_interest: Any) -> None:
        """Call the hooks of an attempt that ended with ``success`` or ``error``."""
        if self._hooks[ended]:
            task = asyncio.get_running_loop().create_task(self._conclude(ended, context, of_interest))
            self._concluding.add(task)
            task.add_done_callback(self._concluded)

    async def _conclude(self, ended: str, context: TaskContext, of_interest: Any) -> None:
        async with self._unless_stopped():
            for hook in self._hooks[ended]:
                await call_safely(self._threads, hook, context, of_interest)

    def _concluded(self, task: asyncio.Task[None]) -> None:
        self._concluding.discard(task)
        self._progressed()

    def stop(self) -> None:
        """Give up the hooks that are being called."""
        self._is_stopping = True
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(0)

    def give_up(self) -> None:
        """Cancel the hooks of attempts."""
        for task in self._concluding:
            task.cancel()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    @asynccontextmanager
    async def _unless_stopped(self, grace: float = 0.0) -> AsyncGenerator[None]:
        """Give up the hooks called within when the worker is told to end at once, or was: then after ``grace``."""
        scope = asyncio.timeout(grace if self._is_stopping else None)
        try:
            async with scope:
                self._scopes.add(scope)
                yield
        except TimeoutError:
            if not scope.expired():
                raise  # the hook's own
            _logger.warning("stopping: a hook was given up")
        finally:
            self._scopes.discard(scope)


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
