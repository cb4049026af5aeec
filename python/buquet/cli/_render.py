"""Tasks and timelines for people."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rich.table import Table

from buquet._models import CancelWish, History, HistoryEvent, Payload, Task, TaskStatus
from buquet._shown import shown, shown_error
from buquet.cli._output import out, plain, styled

_STATUS_WIDTH = max(map(len, TaskStatus))
_CLOCK_STEPS = timedelta(seconds=2)
"""How much two times of one store may be wrong against each other: some tell whole seconds only."""
_SILENT = {
    TaskStatus.PENDING: "waits again",
    TaskStatus.COMPLETED: "output null",
    TaskStatus.ARCHIVED: "put aside for good",
}


def age(moment: datetime | None) -> str:
    """How long ago, in the largest unit that says something."""
    if moment is None:
        return ""
    passed = datetime.now(UTC) - moment
    return f"{span(passed)} ago" if passed >= timedelta(0) else f"in {span(-passed)}"


def span(passed: timedelta) -> str:
    """A length of time in its largest unit."""
    total = passed.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if total >= size:
            return f"{total / size:.0f} {unit}"
    return f"{total * 1000:.0f} ms"


def exact(length: timedelta) -> str:
    """A length of time as the options of commands take it, whole: ``1h30m``."""
    rest, parts = length // timedelta(milliseconds=1), ""
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")):
        count, rest = divmod(rest, size)
        parts += f"{count}{unit}" if count else ""
    return parts or "0s"


def print_task(task: Task) -> None:
    """Print everything about one task."""
    rows = Table(show_header=False, box=None)
    rows.add_row("id", task.id)
    rows.add_row("type", plain(task.type))
    rows.add_row("status", styled(task.status))
    rows.add_row("attempt", f"{task.attempt} ({task.retry_count} of {task.max_retries} retries spent)")
    rows.add_row("timeout", exact(task.timeout))
    rows.add_row("priority", str(task.priority))
    for name in ("submitted_at", "available_at", "started_at", "completed_at"):
        moment: datetime | None = getattr(task, name)
        if moment is not None:
            rows.add_row(name.removesuffix("_at"), f"{moment.isoformat(' ', 'milliseconds')} ({age(moment)})")
    if task.worker:
        rows.add_row("worker", task.worker)
    for name, value in _about(task):
        rows.add_row(name, plain(value))
    rows.add_row("input", plain(_short(task.input, task.input_ref)))
    if task.output is not None or task.output_ref is not None:
        rows.add_row("output", plain(_short(task.output, task.output_ref)))
    out.print(rows)
    if task.error is not None:
        out.print(f"[red]{plain(task.error.type)}[/]: {plain(shown_error(task.error.message), lines=True)}")
        if task.error.traceback:
            out.print(plain(task.error.traceback, lines=True))


def _about(task: Task) -> Iterator[tuple[str, str]]:
    """What the submitter and others said about a task."""
    if task.expires_at is not None:
        yield "expires", f"{task.expires_at.isoformat(' ', 'milliseconds')} ({age(task.expires_at)})"
    if task.tags:
        yield "tags", ", ".join(task.tags)
    if task.metadata:
        yield "metadata", ", ".join(f"{name}={text}" for name, text in task.metadata.items())
    if task.parent is not None:
        yield "parent", task.parent
    if task.key is not None:
        yield "key", task.key
    if task.progress is not None:
        message = f" {task.progress.message}" if task.progress.message else ""
        yield "progress", f"{task.progress.value:.0%}{message} ({age(task.progress.at)})"
    if task.cancel is not None:
        yield "called off", f"{age(task.cancel.at)}{_by_whom(task.cancel)}"


def _by_whom(wish: CancelWish) -> str:
    by = f" by {wish.by}" if wish.by else ""
    return f"{by}: {wish.reason}" if wish.reason else by


def print_timeline(history: History) -> None:
    """Print a task's revisions, each with the time since the one before."""
    before: datetime | None = None
    for event, what in _changes(history.events):
        since = "" if before is None else f"+{span(event.at - before)}"
        at = event.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        padding = " " * (_STATUS_WIDTH - len(event.task.status))
        out.print(f"{at}  {since:>7}  {styled(event.task.status)}{padding}  {plain(what)}", soft_wrap=True)
        before = event.at
    if not history.complete:
        out.print("this store keeps no versions: only the current state is known", style="dim")


def _changes(events: list[HistoryEvent]) -> list[tuple[HistoryEvent, str]]:
    """Leave out revisions that changed only the task's neighbours in its record."""
    changes: list[tuple[HistoryEvent, str]] = []
    previous: Task | None = None
    for event in events:
        if event.task != previous:
            changes.append((event, _describe(event, previous)))
        previous = event.task
    return changes


def _describe(event: HistoryEvent, previous: Task | None) -> str:
    task = event.task
    if previous is None:
        return f"submitted, input {_short(task.input, task.input_ref)}"
    parts: list[str] = []
    is_replayed = previous.status is TaskStatus.FAILED and task.status is TaskStatus.PENDING
    if is_replayed:
        parts.append("replayed")
    parts += _parking(previous, task)
    if task.attempt != previous.attempt:
        parts.append(f"attempt {task.attempt}")
    if task.worker and task.worker != previous.worker:
        parts.append(f"on worker {task.worker}")
    if task.cancel is not None and previous.cancel is None:
        asked = "called off" if task.status.is_terminal else "asked to stop"
        parts.append(f"{asked}{_by_whom(task.cancel)}")
    if task.progress is not None and task.progress != previous.progress:
        parts.append(f"{task.progress.value:.0%} {task.progress.message or ''}".rstrip())
    if task.error is not None and task.error != previous.error:
        parts.append(error_line(task))
    if (task.output, task.output_ref) != (None, None) == (previous.output, previous.output_ref):
        parts.append(f"output {_short(task.output, task.output_ref)}")
    due = task.available_at
    woken = previous.status is TaskStatus.WAITING
    runs_at_once = (is_replayed or woken) and due is not None and due <= event.at + _CLOCK_STEPS
    if due and due != previous.available_at and not task.status.is_terminal and not runs_at_once:
        parts.append(f"not before {due.strftime('%H:%M:%S')}")
    return ", ".join(parts) or _silent(task)


def _parking(previous: Task, task: Task) -> list[str]:
    """Tell that a task was parked or woken."""
    if task.status is TaskStatus.WAITING and previous.status is not TaskStatus.WAITING:
        until = task.park.until if task.park is not None else None
        by = f"{until:%Y-%m-%d %H:%M:%S}, or until " if until else ""
        return [f"parked until {by}it is woken"]
    was, is_ = (each.park is not None and each.park.woken for each in (previous, task))
    return ["woken"] if is_ and not was else []


def _silent(task: Task) -> str:
    """What became of a task where nothing else that it says has changed."""
    if task.status is TaskStatus.CANCELLED and task.cancel is not None:
        return f"stopped, as it was asked to{_by_whom(task.cancel)}"
    if task.status is TaskStatus.EXPIRED and task.expires_at is not None:
        return f"was to start before {task.expires_at:%Y-%m-%d %H:%M:%S}"
    return _SILENT.get(task.status, "changed")


def error_line(task: Task) -> str:
    """A task's error in one line; empty if it has none."""
    return f"{task.error.type}: {shown_error(task.error.message)}".splitlines()[0] if task.error else ""


def _short(value: object, elsewhere: Payload | None, limit: int = 200) -> str:
    text = shown(value, elsewhere)
    return text if len(text) <= limit else text[:limit] + "…"
