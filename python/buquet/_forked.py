"""What a forked child of a worker must not do: go on as if it were the worker.

A handler may fork. Its child has a copy of the stack, and so of what follows the handler: telling the worker or the
engine how the attempt ended. A child ends where its handler does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

from buquet.errors import InvalidError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from types import TracebackType

_loops: weakref.WeakKeyDictionary[AbstractEventLoop, int] = weakref.WeakKeyDictionary()
"""The loops that workers run on, and their threads."""
_handlers: dict[int, Any] = {}
"""Signals that a worker handles in this process, and what handled them before."""
_mask = threading.local()
"""The signals that a thread had blocked before it forked."""


class ForkGuard:
    """A block that calls a user's code. A child that this code forks ends with the block, as a program would end."""

    __slots__ = ("_home",)

    def __enter__(self) -> None:
        """Remember which process this is."""
        self._home = os.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        """End this process if it is another by now."""
        if os.getpid() != self._home:
            _end(error)


def refuse_in_child(home: int) -> None:
    """Refuse what only the process that runs the task may ask of the engine.

    :raises InvalidError: this is another one, forked from ``home``.
    """
    if os.getpid() != home:
        raise InvalidError("a child that a handler has forked cannot do this: its parent runs the task")


def _end(error: BaseException | None) -> NoReturn:
    code = 1
    with contextlib.suppress(BaseException):  # whatever is wrong with the exception or the streams, this is the end
        code = _exit_code(error)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1


def guard_loop(loop: AbstractEventLoop) -> None:
    """Let a child that is forked on this loop, the running one, end instead of running it."""
    _loops[loop] = threading.get_ident()


def own_signals(previous: dict[int, Any]) -> None:
    """Say that this process handles signals in its own way, and who handled them before: a forked child gets these."""
    _handlers.update(previous)


def disown_signals() -> None:
    """Give the signals back to whoever handled them before."""
    for number, handler in _handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: one that Python does not know
    _handlers.clear()


def _before_fork() -> None:
    # A signal to the child must not come before it has its own handlers: it would be lost.
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)


def _after_fork_in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _after_fork_in_child() -> None:
    here = threading.get_ident()
    for loop, thread in list(_loops.items()):
        if thread == here and not loop.is_closed():
            # Its selector is the parent's too: a change here would be one there.
            loop.call_soon(os._exit, 1)
    if _handlers:
        # Or a signal to the child would be written to the parent's loop, which would take it for its own.
        signal.set_wakeup_fd(-1)
        disown_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
