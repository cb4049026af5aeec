"""The event loop of an async body: no sockets, no clock, and the same order at every replay."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
import threading
import weakref
from asyncio import Handle, TimerHandle
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from buquet.errors import NotDeterministicError
from buquet.workflow._forbidden import called_by, frame, refusal, refuse_all
from buquet.workflow._suspended import keep_forever
from buquet.workflow._unwinding import close_generator, close_quietly, not_started, unwound

if TYPE_CHECKING:
    import contextvars
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from buquet.workflow._scopes import Scope

T = TypeVar("T")

_logger = logging.getLogger("buquet.workflow")


class Timers(Protocol):
    """Who keeps the time of a body."""

    def now(self) -> float:
        """Seconds since the epoch at the entry that was delivered last."""
        ...

    def set_timer(self, scope: Scope, when: float, fire: Callable[[], object]) -> Callable[[], object]:
        """Ask for a timer; gives what cancels it."""
        ...

    @property
    def is_replaying(self) -> bool:
        """Whether what happens now has happened before."""
        ...


class BodyFuture(asyncio.Future[T]):
    """A future of a body's loop. It hashes by its number, so that sets of futures have one order."""

    def __init__(self, loop: BodyLoop) -> None:
        """Make the loop's next future."""
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class BodyTask(asyncio.Task[T]):
    """A task of a body's loop, with its scope."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        loop: BodyLoop,
        scope: Scope,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        """Make the loop's next task."""
        self.number = loop.next_number()  # first of all: the base class puts it into a set
        self.scope = scope
        self.is_awaited = False
        super().__init__(coroutine, loop=loop, name=name or scope.path or "body", context=context)
        self._log_destroy_pending = False

    @property
    def what(self) -> str:
        """What messages call it: nothing that differs at a replay."""
        return f"task {getattr(self.get_coro(), '__qualname__', self.get_name())!r}"

    @property
    def is_forgotten(self) -> bool:
        """Whether it goes on, and nobody awaits or has cancelled it."""
        return not (self.is_awaited or self.done() or self.cancelling())

    def __hash__(self) -> int:
        return self.number

    def __await__(self) -> Generator[Any, None, T]:
        self.is_awaited = True
        return super().__await__()

    __iter__ = __await__  # pyright: ignore[reportAssignmentType]

    def add_done_callback(
        self, fn: Callable[[asyncio.Future[T]], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        """Also notes that somebody awaits it."""
        self.is_awaited = True
        super().add_done_callback(fn, context=context)


class _NoTask(BodyFuture[Any]):
    """Stands for a task that never runs."""

    def set_name(self, _name: object) -> None:
        """Take the name that asyncio gives it, or it would warn."""


class BodyTimer(TimerHandle):
    """A handle that a timer of the journal runs."""

    disarm: Callable[[], object] | None = None


class BodyLoop(asyncio.AbstractEventLoop):
    """Runs a body's tasks until none of them can go on."""

    def __init__(self, timers: Timers, scope: Scope) -> None:
        """Begin with nothing to run; ``scope`` is the body's."""
        self._timers = timers
        self._scope = scope
        self._ready: deque[Handle] = deque()
        self._number = 0
        self.turns = 0
        """How often it has run something: while this stands still, the body computes."""
        self._thread: int | None = None
        self._closed = False
        self.tasks: dict[BodyTask[Any], None] = {}
        """Those that have not ended."""
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()

    def next_number(self) -> int:
        """What the next task or future hashes by."""
        self._number += 1
        return self._number

    @property
    def scope(self) -> Scope:
        """The scope of the task that runs; the body's own in callbacks of no task."""
        task = asyncio.current_task(self)
        return task.scope if isinstance(task, BodyTask) else self._scope

    @property
    def is_inside(self) -> bool:
        """Whether the caller is the body."""
        return self._thread == threading.get_ident() and asyncio._get_running_loop() is self  # noqa: SLF001 - no error

    # What runs it.

    @contextlib.contextmanager
    def entered(self) -> Generator[None]:
        """Be the loop that runs on this thread, whatever else does."""
        outer = asyncio._get_running_loop()  # noqa: SLF001 - None where none runs
        task = None if outer is None else asyncio.current_task(outer)
        hooks = sys.get_asyncgen_hooks()
        if outer is not None and task is not None:
            asyncio._leave_task(outer, task)  # noqa: SLF001 - from Python 3.14 on a thread has one task at a time
        asyncio._set_running_loop(self)  # noqa: SLF001 - as loops do
        sys.set_asyncgen_hooks(self._generators.add, None)
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)  # noqa: SLF001
            if outer is not None and task is not None:
                asyncio._enter_task(outer, task)  # noqa: SLF001

    def drain(self, is_over: Callable[[], bool]) -> None:
        """Run what is ready, and what becomes ready by that, until nothing is or ``is_over``. Within ``entered``."""
        ready = self._ready
        while ready and not is_over():
            handle = ready.popleft()
            if not handle.cancelled():
                self.turns += 1
                # A SystemExit is the task's result as well, and the worker's end is not the body's to decide.
                with contextlib.suppress(SystemExit):
                    handle._run()  # noqa: SLF001 - as loops do

    def shut(self) -> bool:
        """Unwind what has not ended, and be of no use from then on. Within ``entered``."""
        has_let_go = self.unwind()
        self._closed = True
        return has_let_go

    def unwind(self) -> bool:
        """Unwind what has not ended, without effects; gives whether all of it let go. Within ``entered``."""
        self._closed = True
        self._ready.clear()
        tasks = [(task, cast("Coroutine[Any, Any, Any]", task.get_coro())) for task in self.tasks]
        held = [each for _, coroutine in tasks for each in not_started(coroutine)]
        kept: list[object] = []
        for task, coroutine in tasks:
            asyncio._enter_task(self, task)  # noqa: SLF001 - asyncio.timeout, say, works only in a task
            if not unwound(coroutine.throw):
                kept.append(coroutine)
            asyncio._leave_task(self, task)  # noqa: SLF001
        for generator in list(self._generators):
            close_generator(generator)
        for coroutine in held:
            close_quietly(coroutine)
        self.tasks.clear()
        self._ready.clear()
        keep_forever(kept)
        self._closed = False
        return not kept

    # What tasks and futures call.

    def time(self) -> float:
        """Seconds since the epoch at the entry that was delivered last."""
        return self._timers.now()

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        """Run the callback after those that are ready already."""
        if self._closed:
            return Handle(callback, args, self, context)
        if self._thread != threading.get_ident():
            raise refusal("loop.call_soon or a future of its own from another thread or from a step")
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        """Likewise, for the body itself: what other threads do is not repeated by a replay.

        :raises NotDeterministicError: called from another thread.
        """
        if not self._closed and self._thread != threading.get_ident():
            raise refusal("loop.call_soon_threadsafe from another thread")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> TimerHandle:
        """Run the callback by a timer of the journal."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> TimerHandle:
        """Run the callback by a timer of the journal; at once if it is due."""
        if math.isnan(when):
            raise ValueError("a timer is to fire at NaN, which is no time")
        handle = BodyTimer(when, callback, args, self, context)
        if self._closed or math.isinf(when):  # as in asyncio.sleep(math.inf)
            return handle
        if when <= self.time():
            self.call_soon(self._fire, handle)
        else:
            handle.disarm = self._timers.set_timer(self.scope, when, lambda: self._fire(handle))
        return handle

    def _fire(self, handle: BodyTimer) -> None:
        handle.disarm = None
        if not handle.cancelled():
            self._ready.append(handle)

    def _timer_handle_cancelled(self, handle: BodyTimer) -> None:
        disarm, handle.disarm = handle.disarm, None
        if disarm is not None and not self._closed:
            disarm()

    def create_future(self) -> BodyFuture[Any]:
        """Make a future that hashes by its number."""
        return BodyFuture(self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_options: Any,  # eager_start, from Python 3.14 on
    ) -> BodyTask[T]:
        """Make a task, in a scope of its own."""
        coroutine = cast("Coroutine[Any, Any, T]", coro)
        return self.task_in(None if self._closed else self._scope_of_new(coroutine), coroutine, name, context)

    def task_in(
        self,
        scope: Scope | None,
        coroutine: Coroutine[Any, Any, T],
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> BodyTask[T]:
        """Make a task in this scope."""
        if scope is None or self._closed:  # nothing runs any more; the body is unwound where it awaits this
            coroutine.close()
            return cast("BodyTask[T]", _NoTask(self))
        task = BodyTask(coroutine, self, scope, name, context)
        self.keep(task)
        return task

    def keep(self, task: BodyTask[Any]) -> None:
        """Keep a task until it ends."""
        self.tasks[task] = None
        asyncio.Future[Any].add_done_callback(task, self._ended)  # nobody awaits it by that

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self.tasks.pop(cast("BodyTask[Any]", task), None)

    def _scope_of_new(self, coroutine: Coroutine[Any, Any, Any]) -> Scope:
        caller = frame(2)  # asyncio makes some tasks for its caller, which must not be seen
        if called_by(caller, "wait_for") is not None:
            return self.scope
        by = called_by(caller, "as_completed", "_AsCompletedIterator.__init__")
        if by is not None:
            for other in _coroutines(by.f_locals):
                other.close()
            coroutine.close()
            raise NotDeterministicError(
                "asyncio.as_completed was given coroutines, which it starts in another order each time; "
                "give it futures as ctx.step(...) returns them, or tasks: asyncio.as_completed([asyncio.create_task(c) "
                "for c in coroutines])"
            )
        return self.scope.child()

    # What is asked of any loop.

    def get_debug(self) -> bool:
        """Never: what debugging logs, it would log at each replay."""
        return False

    def is_running(self) -> bool:
        """Whether the body runs just now."""
        return self._thread is not None

    def is_closed(self) -> bool:
        """Whether the body was unwound."""
        return self._closed

    def get_task_factory(self) -> None:
        """There is none."""

    def get_exception_handler(self) -> None:
        """There is none."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing: ``shut`` does."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an error that nobody looks at; once, not at each replay."""
        if not self._closed and not self._timers.is_replaying:
            _logger.warning("in a workflow's body: %s", context.get("message"), exc_info=context.get("exception"))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Likewise: there is no other handler."""
        self.default_exception_handler(context)

    def close(self) -> None:
        """Refused: the loop is not the body's."""
        raise refusal("loop.close")


refuse_all(BodyLoop)
BodyLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def _coroutines(names: dict[str, Any]) -> list[Coroutine[Any, Any, Any]]:
    """The coroutines that ``as_completed`` was given: closed, they do not complain that nobody awaited them."""
    given = names.get("fs", names.get("aws", ()))
    items = list(cast("list[Any]", given)) if isinstance(given, list | tuple | set | frozenset) else []
    return [item for item in items if asyncio.iscoroutine(item)]
