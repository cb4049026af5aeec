"""Signals that come while the command starts: they end it at once, as the first process of a container too.

Nothing is held before a worker runs. The system's own way of ending does not hold for the first process of a container,
where a signal that nobody handles is dropped.
"""

from __future__ import annotations

import os
import signal


def end_on_signals() -> None:
    """End this process on SIGTERM and SIGHUP, unless somebody handles or ignores them."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container is still here
