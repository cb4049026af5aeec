"""``buquet bench``: how fast a queue is on this machine, and what it costs."""

import asyncio
import logging
import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from buquet._models import StoreInfo
from buquet._queue import connect
from buquet.bench._figures import Measured, PerTask
from buquet.bench._measure import Plan, measure
from buquet.bench._process import WorkerProcess
from buquet.bench._worker import LocalWorker
from buquet.cli._output import Json, Url, err, out, print_json, shared, wants_json


def bench(
    tasks: Annotated[int, typer.Option("--tasks", "-n", min=1, max=1_000_000, help="Tasks in each phase.")] = 10_000,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, max=10_000, help="Most tasks at a time in the worker.")
    ] = 200,
    idle: Annotated[
        float, typer.Option("--idle", min=1, help="Seconds of rest that the monthly cost is reckoned from.")
    ] = 60,
    pickups: Annotated[int, typer.Option("--pickups", min=1, max=10_000, help="Lone tasks to time.")] = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """Measure submits, drain, pick-up and cost with handlers that do nothing.

    This process submits, and one worker process, started for it, runs the tasks.
    On memory:, which processes cannot share, both are this process.
    The tasks stay in the queue, completed: give it a prefix or a file of its own.

    \b
    submit_per_s            single submits, 1,000 callers at a time
    submit_many_per_s       one call of submit_many with all tasks
    drain_per_s             stored tasks run by the worker process, which has run
                            as many before; from its sign-in to its sign-off
    pickup_ms               from the call of submit to the handler's first line in
                            the idle worker: median, and 99 in 100 (of fewer
                            than 100 pick-ups: the longest)
    requests_per_task       requests of each phase divided by its tasks, as the
                            engine counts them; a GET answered 304 is a GET
    dollars_per_million     those of submit_many and drain, at S3's prices
    idle_dollars_per_month  requests of the resting worker, at S3's prices, over
                            30 days
    rss_mb                  the worker process's peak of resident memory, after
                            the drain (1 MB = 1,000,000 bytes)
    cpu_s_per_1000          the worker process's CPU seconds for 1,000 tasks drained

    \b
    buquet bench --url sqlite:bench.db
    buquet bench --url s3://my-bucket/bench --tasks 50000 --json
    buquet bench --url memory: --idle 5 --pickups 10
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    plan = Plan(tasks=tasks, idle_seconds=idle, pickups=pickups)
    info, measured = asyncio.run(_run(shared.url if url is None else url, concurrency, plan))
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
    out.print(
        f"\nAt S3's prices: ${figures.dollars_per_million:.2f} per million tasks (submit_many and drain), "
        f"${figures.idle_dollars_per_month:.2f} a month for a worker without work",
        soft_wrap=True,
    )


def _add(table: Table, name: str, per_task: PerTask) -> None:
    counts = (per_task.put, per_task.get, per_task.list, per_task.delete)
    table.add_row(name, *(f"{count:.4f}" for count in counts))
