"""What ``buquet bench`` does."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from buquet._queue import connect
from buquet.bench._measure import Plan, measure
from buquet.bench._process import WorkerProcess
from buquet.bench._worker import LocalWorker
from buquet.cli._output import err, out, print_json, shared

if TYPE_CHECKING:
    from buquet._models import StoreInfo
    from buquet.bench._figures import Measured, PerTask


def run(url: str | None, *, tasks: int, concurrency: int, idle: float, pickups: int) -> None:
    """Measure, and print the figures."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    plan = Plan(tasks=tasks, idle_seconds=idle, pickups=pickups)
    info, measured = asyncio.run(_run(url, concurrency, plan))
    if shared.json:
        print_json(measured.figures())
    else:
        _print(info, measured, concurrency)


async def _run(url: str | None, concurrency: int, plan: Plan) -> tuple[StoreInfo, Measured]:
    async with connect(url) as queue:
        info = await queue.info()
        _tell(f"the queue is {info.url}")
        if info.store == "memory":
            _tell("memory: cannot be shared by processes, so submitter and worker are this one process")
            side = LocalWorker(queue, concurrency)
        else:
            side = WorkerProcess(url, concurrency)
        async with side as worker:
            return info, await measure(queue, worker, plan, _tell)


def _tell(line: str) -> None:
    """Say what happens now: on stderr, so that stdout holds the figures alone."""
    if not shared.json:
        err.print(line, style="dim", markup=False, soft_wrap=True)


def _print(info: StoreInfo, measured: Measured, concurrency: int) -> None:
    figures = measured.figures()
    where = "this process, the submitter as well" if info.store == "memory" else "a process of its own"
    out.print(
        f"\n[bold]{measured.tasks:,} tasks on {escape(info.url)}[/]\n"
        f"one worker in {where}, up to {concurrency:,} tasks at a time",
        soft_wrap=True,
    )
    rates = Table(box=None, show_header=False)
    rates.add_column(justify="left")
    rates.add_column(justify="right")
    rates.add_column(justify="left")
    rates.add_row("single submits", f"{figures.submit_per_s:,.0f}", "tasks/s")
    rates.add_row("submit_many", f"{figures.submit_many_per_s:,.0f}", "tasks/s")
    rates.add_row("drain", f"{figures.drain_per_s:,.0f}", "tasks/s")
    rates.add_row("  its CPU", f"{figures.cpu_s_per_1000:.3f}", "s for 1,000 tasks")
    rates.add_row("  its memory", f"{figures.rss_mb:.0f}", "MB at most")
    rates.add_row("pick-up, median", f"{figures.pickup_ms.p50:,.1f}", "ms")
    rates.add_row("  99 in 100", f"{figures.pickup_ms.p99:,.1f}", f"ms, of {len(measured.pickups_ms)}")
    rates.add_row("idle CPU", f"{measured.rest.cpu_percent:.2f}", "% of a core")
    out.print(rates)

    requests = Table(box=None, title="Requests per task", title_justify="left", title_style="bold")
    requests.add_column("")
    for name in ("PUT", "GET", "LIST", "DELETE"):
        requests.add_column(name, justify="right")
    _add(requests, "single submits", figures.requests_per_task.submit)
    _add(requests, "submit_many", figures.requests_per_task.submit_many)
    _add(requests, "drain", figures.requests_per_task.drain)
    out.print()
    out.print(requests)
    if figures.dollars_per_million is not None:
        out.print(
            f"\nAt S3's prices: ${figures.dollars_per_million:.2f} per million tasks (submit_many and drain), "
            f"${figures.idle_dollars_per_month:.2f} a month for a worker without work",
            soft_wrap=True,
        )


def _add(table: Table, name: str, per_task: PerTask) -> None:
    counts = (per_task.put, per_task.get, per_task.list, per_task.delete)
    table.add_row(name, *(f"{count:.4f}" for count in counts))
