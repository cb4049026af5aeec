"""``buquet cancel``."""

from typing import Annotated

import typer

from buquet import _cancelling
from buquet._cancelling import CancelResult, CancelState
from buquet.cli._output import ExitCode, Json, Url, connection, out, print_error, print_json, shared, wants_json
from buquet.errors import InvalidError

_SAID = {
    CancelState.CANCELLED: "cancelled before it started",
    CancelState.REQUESTED: "is running; its worker is told to stop it",
    CancelState.MISSING: "does not exist in this queue",
}


def cancel(
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The tasks' ids.")] = None,
    type: Annotated[str | None, typer.Option("--type", "-t", help="All waiting and running tasks of it.")] = None,  # noqa: A002
    tag: Annotated[str | None, typer.Option(help="All waiting and running tasks with it.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="All those that this task submitted.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Why; stored with each task.")] = None,
    by: Annotated[str | None, typer.Option(help="Who.  [default: you, on this machine]")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Call tasks off: at once if they wait; a worker is told to stop what runs.

    --type, --tag and --parent must all hold of a task. Exit code 3 says that one of the ids does not exist.

    \b
    buquet cancel 6f9c1f3e-8d0a-8b6e-9c55-3b1f0a7d0000 --reason "the wrong picture"
    buquet cancel --type thumbnail --tag customer-7
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    wanted = _cancelling.filters(type, tag, parent)
    if bool(task_ids) == bool(wanted):
        raise InvalidError("say which tasks: give ids, or --type, --tag and --parent")
    if task_ids:
        _cancel_each(url, task_ids, reason, by)
    else:
        _cancel_matching(url, wanted, reason, by)


def _cancel_each(url: str | None, task_ids: list[str], reason: str | None, by: str | None) -> None:
    results: list[CancelResult] = connection(url).call(_cancelling.cancel(task_ids, reason, by))
    if shared.json:
        print_json({"tasks": results})
    else:
        for result in results:
            ended = f"had ended already: {result.status}"
            out.print(f"{result.id} {_SAID.get(result.state, ended)}")
    if any(result.state is CancelState.MISSING for result in results):
        raise typer.Exit(ExitCode.NOT_FOUND)


def _cancel_matching(url: str | None, wanted: dict[str, str], reason: str | None, by: str | None) -> None:
    many = _cancelling.cancel_many(wanted, reason, by)
    try:
        many.run(connection(url))
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
