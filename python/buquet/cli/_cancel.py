"""``buquet cancel``."""

from collections import Counter
from functools import partial
from typing import Annotated

import typer

from buquet import _cancelling, _ops
from buquet._cancelling import CancelCounts, CancelResult, CancelState
from buquet._client import Client
from buquet._models import TaskStatus
from buquet.cli._output import (
    ExitCode,
    Json,
    Url,
    Yes,
    confirm,
    connection,
    out,
    print_corrupt,
    print_error,
    print_json,
    shared,
    wants_json,
)
from buquet.cli._usage import parent_task
from buquet.errors import InvalidError

_PAGE = 1_000
_SOON = {
    TaskStatus.PENDING: "to be cancelled before they start",
    TaskStatus.RUNNING: "running to be told to stop",
}
_SAID = {
    CancelState.CANCELLED: "cancelled before it started",
    CancelState.REQUESTED: "is running; its worker is told to stop it",
    CancelState.MISSING: "does not exist in this queue",
}


def cancel(
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The tasks' ids.")] = None,
    type: Annotated[str | None, typer.Option("--type", "-t", help="All waiting and running tasks of it.")] = None,  # noqa: A002
    tag: Annotated[str | None, typer.Option(help="All waiting and running tasks with it.")] = None,
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="All those that this task submitted.", callback=parent_task)
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; stored with each task.")] = None,
    by: Annotated[str | None, typer.Option(help="Who (default: you, on this machine).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be called off.")] = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Call tasks off: at once if they wait; a worker is told to stop what runs.

    --type, --tag and --parent must all hold of a task; it asks before it calls off what they mean. To count that,
    --dry-run reads all records. Exit code 3 says that one of the ids does not exist.

    \b
    buquet cancel 6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000 --reason "the wrong picture"
    buquet cancel --type thumbnail --tag customer-7 --dry-run
    buquet cancel --type thumbnail --tag customer-7 --yes
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    wanted = _cancelling.filters(type, tag, parent)
    if bool(task_ids) == bool(wanted):
        given = "give ids, or --type, --tag and --parent"
        raise InvalidError(f"{given}, not both" if wanted else f"say which tasks: {given}")
    if task_ids and dry_run:
        raise InvalidError("--dry-run counts what --type, --tag and --parent mean; leave it out where you give ids")
    client = connection(url)
    if task_ids:
        _cancel_each(client, task_ids, reason, by)
    elif dry_run:
        _count(client, type, tag, parent)
    else:
        words = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
        confirm(f"Call off all waiting and running tasks of {words}?", yes=yes)
        _cancel_matching(client, wanted, reason, by)


def _cancel_each(client: Client, task_ids: list[str], reason: str | None, by: str | None) -> None:
    results: list[CancelResult] = client.call(_cancelling.cancel(task_ids, reason, by))
    if shared.json:
        print_json({"tasks": results})
    else:
        for result in results:
            ended = f"had ended already: {result.status}"
            out.print(f"{result.id} {_SAID.get(result.state, ended)}")
    if any(result.state is CancelState.MISSING for result in results):
        raise typer.Exit(ExitCode.NOT_FOUND)


def _count(client: Client, kind: str | None, tag: str | None, parent: str | None) -> None:
    """Count what is waiting and running, as it was read; a page may be short, and still not be the last."""
    ask = partial(_ops.list_tasks, [*_SOON, TaskStatus.WAITING], kind, _PAGE, tag=tag, parent=parent)
    found: Counter[TaskStatus] = Counter()
    page = client.call(ask(None))
    while True:
        found.update(_counted_as(task.status) for task in page.tasks if task.cancel is None)
        print_corrupt(page.corrupt)
        if page.cursor is None:
            break
        page = client.call(ask(page.cursor))
    if shared.json:
        print_json(CancelCounts(cancelled=found[TaskStatus.PENDING], requested=found[TaskStatus.RUNNING]))
    else:
        out.print(", ".join(f"{found[status]} {words}" for status, words in _SOON.items()))


def _counted_as(status: TaskStatus) -> TaskStatus:
    """A parked task is called off as one that has not started: at once."""
    return TaskStatus.PENDING if status is TaskStatus.WAITING else status


def _cancel_matching(client: Client, wanted: dict[str, str], reason: str | None, by: str | None) -> None:
    many = _cancelling.cancel_many(wanted, reason, by)
    try:
        many.run(client)
    except InvalidError:  # nothing was done, and nothing would be the next time
        raise
    except BaseException:
        done = many.total
        said = f"{done.cancelled} cancelled, {done.requested} told to stop; run it again for the rest"
        print_error("interrupted", said)
        raise
    counts = many.total
    if shared.json:
        print_json(counts)
    else:
        out.print(f"{counts.cancelled} cancelled before they started, {counts.requested} running told to stop")
