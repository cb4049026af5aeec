"""What ``buquet demo`` does."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from buquet import _ops
from buquet import demo as demo_app
from buquet._address import Config
from buquet.cli._demo_report import Report
from buquet.cli._output import ExitCode, out, print_json, shared
from buquet.demo.workers import WorkerProcesses
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Generator

    from buquet._group import TaskGroup
    from buquet.demo import FileCount

_MOST_WORKERS = 4
_LOOK_SECONDS = {"sqlite": 0.25, "s3": 1.0}


class _Shown(Protocol):
    """Shows how many files are done."""

    def __call__(self, done: int) -> None: ...


def run(url: str | None, processes: int | None) -> None:
    """Run the demo, and print its report.

    :raises InvalidError: processes cannot share this queue.
    """
    library = Path(sysconfig.get_path("stdlib"))
    _tell(f"counting the Python files of {library}, each in a task of its own")
    app = demo_app.app
    app.queue.client.reconfigure(Config(url=url))
    info = app.queue.client.call(_ops.connect())
    if info.store == "memory":
        raise InvalidError("memory: lives in one process, and the demo needs several; use sqlite:PATH or s3://...")
    files = find_files(library)
    count = processes or max(2, min(_MOST_WORKERS, os.cpu_count() or 2))
    _tell(f"{len(files):,} files, {count} worker processes, queue at {info.url}")
    started = time.monotonic()
    with WorkerProcesses(url, count) as workers:
        group = demo_app.count_file.map(str(file) for file in files)
        submitted = time.monotonic()
        _tell(f"submitted in {submitted - started:.2f} s")
        _watch(group, workers, _LOOK_SECONDS.get(info.store, 1.0))
        finished = time.monotonic()
        summaries = workers.stop()
    report = Report(
        info=info,
        url=url,
        library=library,
        files=files,
        tasks=group.ended,
        producer=app.usage(),
        workers=summaries,
        submit_seconds=submitted - started,
        seconds=finished - started,
    )
    if shared.json:
        print_json(report.for_programs())
    else:
        report.print(app.handle)
    app.close()
    if report.failed:
        raise typer.Exit(ExitCode.TASK_FAILED)


def _tell(line: str) -> None:
    """Say what happens now, at once."""
    if not shared.json:
        out.print(line, markup=False, soft_wrap=True)


def find_files(library: Path) -> list[Path]:
    """Every .py file of the standard library, without what was installed on top of it."""
    foreign = {"site-packages", "dist-packages"}
    return sorted(path for path in library.rglob("*.py") if foreign.isdisjoint(path.parts) and path.is_file())


def _watch(group: TaskGroup[FileCount], workers: WorkerProcesses, every: float) -> None:
    with _progress(len(group)) as show:
        while True:
            done = len(group.refresh())
            show(done)
            if done == len(group):
                return
            workers.check()
            time.sleep(every)


@contextlib.contextmanager
def _progress(total: int) -> Generator[_Shown]:
    """A bar on a terminal, a line every tenth elsewhere, nothing with --json."""
    if shared.json:
        yield lambda done: None  # noqa: ARG005 - shows nothing
    elif out.is_terminal:
        columns = (TextColumn("counting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=out) as progress:
            bar = progress.add_task("files", total=total)
            yield lambda done: progress.update(bar, completed=done)
    else:
        shown = 0

        def show(done: int) -> None:
            nonlocal shown
            if done * 10 // total > shown:
                shown = done * 10 // total
                out.print(f"{done:,} of {total:,} files")

        yield show
