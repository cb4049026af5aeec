"""``buquet failed``, ``replay``, ``archive``, ``purge`` and ``lifecycle``: what is done about finished tasks."""

from functools import partial
from typing import Annotated, Any

import typer

from buquet import _dead_ops, _ops
from buquet._client import Client
from buquet._dead_models import Handled, Purged
from buquet._dead_ops import dead_filter
from buquet._durations import seconds
from buquet._many import Many
from buquet._models import TaskStatus
from buquet.cli._help import STATUSES
from buquet.cli._output import (
    ExitCode,
    Json,
    Limit,
    Url,
    Yes,
    confirm,
    connection,
    err,
    out,
    plain,
    print_corrupt,
    print_error,
    print_json,
    print_rows,
    shared,
    wants_json,
)
from buquet.cli._pages import read_page
from buquet.cli._render import age, error_line
from buquet.cli._usage import duration, time_limit
from buquet.errors import BuquetError, InvalidError, NotFoundError, UnavailableError

Type = Annotated[str | None, typer.Option("--type", "-t", help="Only this task type.", show_default=False)]
ErrorType = Annotated[
    str | None,
    typer.Option(
        "--error",
        "-e",
        metavar="TYPE",
        help="Only this type of error, as it is listed: OSError, and your own with its module, shop.orders.NoStock.",
        show_default=False,
    ),
]
OlderThan = Annotated[
    str | None,
    typer.Option(
        "--older-than", metavar="DURATION", help="Only what ended so long ago, such as 7d.", callback=duration
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would be done.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The tasks.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All failed tasks.")]
_YOUNG = 600.0
"""Seconds: on S3 the engine leaves alone what is younger, whatever is asked for."""
Cursor = Annotated[
    str | None,
    typer.Option("--cursor", help="Go on from where an earlier one broke off, as it said.", show_default=False),
]


def failed(
    type: Type = None,  # noqa: A002
    error: ErrorType = None,
    older_than: OlderThan = None,
    limit: Limit = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on from where the last page ended.")] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Print the tracebacks too.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the failed tasks with their errors.

    \b
    buquet failed --error OSError --traceback
    buquet failed --type thumbnail --json | jq -r '.tasks[].error.message'
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    client, wanted = connection(url), dead_filter(type, error, older_than)
    page = read_page(client, partial(_dead_ops.failed, wanted), limit, cursor)
    if shared.json:
        print_json(page)
        return
    rows = [["ID", "TYPE", "ATTEMPT", "FAILED", "ERROR"]]
    rows += [
        [task.id, plain(task.type), str(task.attempt), age(task.completed_at), plain(error_line(task))]
        for task in page.tasks
    ]
    if not page.tasks:
        out.print("no failed tasks")
    elif not traceback:
        print_rows(*rows)
    for row, task in zip(rows[1:], page.tasks, strict=True) if traceback else ():
        print_rows(row)
        if task.error and task.error.traceback:
            out.print(plain(task.error.traceback, lines=True), style="dim", soft_wrap=True)
    print_corrupt(page.corrupt)
    if page.cursor is not None:
        out.print(f"more: --cursor {page.cursor}")


def replay(
    ids: Ids = None,
    everything: All = False,
    type: Type = None,  # noqa: A002
    error: ErrorType = None,
    older_than: OlderThan = None,
    retries: Annotated[int | None, typer.Option(min=0, help="Attempts after the first, from now on.")] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long one attempt may run, such as 5m.", callback=time_limit),
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 runs first.")] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Earliest start from now, such as 30s.", callback=duration)
    ] = None,
    with_dependents: Annotated[
        bool, typer.Option("--with-dependents", help="What was cancelled because of them waits for them again.")
    ] = False,
    dry_run: DryRun = False,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Run failed tasks again, with all their retries and, if wanted, other options.

    Give ids, or say which by --type, --error and --older-than, or --all.
    Exit code 2 says that a task has not failed, 3 that there is no such task.

    \b
    buquet replay 6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000 --timeout 10m
    buquet replay --error OSError --delay 5m --priority 1
    """  # noqa: D301
    shared.json = wants_json(json)
    options = _dead_ops.changes(
        max_retries=retries, retry=None, timeout=timeout, priority=priority, delay=delay, at=None
    )
    wanted = dead_filter(type, error, older_than)
    client = connection(url)
    if _by_ids(ids, wanted, everything=everything, dry_run=dry_run):
        _move(client, "replay", ids or [], options, with_dependents=with_dependents)
        return
    if with_dependents:
        raise InvalidError("--with-dependents goes with ids; leave it out, or give the ids of the failed tasks")
    many = _dead_ops.replay_many(wanted, options, dry_run=dry_run, cursor=cursor)
    _run(client, many, "replayed", dry_run=dry_run)


def archive(
    ids: Ids = None,
    everything: All = False,
    type: Type = None,  # noqa: A002
    error: ErrorType = None,
    older_than: OlderThan = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Put tasks aside for good: they keep what they hold, and never run again.

    Give ids of finished tasks, or say which failed ones by --type, --error and --older-than, or --all.

    \b
    buquet archive 6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000
    buquet archive --older-than 30d --dry-run
    """  # noqa: D301
    shared.json = wants_json(json)
    wanted = dead_filter(type, error, older_than)
    client = connection(url)
    if _by_ids(ids, wanted, everything=everything, dry_run=dry_run):
        _move(client, "archive", ids or [], None)
        return
    if not dry_run:
        confirm("Archive these tasks for good?", yes=yes)
    many = _dead_ops.archive_many(wanted, dry_run=dry_run, cursor=cursor)
    _run(client, many, "archived", dry_run=dry_run)


def purge(
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="DURATION", help="Only what ended so long ago, such as 30d.", callback=duration
        ),
    ],
    status: Annotated[
        list[TaskStatus] | None,
        typer.Option(
            "--status",
            "-s",
            metavar="STATUS",
            help=f"Only {STATUSES}; may be repeated (default: failed).",
            show_default=False,
        ),
    ] = None,
    type: Type = None,  # noqa: A002
    error: ErrorType = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cursor: Cursor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Delete finished tasks for good.

    Other statuses than failed are looked for among all records. On S3 nothing goes
    that was changed in the last 10 minutes, and what the bucket keeps of old versions
    stays for as long as its lifecycle rules say.

    \b
    buquet purge --older-than 30d --dry-run
    buquet purge --older-than 90d --status completed --status failed --yes
    """  # noqa: D301
    shared.json = wants_json(json)
    statuses = status or [TaskStatus.FAILED]
    many = _dead_ops.purge(dead_filter(type, error, older_than), statuses, dry_run=dry_run, cursor=cursor)
    client = connection(url)
    if not dry_run:
        names = " and ".join(item.value for item in statuses)
        confirm(f"Delete {names} tasks older than {older_than}?", yes=yes)
    _run(client, many, "purged", dry_run=dry_run)
    if not shared.json and seconds(older_than, "--older-than") < _YOUNG and client.call(_ops.connect()).store == "s3":
        err.print("on S3 nothing is purged that has changed in the last 10 minutes", soft_wrap=True)


def lifecycle(
    keep_days: Annotated[int, typer.Option(min=1, max=3650, help="Days that old versions of records are kept.")] = 30,
    apply: Annotated[bool, typer.Option("--apply", help="Give the rules to the bucket.")] = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print the bucket's lifecycle rules for this queue, with what they cost and save; or apply them.

    Without rules a versioned bucket keeps every old version for ever. Applying
    them keeps the rules of others. On stdout is what the AWS command line takes.

    \b
    buquet lifecycle --keep-days 14
    buquet lifecycle --keep-days 14 --apply
    """  # noqa: D301
    shared.json = wants_json(json)
    client = connection(url)
    if apply:
        confirm(f"Let the bucket delete old versions after {keep_days} days?", yes=yes, look="without --apply")
    answer = client.call(_dead_ops.lifecycle(keep_days, apply=apply))
    if shared.json:
        print_json(answer)
        return
    for note in answer.notes:
        err.print(plain(note), soft_wrap=True)
    if answer.applied:
        out.print(f"applied; other rules in the bucket: {answer.others}")
    else:
        print_json(answer.rules)


def _by_ids(ids: list[str] | None, wanted: dict[str, Any], *, everything: bool, dry_run: bool) -> bool:
    """Whether the tasks are named by their ids; refuses what is neither that nor a filter."""
    if ids:
        if wanted or everything or dry_run:
            raise InvalidError("give ids, or --all, --type, --error, --older-than and --dry-run, not both")
        return True
    if not (wanted or everything):
        raise InvalidError("say which tasks: give their ids, or --type, --error or --older-than, or --all")
    return False


def _move(client: Client, op: str, ids: list[str], options: Any, *, with_dependents: bool = False) -> None:
    results: _dead_ops.Results = []
    for call in _dead_ops.move(op, ids, options, with_dependents=with_dependents):
        results += client.call(call)
    wrong = [result for result in results if result.outcome in {"refused", "missing"}]
    if shared.json:
        print_json({"results": results})
    else:
        for result in results:
            if result not in wrong:
                out.print(f"{result.id} {result.outcome}")
        for result in wrong:
            print_error("not_found" if result.outcome == "missing" else "invalid", result.message)
    if wrong:
        missing = all(result.outcome == "missing" for result in wrong)
        raise typer.Exit(ExitCode.NOT_FOUND if missing else ExitCode.USAGE)


def _run(client: Client, many: Many[Any], done: str, *, dry_run: bool) -> None:
    """Go from page to page, and say where to go on if that breaks off."""
    verb = f"to be {done}" if dry_run else done

    def show(total: Handled | Purged) -> None:
        if err.is_terminal and not many.finished:
            err.print(f"{total.tasks} tasks {verb} so far", end="\r")

    try:
        many.run(client, show)
    except (InvalidError, NotFoundError):  # it would be refused again
        raise
    except (BuquetError, KeyboardInterrupt) as error:
        # What was done of the page under way, nobody has told.
        if many.cursor is not None:
            said = f"broke off after at least {many.total.tasks} tasks; go on with --cursor {many.cursor}"
            err.print(said, soft_wrap=True)
        elif isinstance(error, UnavailableError | KeyboardInterrupt):
            some = "" if dry_run else f"some tasks may be {done} already; "
            err.print(f"broke off within the first page; {some}start it again for the rest", soft_wrap=True)
        raise
    total: Handled | Purged = many.total
    if shared.json:
        print_json(total)
        return
    words = f"{total.tasks} tasks {verb}"
    if isinstance(total, Purged):
        words += f"; {total.records} records of {total.bytes} bytes, {total.kept} stay because of their other tasks"
    out.print(words)
    print_corrupt(total.corrupt)
