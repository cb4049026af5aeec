"""``buquet workflow prune``: remove runs that have ended."""

from typing import Annotated

import typer

from buquet.cli._output import (
    Json,
    Url,
    Yes,
    confirm,
    connection,
    out,
    plain,
    print_corrupt,
    print_json,
    shared,
    wants_json,
)
from buquet.cli._usage import duration
from buquet.workflow import _workflow_ops as ops
from buquet.workflow._models import PruneCounts, RunStatus


def prune(
    older_than: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Only runs that ended so long ago, such as 30d.", callback=duration),
    ],
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only runs of this workflow.")] = None,
    status: Annotated[
        list[RunStatus] | None,
        typer.Option("--status", "-s", metavar="STATUS", help="Only completed, failed or cancelled; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them and remove nothing.")] = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Remove runs that have ended, with their journals, results and unread signals.

    On S3 a record is sealed first and removed by a prune ten minutes later: run it regularly.

    \b
    buquet workflow prune --older-than 30d --dry-run
    buquet workflow prune --older-than 30d --status completed --yes
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    if not dry_run:
        what = f"runs of {workflow}" if workflow else "runs"
        confirm(f"Remove {plain(what)} that ended more than {older_than} ago?", yes=yes)
    counts: PruneCounts = ops.prune(older_than, workflow, status or None, dry_run=dry_run).run(connection(url))
    if shared.json:
        print_json(counts)
        return
    done = "would be removed" if dry_run else "removed"
    out.print(f"{counts.runs} runs {done}, {counts.sealed} records wait for the next prune")
    print_corrupt(counts.corrupt)
