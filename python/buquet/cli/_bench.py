"""``buquet bench``: how fast a queue is on this machine, and what it costs."""

from typing import Annotated

import typer

from buquet.cli._output import Json, Url, shared, wants_json


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
    dollars_per_million     those of submit_many and drain, at S3's prices; null
                            on other stores, where requests cost nothing
    idle_dollars_per_month  requests of the resting worker over 30 days, likewise
    rss_mb                  the worker process's peak of resident memory, after
                            the drain (1 MB = 1,000,000 bytes)
    cpu_s_per_1000          the worker process's CPU seconds for 1,000 tasks drained

    \b
    buquet bench --url sqlite:bench.db
    buquet bench --url s3://my-bucket/bench --tasks 50000 --json
    buquet bench --url memory: --idle 5 --pickups 10
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    from buquet.cli._bench_run import run  # noqa: PLC0415 - no other command needs what it imports

    run(shared.url if url is None else url, tasks=tasks, concurrency=concurrency, idle=idle, pickups=pickups)
