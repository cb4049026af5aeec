"""``buquet workflow``: start runs, look at them, and tell them things."""

from typing import Annotated, Any, Literal

import typer

from buquet.cli import _run_wishes, _runs_shown
from buquet.cli._about import Facts, Tags, given_about
from buquet.cli._output import (
    Json,
    Url,
    connection,
    out,
    plain,
    print_corrupt,
    print_json,
    print_rows,
    read_argument,
    shared,
    wants_json,
)
from buquet.cli._render import age
from buquet.cli._runs_pruned import prune
from buquet.cli._runs_replayed import replay
from buquet.cli._usage import Commands, duration, moment, time_limit
from buquet.errors import InvalidError
from buquet.workflow import _workflow_ops as ops
from buquet.workflow._handle import started as handle_of
from buquet.workflow._models import RunPage, RunStatus
from buquet.workflow._starting import OnExisting, StartWith, start_options

workflow = Commands(no_args_is_help=True, help="Runs of workflows: start them, look at them, and tell them things.")

RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, or the one it was given at its start.")]


@workflow.command()
def start(
    name: Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow that a worker has.")],
    input: Annotated[  # noqa: A002
        str, typer.Option("--input", "-i", metavar="JSON", help="The input; @FILE reads a file, - reads stdin.")
    ] = "{}",
    id: Annotated[str | None, typer.Option("--id", help="What the run is called: runs of one name are one.")] = None,  # noqa: A002
    on_existing: Annotated[
        OnExisting | None, typer.Option("--on-existing", help="What comes of a start whose --id is taken.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long the whole run may take, such as 30d.", callback=time_limit),
    ] = None,
    deadline: Annotated[str | None, typer.Option(metavar="TIME", help="The same as a point in time.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 runs first.")] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Earliest start from now, such as 30s.", callback=duration)
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Earliest start, as 2026-11-25T09:00:00+01:00.")
    ] = None,
    tag: Tags = None,
    meta: Facts = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the result and print it.")] = False,
    wait_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Longest wait with --wait, such as 1m.", callback=duration)
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Start a run and print its id. Its input is an object of the body's arguments by name.

    \b
    buquet workflow start order --input '{"order_id": "o-17"}' --id order-17
    buquet workflow start order --input @order.json --wait --wait-timeout 1m
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    given: dict[str, Any] = {
        "id": id,
        "on_existing": on_existing,
        "timeout": timeout,
        "deadline": None if deadline is None else moment(deadline, "--deadline"),
        "priority": priority,
        "delay": delay,
        "at": None if at is None else moment(at, "--at"),
        **given_about(tag=tag, meta=meta, parent=None, ttl=None),
    }
    options = start_options(StartWith(**{key: value for key, value in given.items() if value is not None}))  # pyright: ignore[reportArgumentType]
    client = connection(url)
    stored = client.call(ops.start(name, read_argument(input, "--input"), options))
    if wait:
        print_json(handle_of(client, stored, Any).result(wait_timeout))
    elif shared.json:
        print_json(stored)
    else:
        out.print(plain(stored.key or stored.id))


@workflow.command("list")
def list_(
    name: Annotated[str | None, typer.Option("--workflow", help="Only runs of this workflow.")] = None,
    statuses: Annotated[
        list[RunStatus] | None,
        typer.Option("--status", "-s", metavar="STATUS", help=f"Only {', '.join(RunStatus)}; may be repeated."),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Runs to print, or a few more.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on from where the last page ended.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List runs.

    \b
    buquet workflow list --status failed --status paused
    buquet workflow list --workflow order --json | jq -r '.runs[].id'
    """  # noqa: D301
    shared.json = wants_json(json)
    page: RunPage = connection(url).call(ops.list_runs(name, statuses or None, tag, limit, cursor))
    if shared.json:
        print_json(page)
        return
    rows = [["ID", "WORKFLOW", "STATUS", "STARTED", "ABOUT"]]
    for run in page.runs:
        about = plain(_runs_shown.about(run))
        rows.append(
            [plain(run.name), plain(run.workflow), _runs_shown.styled(run.status), age(run.submitted_at), about]
        )
    if page.runs:
        print_rows(*rows)
    else:
        out.print("no runs")
    print_corrupt(page.corrupt)
    if page.cursor is not None:
        out.print(f"more: --cursor {page.cursor}")


@workflow.command()
def signal(
    run_id: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the body waits for.")],
    payload: Annotated[
        str, typer.Option("--payload", "-p", metavar="JSON", help="What it brings; @FILE reads a file, - reads stdin.")
    ] = "null",
    signal_id: Annotated[
        str | None, typer.Option("--signal-id", help="The signal's own id: of several with it the run hears once.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a run a signal.

    \b
    buquet workflow signal order-17 approved --payload true
    """  # noqa: D301
    shared.json = wants_json(json)
    raw = read_argument(payload, "--payload")
    connection(url).call(ops.signal(run_id, name, raw, signal_id, None))
    if shared.json:
        print_json({"outcome": "sent"})


@workflow.command()
def callback(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="What ctx.callback gave.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="JSON", help="Complete it with this; @FILE, - read it.")
    ] = None,
    fail: Annotated[str | None, typer.Option("--fail", metavar="MESSAGE", help="Let it fail.")] = None,
    alive: Annotated[bool, typer.Option("--alive", help="Say that it is still worked on.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Complete what waits for a token, let it fail, or keep it alive.

    \b
    buquet workflow callback "$TOKEN" --output '"signed"'
    buquet workflow callback "$TOKEN" --fail "refused by the bank"
    """  # noqa: D301
    shared.json = wants_json(json)
    if (output is not None) + (fail is not None) + alive != 1:
        raise InvalidError("give one of --output, --fail and --alive")
    outcome: Literal["completed", "failed", "alive"] = (
        "alive" if alive else "completed" if output is not None else "failed"
    )
    connection(url).call(
        ops.callback(
            token,
            outcome,
            output=None if output is None else read_argument(output, "--output"),
            error=None if fail is None else {"type": "CallbackFailed", "message": fail},
        )
    )
    if shared.json:
        print_json({"outcome": "sent"})


workflow.command()(_runs_shown.status)
workflow.command()(_runs_shown.history)
workflow.command()(_run_wishes.pause)
workflow.command()(_run_wishes.resume)
workflow.command()(_run_wishes.cancel)
workflow.command()(_run_wishes.terminate)
workflow.command()(_run_wishes.retry)
workflow.command()(replay)
workflow.command()(prune)
