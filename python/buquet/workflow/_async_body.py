"""Runs an async body on its loop."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from buquet.workflow import _asking
from buquet.workflow._context import WorkflowContext
from buquet.workflow._ending import Ended, completed, continued, failed, goes_on
from buquet.workflow._loop import BodyLoop, BodyTask
from buquet.workflow._suspended import Suspended
from buquet.workflow._watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from buquet.workflow._core import Core
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._entries import Told
    from buquet.workflow._scopes import Scope

LATEST = 253_402_300_799_000
"""The end of the year 9999: a timer for later than that, as libraries set for ever, is for then."""
_STUCK_TRIES = 3
"""So often a body is told that it waits for nothing; then it has failed."""


class AsyncRunner:
    """Runs an async body. All of it happens on the thread of whoever calls ``begin`` and ``tell``."""

    def __init__(self, definition: WorkflowFunction[..., Any], core: Core) -> None:
        """Begin before the body has run."""
        self._definition = definition
        self._core = core
        self._loop = BodyLoop(self, core.root)
        self._context = WorkflowContext(core, definition, self._loop)
        self._main: BodyTask[None] | None = None
        self._outcome: Ended | None = None
        self._error: BaseException = asyncio.CancelledError()
        self._has_let_go = True
        self.ended: Ended | None = None
        core.run_by(self)

    def begin(self) -> None:
        """Run the body until it can go no further."""
        with self._loop.entered():
            self._start(self._body())
            self._drain()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._main = BodyTask(coroutine, self._loop, self._core.root, None, None)
        self._main.is_awaited = True
        self._loop.keep(self._main)

    def tell(self, told: Told) -> None:
        """Tell it something, and run it until it can go no further."""
        with self._loop.entered():
            if told.told == "cancel":
                self._cancel(told)
            else:
                self._core.tell(told)
            self._drain()

    def _cancel(self, told: Told) -> None:
        if self._core.cancelled is None:
            self._core.cancelled = told
            self._core.is_stuck = False
            if self._main is not None and not self._core.is_rolling_back:
                self._main.cancel(told.reason)

    def _drain(self) -> None:
        core, loop = self._core, self._loop
        with watch.over(threading.get_ident(), core.what, lambda: loop.turns):
            loop.drain(self._is_over)
            for _ in range(_STUCK_TRIES):
                if not self._is_over() and not core.open and self._main is not None:
                    core.is_stuck = True
                    self._main.cancel()
                    loop.drain(self._is_over)
            if core.is_stopped or (core.open and not self._is_over()):
                return
            if self._outcome is None and core.begin_rollback():
                self._has_let_go = self._abandon()
                self._start(self._undo())
                loop.drain(self._is_over)
                if core.is_stopped or not self._is_over():
                    return
        self.ended = self._outcome or failed(core, self._error, [])

    def _is_over(self) -> bool:
        return self._core.is_stopped or (self._main is not None and self._main.done())

    def _abandon(self) -> bool:
        """Unwind the tasks that the body has left behind, so that they do nothing more while its steps are undone."""
        core = self._core
        core.is_stopped = True
        has_let_go = self._loop.unwind()
        core.is_stopped = False
        for operation in core.open.values():
            operation.sink = None
        return has_let_go

    def shut(self) -> bool:
        """Unwind the body; gives whether it let go."""
        self._core.stop()
        with self._loop.entered():
            return self._loop.shut() and self._has_let_go

    async def _body(self) -> None:
        # What comes of it is kept here: a task that is cancelled just when it ends has no result.
        core = self._core
        try:
            args, kwargs = self._definition.signature.bind_input(core.start.input, self._context)  # pyright: ignore[reportArgumentType]
            result = await self._definition.function(*args, **kwargs)
            if core.new_input is None:
                self._check_left_behind()
                self._outcome = completed(self._definition, result)
            else:
                self._outcome = continued(core)
        except (Suspended, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a body may raise anything, SystemExit too
            if goes_on(error):
                self._outcome = continued(core)
            self._error = error

    def _check_left_behind(self) -> None:
        tasks = [task.what for task in self._loop.tasks if task.is_forgotten]
        error = self._core.left_behind(tasks)
        if error is not None:
            raise error

    async def _undo(self) -> None:
        """Undo what is to be undone. What still runs and can be undone ends before."""
        running = self._core.undoable()
        ends = [
            self._loop.create_future() for _ in running
        ]  # all of them before the first is awaited: any may end first
        for operation, end in zip(running, ends, strict=True):
            operation.sink = _Fires(partial(end.set_result, None))
        for end in ends:
            await end
        failures: list[Exception] = []
        for compensation in self._core.rollback():
            try:
                await self._context.compensate(compensation)
            except Exception as error:  # noqa: BLE001 - the others are undone all the same
                failures.append(error)
        self._outcome = failed(self._core, self._error, failures)

    # The journal's side of the loop, and the core's of the runner.

    def now(self) -> float:
        """Seconds since the epoch at the entry that was delivered last."""
        return self._core.at / 1000

    def set_timer(self, scope: Scope, when: float, fire: Callable[[], object]) -> Callable[[], object]:
        """Ask for a timer of asyncio's."""
        core = self._core
        if core.is_stopped:
            return lambda: None
        operation = _asking.ask_timer(core, scope, round(min(when * 1000, LATEST)))
        operation.sink = _Fires(fire)
        return lambda: core.cancel(operation)

    @property
    def is_replaying(self) -> bool:
        """Whether what happens now has happened before."""
        return self._core.is_replaying

    @property
    def is_inside(self) -> bool:
        """Whether the caller is the body."""
        return self._loop.is_inside

    @property
    def scope(self) -> Scope:
        """The scope of the task that runs."""
        return self._loop.scope

    def enter_scope(self, scope: Scope) -> Scope:
        """Let the task that runs be in this scope; gives the one before."""
        before = self._loop.scope
        self.leave_scope(scope)
        return before

    def leave_scope(self, before: Scope) -> None:
        """Let the task that runs be in the scope before."""
        task = asyncio.current_task(self._loop)
        if isinstance(task, BodyTask):
            task.scope = before

    def give_up(self) -> None:
        """Let the loop drop it: it throws into the body only so often."""


class _Fires:
    """What a timer's end is to the loop."""

    def __init__(self, fire: Callable[[], object]) -> None:
        self._fire = fire

    def done(self) -> bool:
        return False

    def set_result(self, _result: object, /) -> None:
        self._fire()

    def set_exception(self, _exception: Exception, /) -> None:
        self._fire()
