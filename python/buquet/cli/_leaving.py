"""The way out of a process: what users' code has left behind does not keep it for ever."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger("buquet.cli")

_GRACE = 5.0
"""Seconds that threads, and what is registered for the exit, have to end."""
_LAST_TRY = 6.0


def leave_within(limit: float, code: int, last: Callable[[], object] = lambda: None) -> None:
    """End this process with ``code`` after ``limit`` seconds, should it still be there.

    :param last: called first, for a few seconds at most.
    """

    def leave() -> None:
        others = [thread for thread in threading.enumerate() if not thread.daemon]
        names = ", ".join(thread.name for thread in others if thread is not threading.main_thread())
        holders = f" (threads: {names})" if names else ""
        _logger.error("something keeps this process from ending%s; it is ended now", holders)
        trying = threading.Thread(target=_try, args=(last,), name="buquet-leave", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread to be had
            trying.start()
            trying.join(_LAST_TRY)
        os._exit(code)

    timer = threading.Timer(limit, leave)
    timer.daemon = True
    with contextlib.suppress(RuntimeError):
        timer.start()


def _try(last: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        last()
    sys.stdout.flush()


def leave(code: int) -> None:
    """End the program. The interpreter waits for threads that are no daemons; here not for ever."""
    leave_within(_GRACE, code)
    sys.exit(code)
