"""Runs a plain ``def`` body on a thread of its own, which goes on only while the driver waits for it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any, cast

from buquet.workflow._cancelled import RunCancelledError
from buquet.workflow._ending import Ended, completed, continued, failed, goes_on
from buquet.workflow._forbidden import refuse_all
from buquet.workflow._suspended import Suspended
from buquet.workflow._sync_context import SyncWorkflowContext
from buquet.workflow._watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet.workflow._core import Core
    from buquet.workflow._definition import WorkflowFunction
    from buquet.workflow._entries import Told
    from buquet.workflow._scopes import Scope

UNWIND_SECONDS = 5.0
"""How long a thread may take to let go."""


class _NoLoop(asyncio.AbstractEventLoop):
    """Stands where a running loop would, so that ``asyncio.run`` is refused."""

    def get_debug(self) -> bool:
        """Never."""
        return False


refuse_all(_NoLoop)
_NoLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


class SyncRunner:
    """Runs a plain body. Two threads, of which one at a time goes on."""

    def __init__(self, definition: WorkflowFunction[..., Any], core: Core) -> None:
        """Begin before the body has run."""
        self._definition = definition
        self._core = core
        self._context = SyncWorkflowContext(core, definition, self)
        self._scope = core.root
        self._to_body, self._to_driver = threading.Semaphore(0), threading.Semaphore(0)
        self._told: Told | None = None
        self._thread: threading.Thread | None = None
        self._is_inside = False
        self._is_over = False
        self._is_lost = False
        self._cancels = False
        self._turns = 0
        self._interrupt: BaseException | None = None
        self.ended: Ended | None = None
        core.run_by(self)

    # The driver's side.

    def begin(self) -> None:
        """Run the body until it can go no further."""
        context = contextvars.copy_context()
        name = f"buquet-body-{self._core.start.id}"
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)
        self._is_inside = True
        self._thread.start()
        self._await_body()

    def tell(self, told: Told) -> None:
        """Tell it something, and run it until it can go no further."""
        self._told = told
        self._resume()

    def _resume(self) -> None:
        self._is_inside = True
        self._to_body.release()
        self._await_body()

    def _await_body(self) -> None:
        thread = self._thread.ident if self._thread is not None else None
        with watch.over(thread or 0, self._core.what, lambda: self._turns):
            self._to_driver.acquire()
        if self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            raise interrupt

    def shut(self) -> bool:
        """Unwind the body; gives whether it let go."""
        self._core.stop()
        thread = self._thread
        if thread is None or self._is_over or self._is_lost:
            return not self._is_lost
        self._is_inside = True
        self._to_body.release()
        return self._to_driver.acquire(timeout=UNWIND_SECONDS) and self._is_over

    # The body's thread.

    def _run(self) -> None:
        asyncio._set_running_loop(_NoLoop())  # noqa: SLF001 - so that asyncio.run is refused
        try:
            self.ended = self._body()
        except Suspended:
            pass
        except BaseException as error:  # noqa: BLE001 - a KeyboardInterrupt, say, is the driver's
            self._interrupt = error
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
            self._is_inside, self._is_over = False, True
            self._to_driver.release()

    def _body(self) -> Ended:
        core = self._core
        try:
            args, kwargs = self._definition.signature.bind_input(core.start.input, cast("Any", self._context))
            result = self._definition.function(*args, **kwargs)
            if core.new_input is None:
                self._check_left_behind()
                return completed(self._definition, result)
            return continued(core)
        except (Suspended, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a body may raise anything, SystemExit too
            if core.is_stopped:
                raise Suspended from None
            if goes_on(error):
                return continued(core)
            return failed(core, error, self._roll_back())

    def _check_left_behind(self) -> None:
        if self._core.is_stopped:
            raise Suspended
        error = self._core.left_behind([])
        if error is not None:
            raise error

    def _roll_back(self) -> list[Exception]:
        failures: list[Exception] = []
        core = self._core
        core.begin_rollback()
        for operation in core.undoable():  # what still runs and can be undone ends before
            self.wait(lambda op=operation.op: op not in core.open, lambda: None)
        for compensation in self._core.rollback():
            try:
                self._context.compensate(compensation)
            except Exception as error:  # noqa: BLE001 - the others are undone all the same
                failures.append(error)
        return failures

    def wait(self, is_over: Callable[[], bool], cancel: Callable[[], object]) -> None:
        """Let the driver go on until it is over."""
        core = self._core
        while not is_over():
            if self._cancels:
                self._cancels = False
                cancel()
                raise RunCancelledError(*([core.cancelled.reason] if core.cancelled and core.cancelled.reason else []))
            self._turns += 1
            self._is_inside = False
            self._to_driver.release()
            self._to_body.acquire()
            if core.is_stopped:
                raise Suspended
            self._hear()

    def _hear(self) -> None:
        core, told = self._core, self._told
        self._told = None
        if told is None:
            return
        if told.told != "cancel":
            try:
                core.tell(told)
            except Exception as error:  # noqa: BLE001 - the driver gets to know
                core.stop(error)
                raise Suspended from None
        elif core.cancelled is None:
            core.cancelled = told
            self._cancels = not core.is_rolling_back

    # The core's side.

    @property
    def is_inside(self) -> bool:
        """Whether the caller is the body."""
        return self._is_inside and threading.current_thread() is self._thread

    @property
    def scope(self) -> Scope:
        """Where the body is."""
        return self._scope

    def enter_scope(self, scope: Scope) -> Scope:
        """Be in this scope; gives the one before."""
        before, self._scope = self._scope, scope
        return before

    def leave_scope(self, before: Scope) -> None:
        """Be in the scope before."""
        self._scope = before

    def give_up(self) -> None:
        """Let the thread stand still for ever: it would only go on."""
        self._is_lost = True
        self._to_driver.release()
        threading.Event().wait()
