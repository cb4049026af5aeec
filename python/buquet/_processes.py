"""Processes for CPU-bound handlers: one task at a time each, killed when its time is up.

Each leads a group of its own, to which the programs belong that its handlers start. They are ended with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import pickle
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from buquet import _codec
from buquet._attempt import Attempt, FailureInfo, Handler, Outcome, failed
from buquet._chain import Place
from buquet._process_child import ChildTask, find, main
from buquet._signature import PlainSignature
from buquet._vault import Delivery
from buquet.errors import BuquetError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection

    from buquet._context import AttemptInfo, ContextControl
    from buquet._models import Payload
    from buquet.codecs import Codec

_contexts = multiprocessing.get_context("spawn")

_GRACE = 5.0
"""Seconds that programs have between SIGTERM and SIGKILL once their handler is killed."""
_POLL = 0.01
"""Seconds between two looks whether they have ended."""


class ProcessJob:
    """One attempt that runs in a process, or waits for one."""

    def __init__(
        self,
        handler: Handler,
        delivery: Delivery,
        info: AttemptInfo,
        control: ContextControl,
        *,
        begin: Callable[[], AttemptInfo],
    ) -> None:
        """Describe the attempt; ``begin`` is called when a process takes it, and gives what holds from then on."""
        self.begin = begin
        self.handler = handler
        self.delivery = delivery
        self.info = info
        self.control = control
        self.killed = False
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def attach(self, child: _Child | None) -> None:
        """Note which process runs this; one that was given up meanwhile dies at once."""
        with self._lock:
            self._child = child
            if child is not None and self.killed:
                child.kill()

    def kill(self) -> None:
        """Give the attempt up and kill its process."""
        with self._lock:
            self.killed = True
            if self._child is not None:
                self._child.kill()


def check_handlers(handlers: Iterable[Handler], codecs: Iterable[Codec]) -> None:
    """Refuse what no process could be told to run.

    :raises InvalidError: a function cannot be found by its name, or an exception type or a codec not be pickled.
    """
    for handler in handlers:
        if handler.pool != "process":
            continue
        for codec in codecs:
            _check_sendable(codec, f"the codec {codec.name!r}", handler)
        module, qualname = handler.function.__module__, handler.function.__qualname__
        try:
            find(module, qualname)
        except (AttributeError, ImportError) as error:
            raise InvalidError(
                f"task {handler.name!r}: a process cannot find {module}.{qualname} ({error}); "
                "pool='process' needs a function at the top level of a module, under its own name"
            ) from error
        for kind in (*(handler.retry_on or ()), *handler.no_retry_on):
            _check_sendable(kind, kind.__qualname__, handler)


def _check_sendable(value: object, what: str, handler: Handler) -> None:
    try:
        pickle.dumps(value)
    except Exception as error:
        raise InvalidError(
            f"task {handler.name!r}: a process cannot be sent {what} ({error}); define it at the top level of a "
            "module, with nothing in it that cannot be pickled"
        ) from error


class ProcessPool:
    """Processes that are started as they are needed, up to ``limit``."""

    def __init__(self, limit: int) -> None:
        """Start without processes."""
        self._slots = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def call(self, job: ProcessJob) -> Attempt:
        """Run an attempt and block until it has ended. Never raises."""
        with self._slots:
            if job.killed or self._closed:
                return _died(None)
            child: _Child | None = None
            try:
                child = self._take()
                job.attach(child)
                attempt = child.run(job)
            except (EOFError, OSError) as error:
                return _died(child.reap() if child else None, error)
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
        """Stop the idle processes; busy ones are killed through their jobs.

        Programs that handlers have left behind are asked to end, and not waited for.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()
            child.reap(patient=False)

    def _take(self) -> _Child:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Child()

    def _give_back(self, child: _Child) -> None:
        with self._lock:
            if not self._closed and child.alive:
                self._idle.append(child)
                return
        child.kill()
        child.reap()


class _Child:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        self._connection, theirs = _contexts.Pipe()
        self._process = _contexts.Process(target=main, args=(theirs,), name="buquet-task", daemon=True)
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

    def run(self, job: ProcessJob) -> Attempt:
        connection: Connection[Any, Any] = self._connection
        connection.send(_describe(job))
        while True:
            kind, value = connection.recv()
            if kind == "done":
                return _read(job, *value)
            if kind == "taken":
                connection.send(job.begin())
                continue
            if kind == "progress":
                job.control.report(*value)
                continue
            connection.send(_extend(job.control, value))

    def kill(self) -> None:
        """Kill the process and ask its programs to end. First the process, lest the handler goes on without them."""
        self._process.kill()
        if self._told is None:
            self._told = time.monotonic()
            self._signal(signal.SIGTERM)

    def reap(self, *, patient: bool = True) -> int | None:
        """Wait until the process is gone, and then its programs: those that do not heed SIGTERM are killed."""
        self._process.join(timeout=5)
        if self._process.is_alive():  # it broke the pipe and lives on
            self._process.kill()
            self._process.join(timeout=5)
        self._connection.close()
        if patient:
            self._end()
        self._at_exit.cancel()
        return self._process.exitcode

    def _end(self) -> None:
        self.kill()
        self._process.join(timeout=5)
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


def _describe(job: ProcessJob) -> ChildTask:
    handler = job.handler
    return ChildTask(
        name=handler.name,
        module=handler.function.__module__,
        qualname=handler.function.__qualname__,
        plain=isinstance(handler.signature, PlainSignature),
        retry_on=handler.retry_on,
        no_retry_on=handler.no_retry_on,
        parts=job.delivery.parts(),
        info=job.info,
        config=job.delivery.vault.client.config,
        codecs=job.delivery.vault.client.codecs,
    )


def _extend(control: ContextControl, by: Any) -> tuple[str, Any]:
    try:
        return "ok", control.extend_sync(by)
    except BuquetError as error:
        return "error", error


def _read(job: ProcessJob, encoded: bytes, pickled: bytes | None) -> Attempt:
    outcome = msgspec.json.decode(encoded, type=Outcome)
    if outcome.outcome == "complete":
        return Attempt(outcome, result=_result(job, bytes(outcome.output or b"null"), outcome.payloads or []))
    try:
        error: BaseException = pickle.loads(pickled or b"")  # noqa: S301 - from our own child
    except Exception:  # noqa: BLE001 - exceptions of all kinds pickle badly in all ways
        info = outcome.error
        text = f"{info.type}: {info.message}" if isinstance(info, FailureInfo) else outcome.outcome
        error = RuntimeError(text)
    return Attempt(outcome, error=error)


def _result(job: ProcessJob, raw: bytes, payloads: list[Payload]) -> Any:
    """The result, for the hooks; of one that lies in a payload only what stands for it."""
    place = Place("result", job.handler.name)
    try:
        if payloads:
            return msgspec.json.decode(raw)
        plain = Delivery(job.delivery.vault, raw, None, [], place).open()
        return _codec.decode(plain, job.handler.signature.returns, "the result")
    except BuquetError:
        return msgspec.json.decode(raw)


def _died(exit_code: int | None, cause: BaseException | None = None) -> Attempt:
    how = f"with exit code {exit_code} " if exit_code is not None else ""
    because = f" ({cause})" if cause is not None and str(cause) else ""
    message = f"the process ended {how}while it ran the task{because}"
    outcome = Outcome(outcome="fail", error=FailureInfo("ProcessDied", message), retry=True)
    return Attempt(outcome, error=RuntimeError(message))
