"""``buquet workers``: who works here, as far as the latest heartbeats say."""

from datetime import UTC, datetime, timedelta

from buquet import _ops
from buquet._models import EndedCounts, WorkerInfo
from buquet.cli._output import Json, Url, ask, out, plain, print_corrupt, print_json, print_rows, shared, wants_json
from buquet.cli._render import age

_OVERDUE_BUSY = timedelta(seconds=20)
"""Older than the heartbeat of a worker with tasks ever is, unless one was missed."""
_OVERDUE_IDLE = timedelta(seconds=70)


def workers(url: Url = None, json: Json = False) -> None:
    """List the workers by their heartbeats; dead ones stay listed for a while.

    Each row is as old as AS OF says. A living worker reports every ten seconds while it has tasks, and every minute
    while it has none.
    """
    shared.json = wants_json(json)
    page = ask(url, _ops.workers())
    if shared.json:
        print_json(page)
        return
    rows = [["ID", "HOST", "PID", "ALIVE", "AS OF", "STATE", "RUNS", "ENDED", "TYPES"]]
    rows += [row_of(worker, datetime.now(UTC)) for worker in page.workers]
    if page.workers:
        print_rows(*rows)
    else:
        out.print("no workers")
    print_corrupt(page.corrupt)


def row_of(worker: WorkerInfo, now: datetime) -> list[str]:
    """A worker's row, in markup."""
    return [
        worker.id,
        plain(worker.host),
        str(worker.pid),
        "[green]yes[/]" if worker.alive else "[red]no[/]",
        _as_of(worker, now),
        worker.state,
        _runs(worker),
        _ended(worker.ended),
        plain(", ".join(worker.types)),
    ]


def _as_of(worker: WorkerInfo, now: datetime) -> str:
    """How old the heartbeat is: yellow if the next is overdue, red for the dead."""
    overdue = now - worker.heartbeat_at > (_OVERDUE_BUSY if worker.running else _OVERDUE_IDLE)
    colour = "red" if not worker.alive else "yellow" if overdue else "default"
    return f"[{colour}]{age(worker.heartbeat_at)}[/]"


def _runs(worker: WorkerInfo) -> str:
    """How many tasks it has, of as many as it may have; and the places that it has lost."""
    runs = f"{worker.running}/{worker.concurrency}"
    return f"{runs}, [red]{worker.stuck} stuck[/]" if worker.stuck else runs


def _ended(counts: EndedCounts) -> str:
    """How many tasks completed, and how many of each kind did not."""
    others = {"failed": counts.failed, "cancelled": counts.cancelled, "expired": counts.expired}
    parts = [f"{counts.completed}", *(f"{count} {status}" for status, count in others.items() if count)]
    return ", ".join(parts)
