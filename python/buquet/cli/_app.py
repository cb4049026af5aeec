"""The ``buquet`` command and its subcommands."""

from functools import partial
from typing import Annotated, Any

import msgspec
import typer

from buquet import __version__, _ops, _sending
from buquet._about import Scope
from buquet._handle import TaskHandle
from buquet._models import Task, TaskStatus, has_result
from buquet._native import engine_version
from buquet._options import submit_options
from buquet.cli import (
    _bench,
    _cancel,
    _config,
    _dead,
    _demo,
    _dev,
    _doctor,
    _payloads,
    _result,
    _schedules,
    _schemas,
    _worker,
    _workers,
)
from buquet.cli._about import After, Facts, Key, Outcome, Tags, given_about
from buquet.cli._help import STATUSES
from buquet.cli._output import (
    ExitCode,
    Json,
    Limit,
    Url,
    close_connections,
    connection,
    exit_code_for,
    out,
    plain,
    print_corrupt,
    print_error,
    print_json,
    print_rows,
    read_argument,
    shared,
    show_notices,
    styled,
    wants_json,
)
from buquet.cli._pages import read_page
from buquet.cli._render import age, error_line, print_task, print_timeline
from buquet.cli._result import json_result
from buquet.cli._usage import (
    CommandGroup,
    Commands,
    UsageError,
    asks_for_json,
    duration,
    explain,
    interval,
    is_help,
    moment,
    parent_task,
    refuse_repeated,
    time_limit,
)
from buquet.cli._waiting import reason_why
from buquet.cli._waiting import wait as wait_for
from buquet.errors import BuquetError, InvalidError

EPILOG = """\b
Exit codes for scripts:
0 done, 1 error, 2 wrong usage or configuration, 3 no such task,
4 the task failed, 5 timeout, 6 the store does not answer (try later),
7 access denied, 130 interrupted
"""


# What the commands are grouped by in the help.
_TASKS = "Tasks"
_ENDED = "Finished tasks"
_WORK = "Workers and schedules"
_QUEUE = "The queue"
_TRIAL = "To try, develop and measure"


class _Group(CommandGroup):
    """Turns errors, buquet's and those of a wrong call, into a line on stderr and an exit code."""

    def make_context(self, info_name: Any, args: list[str], *rest: Any, **extra: Any) -> Any:
        self._asks_for_json = asks_for_json(args)
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except (BuquetError, UsageError) as error:
            raise self._told(error) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        refuse_repeated(self, ctx, given)
        return rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (BuquetError, UsageError) as error:
            raise self._told(error) from None
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        finally:
            close_connections()

    def _told(self, error: Exception) -> Exception:
        """Tell of an error, and give what is to be raised then."""
        if is_help(error):
            return error
        # A call that was not understood never came to where its command reads --json.
        shared.json = wants_json(self._asks_for_json)
        if isinstance(error, BuquetError):
            print_error(error.code, str(error))
            return typer.Exit(exit_code_for(error))
        print_error(InvalidError.code, explain(error))
        return typer.Exit(ExitCode.USAGE)


cli = Commands(
    cls=_Group,
    name="buquet",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"buquet {__version__} (engine {engine_version()})")
        raise typer.Exit


@cli.callback()
def main(
    url: Url = None,
    json: Json = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A task queue whose only infrastructure is a bucket.

    Without --url the queue is where BUQUET_URL, S3_BUCKET or .buquet.toml say, else in .buquet/buquet.db.

    Start with [bold]buquet demo[/], then [bold]buquet worker tasks:app[/].
    """
    del version
    shared.url, shared.json = url, json
    show_notices()


@cli.command(rich_help_panel=_TASKS)
def submit(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="The task type that a worker handles.")],  # noqa: A002
    input: Annotated[  # noqa: A002
        str, typer.Option("--input", "-i", metavar="JSON", help="The input; @FILE reads a file, - reads stdin.")
    ] = "{}",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the result and print it.")] = False,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long one attempt may run, such as 5m.", callback=time_limit),
    ] = None,
    retries: Annotated[int | None, typer.Option(min=0, help="Attempts after the first.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 runs first.")] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Earliest start from now, such as 30s.", callback=duration)
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Earliest start, as 2026-11-25T09:00:00+01:00.")
    ] = None,
    tag: Tags = None,
    meta: Facts = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="The task that it belongs to.", callback=parent_task)
    ] = None,
    ttl: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Too late to start it after this long, such as 1h.", callback=time_limit),
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Too late to start it from then on, as for --at.")
    ] = None,
    key: Key = None,
    unique: Annotated[bool, typer.Option("--unique", help="The same, by the input.")] = False,
    scope: Annotated[
        Scope | None, typer.Option(help="Among which tasks --key or --unique counts: its type's, or the queue's.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long --key or --unique counts, such as 1d.", callback=interval),
    ] = None,
    after: After = None,
    on: Outcome = None,
    wait_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Longest wait with --wait, such as 1m.", callback=duration)
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Submit one task and print its id.

    The input of an @app.task function is an object of its arguments by name.

    \b
    buquet submit thumbnail --input '{"path": "cat.png", "size": 128}'
    buquet submit report --input @report.json --delay 10m --priority 9
    buquet submit thumbnail --input '{"path": "cat.png"}' --wait --wait-timeout 1m
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    if delay is not None and at is not None:
        raise InvalidError("give --delay or --at, not both")
    about = given_about(
        tag=tag,
        meta=meta,
        parent=parent,
        ttl=ttl,
        expires_at=expires_at,
        key=key,
        unique=unique,
        scope=scope,
        window=window,
        after=after,
        on=on,
    )
    start = None if at is None else moment(at, "--at")
    options = submit_options(retries=retries, timeout=timeout, priority=priority, delay=delay, at=start, about=about)
    client = connection(url)
    encoded = read_argument(input, "--input")
    parcel = client.vault.pack(lambda: encoded, "input", type, known_by=options.known_by)
    stored = _sending.submit(client.vault, type, parcel, options)
    if not wait:
        _print_submitted(stored)
        return
    task = wait_for(client, stored.id, wait_timeout)
    if shared.json and not has_result(task):
        print_json(task)
    value = json_result(client, task)
    print_json(msgspec.structs.replace(task, output=value) if shared.json else value)


@cli.command(rich_help_panel=_TASKS)
def status(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    url: Url = None,
    json: Json = False,
) -> None:
    """Show one task: where it stands, its input, its result or its error.

    Exit code 3 says that there is no such task, 4 that it ended without a result.

    \b
    buquet status 6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000
    """  # noqa: D301
    shared.json = wants_json(json)
    client = connection(url)
    task: Task = client.call(_ops.get(task_id))
    if shared.json:
        print_json(task)
    else:
        print_task(task)
        reason = client.call(reason_why(task_id)) if task.status in (TaskStatus.PENDING, TaskStatus.WAITING) else None
        if reason is not None:
            out.print(f"it waits: [yellow]{plain(reason)}[/]", soft_wrap=True)
    if task.status.is_terminal and not has_result(task):
        raise typer.Exit(ExitCode.TASK_FAILED)


@cli.command(rich_help_panel=_TASKS)
def history(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    url: Url = None,
    json: Json = False,
) -> None:
    """Show every change of one task as a timeline, oldest first.

    On S3 this needs versioning switched on for the bucket.
    """
    shared.json = wants_json(json)
    whole = TaskHandle[Any](connection(url), task_id).history()
    if shared.json:
        print_json(whole)
    else:
        print_timeline(whole)


@cli.command("list", rich_help_panel=_TASKS)
def list_(
    status: Annotated[
        list[TaskStatus] | None,
        typer.Option("--status", "-s", metavar="STATUS", help=f"Only {STATUSES}; may be repeated.", show_default=False),
    ] = None,
    type: Annotated[str | None, typer.Option("--type", "-t", help="Only this task type.")] = None,  # noqa: A002
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.")] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those that this task submitted.", callback=parent_task)
    ] = None,
    limit: Limit = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on from where the last page ended.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List tasks.

    \b
    buquet list --status failed --status expired
    buquet list --type thumbnail --json | jq -r '.tasks[].id'
    """  # noqa: D301
    shared.json = wants_json(json)
    client = connection(url)
    ask_for = partial(_ops.list_tasks, status or None, type, tag=tag, parent=parent)
    page = read_page(client, ask_for, limit, cursor)
    if shared.json:
        print_json(page)
        return
    rows = [["ID", "TYPE", "STATUS", "ATTEMPT", "SUBMITTED", "ERROR"]]
    for task in page.tasks:
        error = plain(error_line(task))
        rows.append([task.id, plain(task.type), styled(task.status), str(task.attempt), age(task.submitted_at), error])
    if page.tasks:
        print_rows(*rows)
    else:
        out.print("no tasks")
    print_corrupt(page.corrupt)
    if page.cursor is not None:
        out.print(f"more: --cursor {page.cursor}")


def _print_submitted(stored: _ops.Submitted) -> None:
    if shared.json:
        print_json(stored)
    else:
        out.print(stored.id)


cli.command("result", rich_help_panel=_TASKS)(_result.result)
cli.command("cancel", rich_help_panel=_TASKS)(_cancel.cancel)
cli.command("failed", rich_help_panel=_ENDED)(_dead.failed)
cli.command("replay", rich_help_panel=_ENDED)(_dead.replay)
cli.command("archive", rich_help_panel=_ENDED)(_dead.archive)
cli.command("purge", rich_help_panel=_ENDED)(_dead.purge)
cli.command("worker", rich_help_panel=_WORK)(_worker.worker)
cli.command("workers", rich_help_panel=_WORK)(_workers.workers)
cli.add_typer(_schedules.schedules, name="schedules", rich_help_panel=_WORK)
cli.command("config", rich_help_panel=_QUEUE)(_config.show)
cli.command("doctor", rich_help_panel=_QUEUE)(_doctor.examine)
cli.add_typer(_schemas.schemas, rich_help_panel=_QUEUE)
cli.add_typer(_payloads.payloads, rich_help_panel=_QUEUE)
cli.command("lifecycle", rich_help_panel=_QUEUE)(_dead.lifecycle)
cli.command("demo", rich_help_panel=_TRIAL)(_demo.demo)
cli.command("dev", rich_help_panel=_TRIAL)(_dev.dev)
cli.command("bench", rich_help_panel=_TRIAL)(_bench.bench)
