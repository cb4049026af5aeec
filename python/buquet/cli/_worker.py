"""``buquet worker``: run an app's tasks, in this process or in several."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from typing import Annotated

import typer

from buquet import _ops
from buquet._app import Buquet
from buquet._client import Config
from buquet._models import Usage
from buquet._worker import Worker
from buquet.cli._config import read
from buquet.cli._load import load_app
from buquet.cli._output import Json, Url, print_json, shared, wants_json
from buquet.cli._supervisor import SUPERVISED, supervise
from buquet.cli._usage import duration

_GARBAGE_THRESHOLD = 10_000
"""New objects between two looks for garbage: each attempt makes some that live until its outcome is stored."""

_logger = logging.getLogger("buquet.cli")


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
    drain: Annotated[
        str | None,
        typer.Option(
            "--drain", help="How long running tasks may go on after SIGTERM (default: 30s).", callback=duration
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="debug, info, warning or error (default: info).")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Run the tasks of an app until SIGTERM or Ctrl-C.

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
    configured = read(url)
    log_level = configured.word("worker.log_level") if log_level is None else log_level
    processes = configured.count("worker.processes") if processes is None else processes
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise typer.BadParameter(f"{log_level!r} is no level", param_hint="--log-level")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s %(message)s", stream=sys.stderr)
    url = shared.url if url is None else url
    if url is not None:
        os.environ["BUQUET_URL"] = url  # for the processes that this one starts
    if processes > 1:
        options = ["--processes", "1", "--log-level", log_level]
        given = {"--concurrency": concurrency, "--drain": drain, "--url": url}
        for name, value in given.items():
            options += [] if value is None else [name, str(value)]
        options += ["--json"] if shared.json else []
        raise typer.Exit(asyncio.run(supervise(["worker", target, *options], processes)))
    app = load_app(target)
    if url is not None:
        app.queue.client.reconfigure(Config(url=url))
    asyncio.run(_run(app, app.worker(concurrency=concurrency, drain_timeout=drain)))


async def _run(app: Buquet, worker: Worker) -> None:
    info = await app.queue.info()
    _logger.info("the queue is %s (from %s)", info.url, info.source)
    # What was imported stays; looking through it again and again for garbage would cost a tenth of the work.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    if os.environ.get(SUPERVISED):
        _drain_without_parent(worker)
    try:
        await worker.run()
    finally:
        usage = await app.queue.client.call_async(_ops.usage())
        await app.close_async()
        _report(worker, usage)


def _report(worker: Worker, usage: Usage) -> None:
    if shared.json:
        with contextlib.suppress(BrokenPipeError):
            print_json({"worker": worker.id, "attempts": worker.attempts, "usage": usage})
    else:
        requests = usage.requests
        _logger.info(
            "%d attempt(s), %d PUT, %d GET, %d LIST: $%.6f on S3",
            worker.attempts,
            requests.put,
            requests.get,
            requests.list,
            usage.dollars,
        )


def _drain_without_parent(worker: Worker) -> None:
    """Drain when the supervisor is gone: its end of our stdin closes with it."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(0)
        worker.drain()

    loop.add_reader(0, ended)
