"""``buquet worker``: run an app's tasks, in this process or in several."""

from typing import Annotated

import typer

from buquet.cli._output import Json, Url, shared, wants_json
from buquet.cli._usage import duration
from buquet.cli._work import Wanted, work


def worker(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Where the app is: tasks:app is `app` in tasks.py.")
    ],
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, help="Most tasks at a time (default: 20).")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", "-p", min=1, help="Worker processes; a crashed one is started again (default: 1)."),
    ] = None,
    pool_processes: Annotated[
        int | None,
        typer.Option(
            "--pool-processes",
            min=1,
            help='Most processes for tasks with pool="process", of each worker (default: its share of the CPUs).',
        ),
    ] = None,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, help="Most runs of workflows at a time (default: 100).")
    ] = None,
    plain_bodies: Annotated[
        int | None,
        typer.Option("--plain-bodies", min=1, help="Most of these whose workflow is a plain def (default: 20)."),
    ] = None,
    plain_steps: Annotated[
        int | None, typer.Option("--plain-steps", min=1, help="Most plain def steps at a time (default: 20).")
    ] = None,
    drain: Annotated[
        str | None,
        typer.Option(
            "--drain", help="How long running tasks may go on after SIGTERM (default: 25s).", callback=duration
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="debug, info, warning or error (default: info).")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Run the tasks and workflows of an app until SIGTERM, SIGHUP or Ctrl-C.

    What is not said here, the configuration says: see buquet config.

    The first signal drains: nothing more is taken, what runs may end.
    The second stops at once. Either way the leases are given back.
    With --json, stdout gets what was done and spent, at the end.

    \b
    buquet worker tasks:app
    buquet worker tasks:app --concurrency 50 --url s3://my-bucket/jobs
    buquet worker tasks:app --processes 4 --drain 5m
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    wanted = Wanted(
        target,
        concurrency=concurrency,
        processes=processes,
        pool_processes=pool_processes,
        runs=runs,
        plain_bodies=plain_bodies,
        plain_steps=plain_steps,
        drain=drain,
        log_level=log_level,
        url=shared.url if url is None else url,
        json=shared.json,
    )
    raise typer.Exit(work(wanted))
