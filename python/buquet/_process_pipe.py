"""The child's end of the pipe between a worker and a process of its pool.

A message is the number of the attempt it is about, a word and a value, so that the worker never takes what belongs to
an earlier attempt for the one that runs. Only the process itself sends: a child that a handler forks does not.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from datetime import datetime
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from buquet._client import Client
from buquet._forked import refuse_in_child
from buquet.errors import BuquetError, InternalError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection

    from buquet._address import Config
    from buquet._client import Call
    from buquet._durations import Duration

T = TypeVar("T")

_REPORT_PAUSE = 0.1
"""Seconds between two reports of progress that are sent to the worker."""


class Pipe:
    """Sends and receives whole messages, for any thread."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        """Take over the connection, and keep it from processes that handlers start: they would hold it open."""
        self._connection = connection
        self._lock = threading.Lock()
        self._holder: int | None = None
        self._home = os.getpid()
        os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 - its only form
        os.register_at_fork(after_in_child=connection.close)

    @property
    def is_here(self) -> bool:
        """Whether this is the process that the worker talks to, and not a forked child of it."""
        return os.getpid() == self._home

    @property
    def is_free(self) -> bool:
        """Whether this thread may send: not while it is at it already, and was interrupted by a signal, say."""
        return self._holder != threading.get_ident()

    def send(self, number: int, word: str, value: object = None) -> None:
        """Send a message; from a forked child nothing."""
        if not self.is_here:
            return
        data = ForkingPickler.dumps((number, word, value))
        with self._held():
            self._connection.send_bytes(data)

    def ask(self, number: int, word: str, value: object) -> Any:
        """Send a question and wait for its answer. Raises what the answer says.

        :raises InvalidError: a forked child asks.
        """
        refuse_in_child(self._home)
        data = ForkingPickler.dumps((number, word, value))
        with self._held():
            self._connection.send_bytes(data)
            kind, answer = self._connection.recv()
        if kind == "ok":
            return answer
        if isinstance(answer, BuquetError):
            raise answer
        raise InternalError(f"the worker answered {kind!r} to {word!r}")

    def receive(self) -> Any:
        """Wait for what the worker sends unasked: the next task."""
        return self._connection.recv()

    @contextlib.contextmanager
    def _held(self) -> Generator[None]:
        with self._lock:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None


class ParentControl:
    """The context's way to the worker: over the pipe. A lost lease or a cancellation kills this process."""

    def __init__(self, pipe: Pipe, number: int) -> None:
        """Speak for the attempt of this number."""
        self._pipe = pipe
        self._number = number
        self._turn = threading.Lock()
        """Held while something is sent, so that whoever ends the attempt waits for it."""
        self._latest_lock = threading.Lock()
        self._latest: tuple[float, str | None] | None = None
        self._timer: threading.Timer | None = None
        self._reported = 0.0
        self._is_over = False

    def lost(self) -> bool:
        """Whether the attempt is over, which a thread that the handler left behind may ask."""
        return self._is_over

    def called_off(self) -> bool:
        """Whether somebody wants the task called off; this process would be gone."""
        return False

    def report(self, value: float, message: str | None) -> None:
        """Send the report, or leave it to a timer that waits anyway: the last one always gets through."""
        if not self._pipe.is_here:
            return
        with self._latest_lock:
            self._latest = (value, message)
            if self._timer is not None or self._is_over:
                return
            pause = self._reported + _REPORT_PAUSE - time.monotonic()
            if pause > 0:
                timer = threading.Timer(pause, self._send_latest)
                timer.daemon = True
                with contextlib.suppress(RuntimeError):  # no thread to be had: the next report or the end sends it
                    timer.start()
                    self._timer = timer
                return
        self._send_latest()

    def finish(self) -> None:
        """Send what is left, and nothing after it: a thread that the handler leaves behind must not report here."""
        with self._latest_lock:
            self._is_over = True
            if self._timer is not None:
                self._timer.cancel()
        self._send_latest(last=True)

    def _send_latest(self, *, last: bool = False) -> None:
        # The turn is held from taking to sending: who finishes waits for a timer that sends.
        with self._turn:
            with self._latest_lock:
                latest, self._latest, self._timer = self._latest, None, None
                self._reported = time.monotonic()
            if latest is not None and (last or not self._is_over):
                with contextlib.suppress(OSError):  # the parent is gone, and soon this process
                    self._pipe.send(self._number, "progress", latest)

    async def extend(self, by: Duration) -> datetime:
        """Move the deadline and the lease's expiry."""
        return self.extend_sync(by)

    def extend_sync(self, by: Duration) -> datetime:
        """Move the deadline and the lease's expiry."""
        with self._turn if self._pipe.is_here else contextlib.nullcontext():
            if self._is_over:
                raise LeaseLostError("the attempt has ended, and its lease with it")
            deadline = self._pipe.ask(self._number, "extend", by)
        if not isinstance(deadline, datetime):
            raise InternalError(f"the worker answered {deadline!r} to an extension")
        return deadline


class PipedClient(Client):
    """Payloads of a queue that lies in the worker's memory: read and written by the worker."""

    def __init__(self, config: Config, pipe: Pipe, number: int) -> None:
        """Ask over the pipe, for the attempt of this number."""
        super().__init__(config)
        self._pipe = pipe
        self._number = number

    def call(self, call: Call[Any, T]) -> T:
        """Have the worker run an operation on payloads."""
        return call.read(msgspec.Raw(self._pipe.ask(self._number, "call", (call.op, call.request))))
