"""Watches for bodies that compute for long without an await, and shows where."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LONGEST = 2.0
"""Seconds that a body may compute without a word."""

_logger = logging.getLogger("buquet.workflow")


class _Watched(NamedTuple):
    what: str
    turns: Callable[[], int]


class Watch:
    """Looks now and then at the threads that run bodies, from a thread of its own that is started when needed."""

    def __init__(self, longest: float = LONGEST) -> None:
        """Warn of what computes for ``longest`` seconds."""
        self._longest = longest
        self._watched: dict[int, _Watched] = {}
        self._seen: dict[int, tuple[int, float, bool]] = {}
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def over(self, thread: int, what: str, turns: Callable[[], int]) -> Generator[None]:
        """Watch a thread while a body runs on it; ``turns`` counts its awaits."""
        self._watched[thread] = _Watched(what, turns)
        if not self._wanted.is_set():
            self._wanted.set()
        if self._thread is None or not self._thread.is_alive():  # in a forked child it is dead
            self._thread = threading.Thread(target=self._look, name="buquet-watch", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._watched.pop(thread, None)

    def _look(self) -> None:
        while True:
            self._wanted.wait()
            time.sleep(self._longest / 4)
            for thread, watched in list(self._watched.items()):
                self._check(thread, watched)
            for thread in self._seen.keys() - self._watched.keys():
                del self._seen[thread]
            if not self._watched:
                self._wanted.clear()
                if self._watched:
                    self._wanted.set()

    def _check(self, thread: int, watched: _Watched) -> None:
        turns, now = watched.turns(), time.monotonic()
        before, since, told = self._seen.get(thread, (-1, now, False))
        if before != turns:
            self._seen[thread] = (turns, now, False)
        elif not told and now - since >= self._longest:
            self._seen[thread] = (turns, since, True)
            frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - it has no other name
            frame = frames.get(thread)
            stack = "".join(traceback.format_stack(frame)) if frame is not None else "(it has ended)\n"
            _logger.warning(
                "the body of %s has computed for %.1f s without an await, and holds up its worker; "
                "do such work in a step. It is at:\n%s",
                watched.what,
                now - since,
                stack,
            )


watch = Watch()
"""That of this process."""
