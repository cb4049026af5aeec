"""Handlers that start processes of their own. A process of the pool has to find them by name."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

from buquet import Buquet, InvalidError, LeaseLostError, TaskContext

FORKED = ("exec", "exit", "fail", "return")
ENDED = ["exit code 1", "exit code 3", "exit code 1", "exit code 0"]
"""How a forked child ends that does these things where a handler would."""


def fork(then: str) -> str:
    """Fork, and let the child leave the handler in one of the ways in which a forked child does."""
    child = os.fork()
    if child != 0:
        return f"exit code {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"
    if then == "exec":
        os.execvp("no-such-program", ["no-such-program"])  # noqa: S606 - it is not there
    if then == "exit":
        sys.exit(3)
    if then == "fail":
        raise ValueError("the child's")
    return "the child's result"


def fork_later(ctx: TaskContext, then: str) -> str:
    """Speak to the worker from the child too."""
    parent = os.getpid()
    ended = fork(then)
    if os.getpid() != parent:
        ctx.progress(1.0, "the child's")
        with contextlib.suppress(InvalidError):
            ctx.extend_sync("1h")
            os._exit(9)
    ctx.progress(0.5, "the parent's")
    return ended


async def fork_on_loop(then: str) -> str:
    return fork(then)


async def fork_and_wait_on_loop(then: str) -> str:
    """Let a child, if one is wanted, come back to the loop of the worker."""
    ended = fork("return") if then == "wait" else then
    await asyncio.sleep(0)
    return ended


def terminate_forked() -> int | None:
    """Fork a process and end it as its owner may."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join(10)
    process.kill()
    return process.exitcode


def pooled(numbers: list[int]) -> list[int]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map(abs, numbers)


def die_beside_daemon(pipe: str) -> None:
    """Leave a forked child behind that lives until somebody opens the named pipe, and die."""
    ready, is_ready = os.pipe()
    if os.fork() == 0:
        os.setsid()  # or it would be ended with the handler's process
        os.write(is_ready, b"x")
        Path(pipe).read_bytes()
        os._exit(0)
    os.read(ready, 1)
    os._exit(9)


_said: list[str] = []
_has_said = threading.Event()


def leave_extender(ctx: TaskContext) -> None:
    """Leave a thread behind that asks for more time once its attempt is over."""

    def extend() -> None:
        while not ctx.lease_lost:
            time.sleep(0.01)
        try:
            ctx.extend_sync("1h")
        except LeaseLostError:
            _said.append("lost")
        _has_said.set()

    threading.Thread(target=extend, daemon=True).start()


def extender_said() -> list[str]:
    _has_said.wait(10)
    return _said


def say_bye(path: str) -> int:
    atexit.register(Path(path).write_text, "bye")
    return os.getpid()


def never_leave() -> None:
    atexit.register(threading.Event().wait)


def never_start(*_: object) -> None:
    """Stand in for what a process of the pool does."""
    threading.Event().wait()


def say(ctx: TaskContext) -> None:
    ctx.logger.info("in %s", "context")
    logging.getLogger("shop").info("plain", extra={"order": 7, "cart": ["a"]})
    logging.getLogger("shop").debug("too much")
    try:
        {}["lost"]
    except KeyError:
        logging.getLogger("shop").exception("with a traceback")


def reversed_bytes(data: bytes) -> bytes:
    return data[::-1]


here = Buquet("memory:")


@here.task
def another() -> None: ...


@here.task(pool="process", retries=0)
def submit_another() -> str:
    return another.submit().id
