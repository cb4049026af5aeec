"""What ``buquet worker`` does, without Typer and Rich: a worker lives long and has no use for what they hold.

With all they import, a worker would hold 15 MiB more and start half a second later. So the usual command lines are read
here; what is not one of them, ``--help`` and mistakes above all, goes to Typer, which knows what to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from buquet import _ops
from buquet._address import Config
from buquet._allocator import use_few_arenas
from buquet._background import run_to_end, signals
from buquet._client import Client
from buquet._config import config
from buquet._durations import seconds, written_duration
from buquet._logs import enable_loggers
from buquet.cli._leaving import leave_within
from buquet.cli._load import load_app
from buquet.cli._signals import end_on_signals
from buquet.cli._supervised import Supervised, take_supervised
from buquet.errors import BuquetError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buquet._app import Buquet
    from buquet._config import Configuration
    from buquet._models import Usage
    from buquet._worker import Worker

_GARBAGE_THRESHOLD = 10_000
"""New objects between two looks for garbage: each attempt makes some that live until its outcome is stored."""
_TEXTS = {"--drain": "drain", "--log-level": "log_level", "--url": "url"}
_COUNTS = {
    "--concurrency": "concurrency",
    "-c": "concurrency",
    "--processes": "processes",
    "-p": "processes",
    "--pool-processes": "pool_processes",
    "--runs": "runs",
    "--plain-bodies": "plain_bodies",
    "--plain-steps": "plain_steps",
}
_INTERRUPTED = 130
_ENDING_GRACE = 40.0
"""Seconds that a worker has beyond its drain for all that it does at its end; each part has a limit of its own."""

_logger = logging.getLogger("buquet.cli")


class Wanted(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    target: str
    concurrency: int | None = None
    processes: int | None = None
    pool_processes: int | None = None
    runs: int | None = None
    plain_bodies: int | None = None
    plain_steps: int | None = None
    drain: str | None = None
    log_level: str | None = None
    url: str | None = None
    json: bool = False


def read_arguments(arguments: Sequence[str]) -> Wanted | None:
    """Read the arguments after ``worker``; None if Typer is to have a look at them, as at an option given twice."""
    targets: list[str] = []
    options: dict[str, Any] = {}
    rest = iter(arguments)
    for word in rest:
        if word == "--json":
            options["json"] = True
        elif word in _TEXTS or word in _COUNTS:
            value, name = next(rest, "-"), _TEXTS.get(word) or _COUNTS[word]
            if name in options or value.startswith("-") or (word in _COUNTS and not _is_count(value)):
                return None
            if word == "--drain":
                try:
                    value = written_duration(value, word)
                except InvalidError:
                    return None
            options[name] = int(value) if word in _COUNTS else value
        elif word.startswith("-"):
            return None
        else:
            targets.append(word)
    return Wanted(targets[0], **options) if len(targets) == 1 else None


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit() and int(value) > 0


def run(wanted: Wanted) -> int:
    """Do what the command line asks for; gives the exit code, and says what went wrong."""
    try:
        return work(wanted)
    except BuquetError as error:
        from buquet.cli._output import exit_code_for, print_error, shared  # noqa: PLC0415 - see above

        shared.json = wanted.json
        print_error(error.code, str(error))
        return exit_code_for(error)
    except KeyboardInterrupt:
        return _INTERRUPTED


def work(wanted: Wanted) -> int:
    """Run the worker, or several; gives the exit code.

    :raises BuquetError: it cannot run.
    """
    end_on_signals()
    use_few_arenas()
    supervised = take_supervised()
    if supervised is not None and wanted.url is None:
        wanted = msgspec.structs.replace(wanted, url=supervised.url)
    with contextlib.closing(Client(Config(url=wanted.url))) as client:  # which reaches no store
        configured = client.call(config())
    level = _level(wanted, configured)
    processes = configured.count("worker.processes") if wanted.processes is None else wanted.processes
    if wanted.url is not None:
        os.environ["BUQUET_URL"] = wanted.url  # for the processes that this one starts
    if processes > 1:
        _log(level)
        return _supervise(wanted, processes)
    app = load_app(wanted.target)
    # After the app's own doing, which comes first. What it did to buquet's loggers it did not mean.
    if logging.root.handlers and wanted.log_level is not None:
        logging.getLogger("buquet").setLevel(level)
    _log(level)
    enable_loggers()
    if wanted.url is not None:
        app.queue.client.reconfigure(Config(url=wanted.url))
    worker = app.worker(
        concurrency=wanted.concurrency,
        processes=wanted.pool_processes,
        drain_timeout=wanted.drain,
        runs=wanted.runs,
        plain_bodies=wanted.plain_bodies,
        plain_steps=wanted.plain_steps,
    )
    worker.end_if_stuck()
    if supervised is not None:
        worker.share_cpus(supervised.processes)
    drain = configured.seconds("worker.drain") if wanted.drain is None else seconds(wanted.drain, "--drain")
    run_to_end(_run(app, worker, drain, is_supervised=supervised is not None, json=wanted.json))
    return 0


def _level(wanted: Wanted, configured: Configuration) -> int:
    """The level of what is logged.

    :raises InvalidError: there is no such level.
    """
    name = configured.word("worker.log_level") if wanted.log_level is None else wanted.log_level
    level = logging.getLevelNamesMapping().get(name.upper())
    if level is None:
        raise InvalidError(f"--log-level {name!r} is no level: say debug, info, warning or error")
    return level


def _log(level: int) -> None:
    """Log to stderr, unless the app has set its own handlers."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s %(message)s", stream=sys.stderr)


def _supervise(wanted: Wanted, processes: int) -> int:
    from buquet.cli._supervisor import supervise  # noqa: PLC0415 - see above

    options = ["--processes", "1"]
    given = {
        "--concurrency": wanted.concurrency,
        "--pool-processes": wanted.pool_processes,
        "--runs": wanted.runs,
        "--plain-bodies": wanted.plain_bodies,
        "--plain-steps": wanted.plain_steps,
        "--drain": wanted.drain,
        "--log-level": wanted.log_level,
    }
    for name, value in given.items():
        options += [] if value is None else [name, str(value)]
    options += ["--json"] if wanted.json else []
    return asyncio.run(supervise(["worker", wanted.target, *options], Supervised(url=wanted.url, processes=processes)))


async def _run(app: Buquet, worker: Worker, drain: float, *, is_supervised: bool, json: bool) -> None:
    info = await app.queue.info()
    _logger.info("the queue is %s (from %s)", info.url, info.source)
    # What was imported stays; looking through it again and again for garbage would cost a tenth of the work.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    if is_supervised:
        _drain_without_parent(worker)

    def told_to_end() -> None:
        # The loop learns of it too, unless a handler blocks it.
        leave_within(drain + _ENDING_GRACE, 1, app.close)

    try:
        with signals(worker.drain, worker.stop, told=told_to_end):
            await worker.run(handle_signals=False)
    finally:
        usage = await app.queue.client.call_async(_ops.usage())
        await app.close_async()
        _report(worker, usage, info.store, json=json)


def _report(worker: Worker, usage: Usage, store: str, *, json: bool) -> None:
    if json:
        from buquet.cli._output import print_json  # noqa: PLC0415 - what it needs is not for workers that run

        with contextlib.suppress(BrokenPipeError):
            print_json({"worker": worker.id, "attempts": worker.attempts, "usage": usage})
    else:
        requests = usage.requests
        _logger.info(
            "%d attempt(s), %d PUT, %d GET, %d LIST%s",
            worker.attempts,
            requests.put,
            requests.get,
            requests.list,
            f": ${usage.dollars:.6f}" if store == "s3" else "",  # only there are requests paid
        )


def _drain_without_parent(worker: Worker) -> None:
    """Drain when the supervisor is gone: its end of our stdin closes with it."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(0)
        worker.drain()

    loop.add_reader(0, ended)
