"""``buquet workflow cancel``, ``pause`` and so on: of some runs, or of all that are meant."""

from typing import Annotated, Any

import typer

from buquet._client import Client
from buquet.cli._output import (
    ExitCode,
    Json,
    Url,
    Yes,
    confirm,
    connection,
    out,
    plain,
    print_error,
    print_json,
    shared,
    wants_json,
)
from buquet.errors import ConflictError, InvalidError, NotFoundError
from buquet.workflow import _workflow_ops as ops
from buquet.workflow._models import RunStatus, WishOutcome, WishResult

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The runs' ids, or names.")]
Workflow = Annotated[str | None, typer.Option("--workflow", help="All runs of this workflow that it makes sense for.")]
Tag = Annotated[str | None, typer.Option("--tag", help="All runs with this tag that it makes sense for.")]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Why; stored with each run.")]
By = Annotated[str | None, typer.Option("--by", help="Who (default: you, on this machine).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which runs are meant.")]

_UNFINISHED = (
    RunStatus.PENDING,
    RunStatus.RUNNING,
    RunStatus.WAITING,
    RunStatus.PAUSED,
    RunStatus.COMPENSATING,
)
_MEANT: dict[ops.Wish, tuple[RunStatus, ...]] = {
    "cancel": _UNFINISHED,
    "terminate": _UNFINISHED,
    "pause": (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING),
    "resume": (RunStatus.PAUSED,),
    "retry": (RunStatus.FAILED,),
}
_SAID = {
    WishOutcome.NOTED: "its worker is told",
    WishOutcome.BEGUN: "it goes on",
    WishOutcome.SAME: "nothing to do",
    WishOutcome.ENDED: "it has ended",
}


class _Which:
    """Which runs a command is about, and what it says of it."""

    def __init__(self, ids: list[str] | None, workflow: str | None, tag: str | None, **said: Any) -> None:
        if bool(ids) == bool(workflow or tag):
            given = "give ids, or --workflow and --tag"
            raise InvalidError(f"{given}, not both" if ids else f"say which runs: {given}")
        self.ids, self.workflow, self.tag = ids, workflow, tag
        self.reason: str | None = said["reason"]
        self.by: str | None = said["by"]
        self.dry_run: bool = said["dry_run"]
        self.yes: bool = said["yes"]

    def found(self, client: Client, what: ops.Wish) -> list[str]:
        """Their ids."""
        if self.ids:
            return self.ids
        ids: list[str] = []
        cursor: str | None = None
        while True:
            page = client.call(ops.list_runs(self.workflow, _MEANT[what], self.tag, 1000, cursor))
            ids += [run.id for run in page.runs]
            cursor = page.cursor
            if cursor is None:
                return ids


def _wish(what: ops.Wish, which: _Which, url: str | None, *, json: bool) -> None:
    shared.json = wants_json(json)
    client = connection(url)
    ids = which.found(client, what)
    if which.dry_run:
        _print_meant(ids)
        return
    if which.ids is None and ids:
        confirm(f"{what.capitalize()} {len(ids)} runs?", yes=which.yes)
    results: dict[str, WishResult | None] = {}
    missed = 0
    for run_id in ids:
        try:
            results[run_id] = client.call(ops.wish(what, run_id, None, which.reason, which.by))
        except (NotFoundError, ConflictError) as error:
            if len(ids) == 1:
                raise
            results[run_id] = None
            missed += 1
            print_error(error.code, str(error))
    if shared.json:
        print_json({"runs": [_shown(run_id, result) for run_id, result in results.items()]})
    else:
        for run_id, result in results.items():
            if result is not None:
                out.print(f"{plain(run_id)} {result.status}: {_SAID[result.outcome]}")
    if missed:
        raise typer.Exit(ExitCode.ERROR)


def _print_meant(ids: list[str]) -> None:
    if shared.json:
        print_json({"runs": ids})
    else:
        for run_id in ids:
            out.print(plain(run_id))


def _shown(run_id: str, result: WishResult | None) -> dict[str, Any]:
    if result is None:
        return {"id": run_id, "outcome": "refused"}
    return {"id": run_id, "outcome": result.outcome, "status": result.status}


def cancel(
    run_ids: Ids = None,
    workflow: Workflow = None,
    tag: Tag = None,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Cancel runs: each body is told, may clean up, and what it registered for that is undone.

    \b
    buquet workflow cancel order-17 --reason "the customer changed his mind"
    buquet workflow cancel --workflow order --tag customer-7 --dry-run
    """  # noqa: D301 - \b keeps the lines apart in the help
    which = _Which(run_ids, workflow, tag, reason=reason, by=by, dry_run=dry_run, yes=yes)
    _wish("cancel", which, url, json=json)


def pause(
    run_ids: Ids = None,
    workflow: Workflow = None,
    tag: Tag = None,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Pause runs: what they do at the moment ends, and nothing new begins until they are resumed.

    \b
    buquet workflow pause order-17
    """  # noqa: D301 - \b keeps the lines apart in the help
    which = _Which(run_ids, workflow, tag, reason=reason, by=by, dry_run=dry_run, yes=yes)
    _wish("pause", which, url, json=json)


def resume(
    run_ids: Ids = None,
    workflow: Workflow = None,
    tag: Tag = None,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let paused runs go on exactly where they stopped.

    \b
    buquet workflow resume order-17
    buquet workflow resume --workflow order --yes
    """  # noqa: D301 - \b keeps the lines apart in the help
    which = _Which(run_ids, workflow, tag, reason=reason, by=by, dry_run=dry_run, yes=yes)
    _wish("resume", which, url, json=json)


def terminate(
    run_ids: Ids = None,
    workflow: Workflow = None,
    tag: Tag = None,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """End runs now, without their bodies: nothing is cleaned up, nothing is undone.

    \b
    buquet workflow terminate order-17
    """  # noqa: D301 - \b keeps the lines apart in the help
    which = _Which(run_ids, workflow, tag, reason=reason, by=by, dry_run=dry_run, yes=yes)
    _wish("terminate", which, url, json=json)


def retry(
    run_ids: Ids = None,
    workflow: Workflow = None,
    tag: Tag = None,
    reason: Reason = None,
    by: By = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let failed or cancelled runs go on from the step that failed.

    \b
    buquet workflow retry order-17
    buquet workflow retry --workflow order --yes
    """  # noqa: D301 - \b keeps the lines apart in the help
    which = _Which(run_ids, workflow, tag, reason=reason, by=by, dry_run=dry_run, yes=yes)
    _wish("retry", which, url, json=json)
