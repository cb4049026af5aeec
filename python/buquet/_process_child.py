"""The far side of the process pool: runs the attempts it is sent, one by one."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from buquet._allocator import use_few_arenas
from buquet._attempt import Attempt, ExceptionTypes, Handler, Outcome, failure, run_sync
from buquet._chain import Chain
from buquet._client import Client
from buquet._context import AttemptInfo, TaskContext
from buquet._forked import own_signals
from buquet._logs import enable_loggers
from buquet._process_logs import send_logs
from buquet._process_pipe import ParentControl, Pipe, PipedClient
from buquet._signature import PlainSignature, TaskSignature
from buquet._task import BoundTask
from buquet._vault import Delivery, Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

    from buquet._address import Config
    from buquet._vault import Parts
    from buquet.codecs import Codec


_LOOK = 5.0
"""Seconds between two looks whether the worker is alive, for where its death does not show at once."""


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
    is_local: bool
    """The queue is in the worker's memory, out of reach of other processes."""
    codecs: tuple[Codec, ...]


def main(connection: Connection[Any, Any], levels: Mapping[str, int]) -> None:
    """Serve the parent until it closes the connection. Signals are the parent's to handle."""
    use_few_arenas()
    if os.getpgrp() != os.getpid():
        os.setsid()  # so that this process and the programs that handlers start can be ended together
    multiprocessing.current_process().daemon = False  # or handlers could not have processes of their own
    threading.Thread(target=_end_with_parent, name="buquet-parent", daemon=True).start()
    _leave_signals_to_parent()
    pipe = Pipe(connection)
    send_logs(pipe, levels)
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, task = pipe.receive()
            pipe.send(number, "taken")
            attempt = _run(task._replace(info=pipe.receive()), pipe, number)
            pipe.send(number, "done", _pack(attempt))
    # The interpreter's way out would wait for threads and programs that handlers have left behind.
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        sys.stdout.flush()
    _end_group()


def _leave_signals_to_parent() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    own_signals({number: signal.getsignal(number) for number in numbers})
    for number in numbers:
        # A function, since programs that a handler starts would inherit SIG_IGN.
        signal.signal(number, _leave_to_parent)


def _leave_to_parent(*_: object) -> None:
    """Do nothing about a signal."""


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


def _run(task: ChildTask, pipe: Pipe, number: int) -> Attempt:
    try:
        handler = _handler(task)
    except BaseException as error:  # noqa: BLE001 - importing user code may raise anything, SystemExit too
        outcome = Outcome(outcome="fail", error=failure(error), retry=True)
        return Attempt(outcome, error=error)
    enable_loggers()  # which importing the handler may have disabled
    delivery = Delivery(_vault(task, pipe, number), *task.parts)
    control = ParentControl(pipe, number)
    try:
        return run_sync(handler, delivery, TaskContext(task.info, control))
    finally:
        control.finish()


def _vault(task: ChildTask, pipe: Pipe, number: int) -> Vault:
    """The way to the payloads of the worker's queue; nothing is opened before there is one."""
    if task.is_local:
        return Vault(PipedClient(task.config, pipe, number), Chain(task.codecs))
    if task.codecs:  # they may be of another worker's by now
        return Vault(_client(task.config), Chain(task.codecs))
    return _client(task.config).vault


@lru_cache(maxsize=4)
def _client(config: Config) -> Client:
    return Client(config)


def _handler(task: ChildTask) -> Handler:
    target = _resolve(task.module, task.qualname)
    if isinstance(target, BoundTask):
        target.use(task.config, is_local=task.is_local)
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
        with contextlib.suppress(BaseException):  # an exception may do anything when it is pickled
            pickled = pickle.dumps(attempt.error)
    return msgspec.json.encode(attempt.outcome), pickled
