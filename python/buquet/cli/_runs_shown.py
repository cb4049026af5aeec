"""``buquet workflow status`` and ``history``: one run, and what its body has done."""

import time
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from buquet._client import Call, Client
from buquet.cli._output import ExitCode, Json, Url, connection, out, plain, print_json, print_rows, shared, wants_json
from buquet.cli._render import age, span
from buquet.cli._timeline import changed, timeline
from buquet.workflow import _workflow_ops as ops
from buquet.workflow._models import RunStatus, StepInfo, StepStatus, WorkflowRun
from buquet.workflow._run_ops import read_value

_STYLES = {
    "pending": "yellow",
    "running": "cyan",
    "waiting": "blue",
    "paused": "magenta",
    "compensating": "magenta",
    "completed": "green",
    "failed": "red",
    "timeout": "red",
}
_LOOK_SECONDS = 1.0
_SHORT = 200
_OP_WIDTH = 6

RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, or the one it was given at its start.")]


def status(
    run_id: RunId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it has ended, and say what changes.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show one run: where it stands, what it waits for, its result or its error.

    Exit code 3 says that there is no such run, 4 that it ended without a result.

    \b
    buquet workflow status order-17
    buquet workflow status order-17 --follow
    """  # noqa: D301 - \b keeps the lines apart in the help
    shared.json = wants_json(json)
    client = connection(url)
    run = _follow(client, run_id) if follow else client.call(ops.get(run_id, steps=True))
    if shared.json:
        print_json(run)
    else:
        _print(run)
    if run.status in {RunStatus.FAILED, RunStatus.CANCELLED}:
        raise typer.Exit(ExitCode.TASK_FAILED)


def _follow(client: Client, run_id: str) -> WorkflowRun:
    """Look again and again, and print a line for each change; gives the run as it ended."""
    before: WorkflowRun | None = None
    while True:
        run: WorkflowRun = client.call(ops.get(run_id, steps=True))
        if not shared.json:
            _print_change(before, run)
        if run.status.is_over:
            return run
        before = run
        time.sleep(_LOOK_SECONDS)


def _print_change(before: WorkflowRun | None, run: WorkflowRun) -> None:
    counts = {} if before is None else before.counts or {}
    news = list(changed(counts, run.counts or {}))
    if before is None or before.status != run.status or news:
        out.print(f"{time.strftime('%H:%M:%S')}  {styled(run.status)}  {plain(', '.join(news))}".rstrip())


def _print(run: WorkflowRun) -> None:
    rows = Table(show_header=False, box=None)
    for name, value in _facts(run):
        rows.add_row(name, plain(value))
    rows.add_row("status", styled(run.status) + plain(f" {about(run)}".rstrip()))
    out.print(rows)
    steps = [["OP", "WHAT", "NAME", "STATUS", "ATTEMPTS", "ABOUT"]]
    steps += [_step_row(step) for step in run.steps or ()]
    if len(steps) > 1:
        out.print()
        print_rows(*steps)
    if run.error is not None:
        out.print(f"[red]{plain(run.error.type)}[/]: {plain(run.error.message, lines=True)}")
        if run.error.traceback:
            out.print(plain(run.error.traceback, lines=True))


def _facts(run: WorkflowRun) -> list[tuple[str, str]]:
    facts = [("id", run.id), ("name", run.key or ""), ("workflow", run.workflow), ("version", run.version or "")]
    if run.generation != 1:
        facts.append(("generation", str(run.generation)))
    if run.execution:
        facts.append(("execution", str(run.execution)))
    for name in ("submitted_at", "started_at", "completed_at", "deadline"):
        moment = getattr(run, name)
        if moment is not None:
            facts.append((name.removesuffix("_at"), f"{moment.isoformat(' ', 'milliseconds')} ({age(moment)})"))
    facts += [("worker", run.worker or ""), ("tags", ", ".join(run.tags)), ("input", _json(run.input))]
    facts += [("published", _json(run.published) if run.published else "")]
    facts += [("output", _json(run.output) if run.status is RunStatus.COMPLETED else "")]
    return [(name, value) for name, value in facts if value]


def _json(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHORT else text[:_SHORT] + "…"


def _step_row(step: StepInfo) -> list[str]:
    number = f" #{step.n + 1}" if step.n else ""
    scope = f" in {step.scope}" if step.scope else ""
    what = f"due {age(step.due)}" if step.due is not None and step.status is StepStatus.WAITING else ""  # pyright: ignore[reportArgumentType]
    if step.error is not None:
        what = f"{step.error.type}: {step.error.message}".splitlines()[0]
    name = plain(f"{step.name}{number}{scope}")
    return [str(step.op), step.kind, name, styled(step.status), str(step.attempts or ""), plain(what)]


def about(run: WorkflowRun) -> str:
    """What there is to say about where a run stands, in a line."""
    if run.error is not None:
        return f"{run.error.type}: {run.error.message}".splitlines()[0]
    if run.pause is not None:
        said = run.pause.reason or (run.pause.mismatch or {}).get("message") or "no reason given"
        return f"{said}{f' (by {run.pause.by})' if run.pause.by else ''}"
    if run.wakes_at is not None and run.status is RunStatus.WAITING:
        return f"goes on {age(run.wakes_at)} at the latest"  # pyright: ignore[reportArgumentType]
    return ""


def styled(status: str) -> str:
    """A status in its colour."""
    style = _STYLES.get(status)
    return f"[{style}]{status}[/]" if style else str(status)


def history(run_id: RunId, url: Url = None, json: Json = False) -> None:
    """Show what a run's body asked for and was told, as a timeline with durations and attempts.

    With --json it is the whole journal, as buquet.testing.Replayer and buquet workflow replay read it.

    \b
    buquet workflow history order-17
    buquet workflow history order-17 --json > tests/journals/order-17.json
    """  # noqa: D301
    shared.json = wants_json(json)
    client = connection(url)
    whole = export(client, run_id)
    if shared.json:
        print_json(whole)
        return
    before = None
    for line in timeline(whole["entries"]):
        since = "" if before is None else f"+{span(line.at - before)}"
        op = "" if line.op is None else str(line.op)
        outcome = "" if line.outcome == "asked" else styled(line.outcome)
        at = line.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        out.print(f"{at}  {since:>7}  {op:>{_OP_WIDTH}}  {plain(line.text)}  {outcome}".rstrip(), soft_wrap=True)
        before = line.at
    run = whole["run"]
    out.print(f"{run['status']}, {len(whole['entries'])} entries", style="dim")


def export(client: Client, run_id: str) -> dict[str, Any]:
    """A run with its whole journal: results that lie in objects of their own are read."""
    whole = client.call(Call("workflow.history", {"id": run_id}, dict[str, Any], lambda answer: answer))
    run = whole["run"]
    for entry in whole["entries"]:
        _fill(client, run["id"], entry, "output")
        _fill(client, run["id"], entry, "payload")
    for name, what in (("input", "input"), ("output", "result")):
        if run.get(f"{name}_ref") is not None and run.get(name) is None:
            delivery = client.vault.delivery(msgspec.convert(run, WorkflowRun), b"null", what)
            run[name] = msgspec.json.decode(delivery.open())
    return whole


def _fill(client: Client, run_id: str, holder: dict[str, Any], field: str) -> None:
    ref = holder.get(f"{field}_ref")
    if ref is not None and holder.get(field) is None:
        holder[field] = msgspec.json.decode(client.call(read_value(run_id, ref)))
