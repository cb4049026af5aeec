"""Handlers for the process pool: a process has to find them by name."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from buquet import Buquet, PermanentError, TaskContext
from buquet._current import current_task_id

if TYPE_CHECKING:
    from collections.abc import Callable


app = Buquet("sqlite:/not/where/the/worker/is.db")


@app.task
def another() -> str:
    return "found"


@app.task(pool="process")
def submit_another() -> str:
    return another.submit().id


class Plain:
    """A codec that changes nothing."""

    name = "plain"

    def encode(self, data: bytes, context: bytes) -> bytes:
        del context
        return data

    decode = encode


def terminate_a_program() -> int:
    program = subprocess.Popen(["sleep", "3600"])
    program.terminate()
    return program.wait(timeout=60)


def run_program(pipe: str, program: str) -> None:
    """Run a shell program until it ends. As long as it or this process lives, the named pipe is open."""
    with Path(pipe).open("wb") as held:
        subprocess.run(["sh", "-c", program], stdout=held, check=False)


def leave_program(pipe: str, program: str) -> None:
    """Start a shell program that outlives the call, and with it the named pipe."""
    with Path(pipe).open("wb") as held:
        subprocess.Popen(["sh", "-c", program], stdout=held)


def die_beside_program(pipe: str, program: str) -> None:
    leave_program(pipe, program)
    os._exit(9)


def square(n: int) -> int:
    return n * n


def own_pid() -> int:
    return os.getpid()


def sleep_for_ever() -> None:
    time.sleep(3600)


def die() -> None:
    os._exit(9)


def refuse(text: str) -> None:
    raise PermanentError(text)


def extend(ctx: TaskContext) -> bool:
    before = ctx.deadline
    return before is not None and ctx.extend_sync(7200) > before


def report_often(ctx: TaskContext) -> str | None:
    for step in range(200):
        ctx.progress(step / 400, f"step {step}")
    ctx.progress(0.5, "all steps")
    return current_task_id()


def twice(function: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(function)
    def wrapper(*args: int) -> int:
        return 2 * function(*args)

    return wrapper


@twice
def wrapped(n: int) -> int:
    return n


def sleep_briefly() -> None:
    time.sleep(0.2)


class NamelessError(Exception):
    """An error that its name does not lead to."""


NamelessError.__qualname__ = "Hidden"
