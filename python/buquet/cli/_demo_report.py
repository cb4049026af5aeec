"""What the demo prints when all is counted."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from rich.markup import escape
from rich.table import Table

from buquet import _codec
from buquet._handle import TaskHandle
from buquet._models import StoreInfo, Task, TaskStatus, Usage
from buquet.cli._output import out
from buquet.cli._render import print_timeline
from buquet.demo import FileCount
from buquet.demo.workers import WorkerSummary

_TOP = 10
_NAMED = 12


class Counted(msgspec.Struct, frozen=True):
    """One file's numbers, and the task that counted it."""

    file: str
    task: str
    count: FileCount


class Report:
    """The demo's outcome."""

    def __init__(
        self,
        *,
        info: StoreInfo,
        url: str | None,
        library: Path,
        files: list[Path],
        tasks: list[Task],
        producer: Usage,
        workers: list[WorkerSummary],
        submit_seconds: float,
        seconds: float,
    ) -> None:
        """Sort the outcome out."""
        self._info = info
        self._url = url
        self._producer = producer
        self._workers = workers
        self._submit_seconds = submit_seconds
        self._seconds = seconds
        names = [str(file.relative_to(library)) for file in files]
        ended = list(zip(names, tasks, strict=True))
        self.counted = [
            Counted(name, task.id, _codec.convert(task.output, FileCount, name))
            for name, task in ended
            if task.status is TaskStatus.COMPLETED
        ]
        self.failed = [(name, task) for name, task in ended if task.status is not TaskStatus.COMPLETED]
        self.largest = sorted(self.counted, key=lambda item: -item.count.lines)[:_TOP]
        self.unparsed = [item for item in self.counted if item.count.problem is not None]

    def totals(self) -> dict[str, int]:
        """The sums over all files."""
        counts = [item.count for item in self.counted]
        return {
            "files": len(self.counted),
            "lines": sum(count.lines for count in counts),
            "functions": sum(count.functions for count in counts),
            "classes": sum(count.classes for count in counts),
            "unparsed": len(self.unparsed),
            "failed": len(self.failed),
        }

    def for_programs(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "queue": self._info,
            "totals": self.totals(),
            "largest": self.largest,
            "unparsed": self.unparsed,
            "failed": [{"file": name, "task": task} for name, task in self.failed],
            "seconds": round(self._seconds, 3),
            "usage": {"producer": self._producer, "workers": [worker.usage for worker in self._workers]},
            "dollars": self._dollars(),
        }

    def print(self, handle: Callable[[str], TaskHandle[Any]]) -> None:
        """Print the report for people."""
        self._print_counts()
        if self.largest:
            chosen = self.largest[0]
            out.print(f"\n[bold]The life of one task[/]: {escape(chosen.file)}")
            print_timeline(handle(chosen.task).history())
        self._print_costs()
        self._print_places()

    def _print_counts(self) -> None:
        table = Table(title="The ten largest files", title_justify="left", title_style="bold", box=None)
        table.add_column("FILE")
        for name in ("LINES", "FUNCTIONS", "CLASSES"):
            table.add_column(name, justify="right")
        for item in self.largest:
            count = item.count
            table.add_row(escape(item.file), f"{count.lines:,}", f"{count.functions:,}", f"{count.classes:,}")
        out.print()
        out.print(table)
        totals = self.totals()
        out.print(
            f"\n[bold]Totals[/]: {totals['files']:,} files, {totals['lines']:,} lines, "
            f"{totals['functions']:,} functions, {totals['classes']:,} classes",
            soft_wrap=True,
        )
        if self.unparsed:
            _print_named(
                f"Of {len(self.unparsed)} of them only the lines were counted, since they are no valid Python, most of "
                "them on purpose, as test data",
                (item.file for item in self.unparsed),
            )
        if self.failed:
            _print_named(f"[red]{len(self.failed)} failed[/]", (f"{name} ({task.id})" for name, task in self.failed))
        per_second = len(self.counted) / self._seconds if self._seconds else 0
        out.print(
            f"{self._seconds:.1f} s in all, {self._submit_seconds:.2f} s of it to submit; "
            f"{per_second:,.0f} tasks a second",
            soft_wrap=True,
        )

    def _print_costs(self) -> None:
        table = Table(title="Requests", title_justify="left", title_style="bold", box=None)
        table.add_column("")
        for name in ("PUT", "LIST", "GET", "OF THEM 304", "DELETE"):
            table.add_column(name, justify="right")
        _add_usage(table, "producer", [self._producer])
        _add_usage(table, f"{len(self._workers)} workers", [worker.usage for worker in self._workers])
        _add_usage(table, "all", self._usages())
        out.print()
        out.print(table)
        dollars, tasks = self._dollars(), len(self.counted) + len(self.failed)
        if dollars is not None and tasks:
            said = f"At S3's prices: ${dollars:.4f}, or ${dollars / tasks * 1e6:.2f} per million tasks"
            out.print(said, soft_wrap=True)

    def _dollars(self) -> float | None:
        """What it cost; elsewhere than on S3 nobody pays for requests."""
        return sum(usage.dollars for usage in self._usages()) if self._info.store == "s3" else None

    def _usages(self) -> list[Usage]:
        return [self._producer, *(worker.usage for worker in self._workers)]

    def _print_places(self) -> None:
        url = self._info.url
        out.print(f"\n[bold]Where it lies[/]: {escape(url)}", soft_wrap=True)
        for command in _ways_to_look(self._info, self._url, self.largest[0].task if self.largest else "ID"):
            out.print(f"  {command}", markup=False, soft_wrap=True)


def _ways_to_look(info: StoreInfo, url: str | None, task_id: str) -> Iterable[str]:
    there = f" --url '{url}'" if url else ""
    yield f"buquet status {task_id}{there}"
    yield f"buquet list --limit 5{there}"
    if info.store == "s3":
        parts = urlsplit(info.url)
        endpoint = parse_qs(urlsplit(url or "").query).get("endpoint")
        option = f" --endpoint-url {endpoint[0]}" if endpoint else ""
        yield f"aws s3 ls --recursive s3://{parts.netloc}{parts.path}{option}"
    elif info.store == "sqlite":
        path = info.url.removeprefix("sqlite:")
        yield f"sqlite3 '{path}' 'SELECT key, size FROM objects'"  # noqa: S608 - for a person to run


def _print_named(what: str, names: Iterable[str]) -> None:
    named = sorted(names)
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    out.print(f"{what}: {escape(', '.join(named[:_NAMED]))}{more}", soft_wrap=True)


def _add_usage(table: Table, who: str, usages: list[Usage]) -> None:
    counts = [
        sum(getattr(usage.requests, name) for usage in usages)
        for name in ("put", "list", "get", "not_modified", "delete")
    ]
    table.add_row(who, *(f"{count:,}" for count in counts))
