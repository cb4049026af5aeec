"""What a fork must find done entirely or not begun: a child has only the thread that forked it to go on with."""

from __future__ import annotations

import os
import threading


class _Whole:
    """Held while something is done that a forked child could not go on with; who forks waits for its end.

    The same thread may enter again, as a signal handler does that comes in between.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def enter_child(self) -> None:
        """Give back in the child what was taken before the fork."""
        try:
            self._lock.release()
        except RuntimeError:  # the fork was not Python's own, and took nothing
            self._lock = threading.RLock()


whole = _Whole()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=whole.__enter__, after_in_parent=whole.__exit__, after_in_child=whole.enter_child)
