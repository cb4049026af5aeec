"""How far a group has come, shown on standard error."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

_LINES = 10


class Show(Protocol):
    """Shows how many tasks have ended."""

    def __call__(self, done: int) -> None: ...


@contextlib.contextmanager
def shown(total: int, *, wanted: bool) -> Generator[Show]:
    """A bar on a terminal, a line every tenth elsewhere, nothing if not wanted."""
    if not wanted or total == 0:
        yield _nothing
        return
    # Imported here, so that those who want no bar do not pay for one.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    # Rich draws into a file too where colours are forced, as in many a CI.
    if not (sys.stderr.isatty() and console.is_interactive):
        yield _Lines(total)
        return
    columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # What is printed meanwhile appears above the bar, but not what goes to a file: Rich would print that here as well.
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as progress:
        bar = progress.add_task("tasks", total=total)
        yield lambda done: progress.update(bar, completed=done)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = 0

    def __call__(self, done: int) -> None:
        tenths = done * _LINES // self._total
        if tenths > self._shown:
            self._shown = tenths
            sys.stderr.write(f"{done:,} of {self._total:,} tasks\n")
            sys.stderr.flush()


def _nothing(done: int) -> None:
    del done
