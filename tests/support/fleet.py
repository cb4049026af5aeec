"""The app that test workers run: `buquet worker tests.support.fleet:app`.

Environment:
    FLEET_STARTS  a file to which each start of an attempt is appended.
    FLEET_GATE    a path: handlers do not return before it exists.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from pathlib import Path

from buquet import Buquet, PermanentError, TaskContext
from tests.support.waiting import STEP_SECONDS

STARTS = os.environ.get("FLEET_STARTS")
GATE = os.environ.get("FLEET_GATE")


class Fleet:
    """The app with its tasks: a worker process has one, and each test that submits to it."""

    def __init__(self, url: str | None = None) -> None:
        """Declare the tasks in a new app."""
        self.app = Buquet(url)
        self.double = self.app.task(timeout="1h")(double)
        self.block = self.app.task(timeout="1h")(block)
        self.fail = self.app.task(retries=0)(fail)
        self.refuse = self.app.task(refuse)


async def double(ctx: TaskContext, n: int) -> int:
    """Give twice the number, once the gate is open."""
    note_start(ctx)
    await the_gate()
    return 2 * n


def block(ctx: TaskContext, seconds: float) -> str:
    """Hold a thread for a while, or until the gate opens."""
    note_start(ctx)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (GATE and gate_is_open()):
        ctx.raise_if_cancelled()
        time.sleep(STEP_SECONDS)
    return "done"


def fail(message: str) -> None:
    """Fail."""
    raise ValueError(message)


def refuse(message: str) -> None:
    """Fail for good."""
    raise PermanentError(message)


def gate_is_open() -> bool:
    """Whether handlers may return: there is no gate, or the test has opened it."""
    return GATE is None or Path(GATE).exists()


async def the_gate() -> None:
    """Wait until the gate is open; one task looks for all that wait on this loop."""
    if gate_is_open():
        return
    loop = asyncio.get_running_loop()
    if loop not in _watches:
        _watches[loop] = loop.create_task(_watch())
    await asyncio.shield(_watches[loop])


async def _watch() -> None:
    while not gate_is_open():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(STEP_SECONDS)


_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]] = weakref.WeakKeyDictionary()


def note_start(ctx: TaskContext) -> None:
    """Append one line, in one write, so that lines of several processes never mix."""
    if STARTS:
        with Path(STARTS).open("ab", buffering=0) as file:
            file.write(f"{ctx.id} {ctx.attempt} {os.getpid()}\n".encode())


app = Fleet().app
