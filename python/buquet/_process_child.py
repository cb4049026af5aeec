"""The far side of the process pool: runs the attempts it is sent, one by one."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from buquet._allocator import use_few_arenas
from buquet._attempt import Attempt, ExceptionTypes, Handler, Outcome, failure, run_sync
from buquet._chain import Chain
from buquet._client import Client
from buquet._context import AttemptInfo, TaskContext
from buquet._signature import PlainSignature, TaskSignature
from buquet._task import BoundTask
from buquet._vault import Delivery, Vault
from buquet.errors import BuquetError, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from buquet._client import Config
    from buquet._durations import Duration
    from buquet._vault import Parts
    from buquet.codecs import Codec


_LOOK = 5.0
"""Seconds between two looks whether the worker is alive, for where its death does not show at once."""
_REPORT_PAUSE = 0.1
"""Seconds between two reports of progress that are sent to the parent."""


class ChildTask(NamedTuple):
    """What the child needs to know to run an attempt."""

    name: str
    module: str
    qualname: str
    plain: bool
    retry_on: ExceptionTypes | None
    no_retry_on: ExceptionTypes
    parts: Parts
    info: AttemptInfo
    config: Config
    """Where the worker's queue is: for payloads, and for a handler that submits tasks of its own."""
    codecs: tuple[Codec, ...]


def main(connection: Connection[Any, Any]) -> None:
    """Serve the parent until it goes away. Signals are the parent's to handle."""
    use_few_arenas()
    if os.getpgrp() != os.getpid():
        os.setsid()  # so that this process and the programs that handlers start can be ended together
    threading.Thread(target=_end_with_parent, name="buquet-parent", daemon=True).start()
    for name in ("SIGINT", "SIGTERM"):
        # A function, since programs that a handler starts would inherit SIG_IGN.
        signal.signal(getattr(signal, name), _leave_to_parent)
    with contextlib.suppress(EOFError, OSError):
        while True:
            task: ChildTask = connection.recv()
            connection.send(("taken", None))
            task = task._replace(info=connection.recv())
            connection.send(("done", _pack(_run(task, connection))))
    _end_group()


def _end_with_parent() -> None:
    """Wait until the worker is gone, however it ended, and let nothing live on: the task may run elsewhere by now."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    while os.getppid() == parent.pid:
        # The pipe behind this ends with the worker, unless a program that the worker forked holds it as well.
        parent.join(_LOOK)
    _end_group()


def _end_group() -> None:
    """End this process and all programs that its handlers have started and left in its group."""
    os.killpg(os.getpid(), signal.SIGKILL)


def _leave_to_parent(*_: object) -> None:
    """Do nothing about a signal."""


def _run(task: ChildTask, connection: Connection[Any, Any]) -> Attempt:
    try:
        handler = _handler(task)
    except Exception as error:  # noqa: BLE001 - importing user code may raise anything
        outcome = Outcome(outcome="fail", error=failure(error), retry=True)
        return Attempt(outcome, error=error)
    delivery = Delivery(_vault(task), *task.parts)
    control = _ParentControl(connection)
    try:
        return run_sync(handler, delivery, TaskContext(task.info, control))
    finally:
        control.finish()


def _vault(task: ChildTask) -> Vault:
    """The way to the payloads of the worker's queue; nothing is opened before there is one."""
    if task.codecs:  # they may be of another worker's by now
        return Vault(_client(task.config), Chain(task.codecs))
    return _client(task.config).vault


@lru_cache(maxsize=4)
def _client(config: Config) -> Client:
    return Client(config)


def _handler(task: ChildTask) -> Handler:
    target = _resolve(task.module, task.qualname)
    if isinstance(target, BoundTask):
        target.use(task.config)
    function = find(task.module, task.qualname)
    signature = (PlainSignature if task.plain else TaskSignature)(function, task.name)
    return Handler(task.name, function, signature, retry_on=task.retry_on, no_retry_on=task.no_retry_on)


def find(module: str, qualname: str) -> Callable[..., Any]:
    """Find a handler by its name, as any process can."""
    target = _resolve(module, qualname)
    # A decorated function is a task by now; what runs is the function inside, with its own decorators.
    is_task = isinstance(cast("object", target), BoundTask)
    return target.__wrapped__ if is_task else target


def _resolve(module: str, qualname: str) -> Any:
    target: Any = importlib.import_module(module)
    for part in qualname.split("."):
        target = getattr(target, part)
    return target


def _pack(attempt: Attempt) -> tuple[bytes, bytes | None]:
    pickled: bytes | None = None
    if attempt.error is not None:
        with contextlib.suppress(Exception):
            pickled = pickle.dumps(attempt.error)
    return msgspec.json.encode(attempt.outcome), pickled


class _ParentControl:
    """The context's way to the worker: over the pipe. A lost lease or a cancellation kills this process."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        """The pipe takes one message at a time."""
        self._latest_lock = threading.Lock()
        self._latest: tuple[float, str | None] | None = None
        self._timer: threading.Timer | None = None
        self._reported = 0.0
        self._is_over = False

    def lost(self) -> bool:
        return False

    def called_off(self) -> bool:
        return False

    def report(self, value: float, message: str | None) -> None:
        """Send the report, or leave it to a timer that waits anyway: the last one always gets through."""
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
        # The lock is held from taking to sending: who finishes waits for a timer that sends.
        with self._lock:
            with self._latest_lock:
                latest, self._latest, self._timer = self._latest, None, None
                self._reported = time.monotonic()
            if latest is not None and (last or not self._is_over):
                with contextlib.suppress(OSError):  # the parent is gone, and soon this process
                    self._connection.send(("progress", latest))

    async def extend(self, by: Duration) -> datetime:
        return self.extend_sync(by)

    def extend_sync(self, by: Duration) -> datetime:
        with self._lock:
            self._connection.send(("extend", by))
            kind, value = self._connection.recv()
        if kind == "ok" and isinstance(value, datetime):
            return value
        if isinstance(value, BuquetError):
            raise value
        raise InternalError(f"the worker answered {kind!r} to an extension")
