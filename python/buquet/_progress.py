"""Reports of progress on their way from a handler to the engine: the latest only, and not too often."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from buquet import _ops
from buquet.errors import BuquetError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._client import Client
    from buquet._ops import Assignment

_logger = logging.getLogger("buquet.worker")

_PAUSE = 0.2
"""Seconds between two reports of one attempt; the engine writes them even less often."""


class Reporter:
    """Sends what an attempt reports. ``report`` may be called from any thread and returns at once."""

    def __init__(self, client: Client, worker_id: str, assignment: Assignment) -> None:
        """Report for one attempt, on the running loop."""
        self._client = client
        self._worker_id = worker_id
        self._assignment = assignment
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._latest: tuple[float, str | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._is_over = False

    def report(self, value: float, message: str | None) -> None:
        """Take a report; an earlier one that was not sent yet is dropped."""
        with self._lock:
            is_first = self._latest is None
            self._latest = (value, message)
        if is_first:
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(self._begin)

    def finish(self) -> None:
        """Send what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._send_latest()
        self.close()

    def then(self, after: Callable[[], None]) -> None:
        """Call ``after`` once the engine has what was sent.

        The outcome ends the lease, and the engine may run first what it was asked last.
        """
        if self._sending:
            asyncio.gather(*self._sending, return_exceptions=True).add_done_callback(lambda _: after())
        else:
            after()

    def close(self) -> None:
        """Send nothing more: the lease is gone."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        if self._timer is None:
            self._send_latest()

    def _send_latest(self) -> None:
        self._timer = None
        with self._lock:
            latest, self._latest = self._latest, None
        if latest is None or self._is_over:
            return
        self._timer = self._loop.call_later(_PAUSE, self._send_latest)
        task = self._loop.create_task(self._send(*latest))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, value: float, message: str | None) -> None:
        task_id, lease = self._assignment.id, self._assignment.lease
        try:
            await self._client.call_async(_ops.worker_progress(self._worker_id, task_id, lease, value, message))
        except LeaseLostError:
            self.close()  # who lost it is told so elsewhere
        except BuquetError as error:
            _logger.debug("task %s: its progress could not be reported: %s", task_id, error)
