"""Processes for CPU-bound handlers: one task at a time each, killed when its time is up.

Each leads a group of its own, to which the programs belong that its handlers start. They are ended with it.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from buquet._attempt import Attempt, failed
from buquet._process_child import main
from buquet._process_job import answer, describe, died, read
from buquet._process_logs import log_here, log_levels

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from buquet._process_job import ProcessJob

_contexts = multiprocessing.get_context("spawn")

_GRACE = 5.0
"""Seconds that programs have between SIGTERM and SIGKILL once their handler is killed."""
_FAREWELL = 2.0
"""Seconds that processes without work have for what is registered with ``atexit``, before they are killed."""
_START = 120.0
"""Seconds that a process has to start: it imports the program's main module, and whatever that does is done then."""
_LOOK = 1.0
"""Seconds between two looks whether a process is alive. Its death shows at once, unless others hold its pipe."""
_POLL = 0.01
"""Seconds between two looks whether processes have ended that were told to."""


class ProcessPool:
    """Processes that are started as they are needed, up to ``limit``."""

    def __init__(self, limit: int) -> None:
        """Start without processes."""
        self.is_local = False
        """The queue lies in this process's memory: what it holds has to be handed to the processes."""
        self._slots = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def call(self, job: ProcessJob) -> Attempt:
        """Run an attempt and block until it has ended. Never raises."""
        with self._slots:
            if job.killed or self._closed:
                return died(None)
            child: _Child | None = None
            try:
                child = self._take()
                job.attach(child)
                attempt = child.run(job, is_local=self.is_local)
            except (EOFError, OSError) as error:
                return died(child.reap() if child else None, error)
            except BaseException as error:  # noqa: BLE001 - what cannot be sent or read fails in all ways
                # What the pipe holds now is anybody's guess.
                if child is not None:
                    child.kill()
                    child.reap()
                return failed(job.handler, error)
            finally:
                job.attach(None)
            if job.killed:  # just too late for the job, but dying all the same
                child.kill()
                child.reap()
            else:
                self._give_back(child)
            return attempt

    def close(self) -> None:
        """Let the idle processes end; busy ones are killed through their jobs.

        Programs that handlers have left behind are asked to end, and not waited for.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.dismiss()
        over = time.monotonic() + _FAREWELL
        for child in idle:
            child.wait(over - time.monotonic())
            child.kill()
            child.reap(patient=False)

    def _take(self) -> _Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                child.reap(patient=False)
        return _Child()

    def _give_back(self, child: _Child) -> None:
        with self._lock:
            if not self._closed and child.alive:
                self._idle.append(child)
                return
        child.dismiss()
        child.wait(_FAREWELL)
        child.kill()
        child.reap()


class _Child:
    """One process and the pipe to it."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self._connection, theirs = _contexts.Pipe()
        self._process = _contexts.Process(target=main, args=(theirs, log_levels()), name="buquet-task", daemon=True)
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            # Kept open here, it would keep the pipe from ending when the process does.
            theirs.close()
        # Without it the interpreter, at its exit, would wait for ever for a process that waits for it.
        self._at_exit = multiprocessing.util.Finalize(None, self._end, exitpriority=0)
        self._told: float | None = None

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def run(self, job: ProcessJob, *, is_local: bool) -> Attempt:
        connection: Connection[Any, Any] = self._connection
        number = next(self._numbers)
        connection.send((number, describe(job, is_local=is_local)))
        limit: float | None = _START
        while True:
            about, word, value = self._receive(limit)
            if word == "log":
                log_here(value)
            elif about != number:  # of an attempt that is over
                continue
            elif word == "taken":
                connection.send(job.begin())
                limit = None  # from here on the deadline is watched elsewhere
            elif word == "done":
                return read(job, *value)
            elif word == "progress":
                job.control.report(*value)
            else:
                connection.send(answer(job, word, value))

    def _receive(self, limit: float | None) -> Any:
        """Wait for a message.

        :raises EOFError: the process has ended.
        :raises TimeoutError: it has not said anything in time.
        """
        connection: Connection[Any, Any] = self._connection
        over = None if limit is None else time.monotonic() + limit
        while not connection.poll(_LOOK):
            # A process that it has forked may hold its end of the pipe and live on.
            if not self.alive and not connection.poll(0):
                raise EOFError
            if over is not None and time.monotonic() > over:
                self.kill()
                raise TimeoutError(f"it had not started after {limit:.0f} s")
        return connection.recv()

    def dismiss(self) -> None:
        """Tell the process, which waits for work, that there is no more."""
        self._connection.close()

    def kill(self) -> None:
        """Kill the process and ask its programs to end. First the process, lest the handler goes on without them."""
        self._process.kill()
        if self._told is None:
            self._told = time.monotonic()
            self._signal(signal.SIGTERM)

    def wait(self, limit: float) -> bool:
        """Wait until the process is gone; whether it is. Its sentinel does not tell: others may hold it too."""
        over = time.monotonic() + limit
        while self.alive:
            if time.monotonic() > over:
                return False
            time.sleep(_POLL)
        return True

    def reap(self, *, patient: bool = True) -> int | None:
        """Wait until the process is gone, and then its programs: those that do not heed SIGTERM are killed."""
        if not self.wait(5):  # it broke the pipe and lives on
            self._process.kill()
            self.wait(5)
        self._connection.close()
        if patient:
            self._end()
        self._at_exit.cancel()
        return self._process.exitcode

    def _end(self) -> None:
        self.kill()
        self.wait(5)
        over = (self._told or 0.0) + _GRACE
        while self._signal(0):
            # As the first process of a container it is also the parent of those that handlers left behind.
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-(self._process.pid or 0), os.WNOHANG) != (0, 0):
                    pass
            if time.monotonic() > over:
                self._signal(signal.SIGKILL)
                return
            time.sleep(_POLL)

    def _signal(self, number: int) -> bool:
        """Send a signal to all that is left of the group; whether anything is."""
        pid = self._process.pid or 0
        try:
            if self._process.exitcode is not None and _is_taken(pid):
                return False
            os.killpg(pid, number)
        except OSError:  # all are gone, or not ours
            return False
        return True


def _is_taken(pid: int) -> bool:
    """Tell whether a process has this number again; no number that is still a group's is given away."""
    try:
        os.getpgid(pid)
    except OSError:
        return False
    return True
